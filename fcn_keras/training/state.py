"""All that decides how a training goes on, as arrays by name.

That is the weights, the optimizer with its iterations (and so the schedule), the states of all
random generators, and the metrics of the epoch so far.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from fcn_keras.errors import ConfigError


def kept_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Weights, optimizer and random states, by number: Keras may name a second model otherwise."""
    loss = [generator.state for generator in _generators(model.loss)]
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "loss": loss}
    return _named(groups)


def metric_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The metrics of the epoch so far, by number."""
    # `model.metrics_variables` lacks those of compiled metrics.
    return _named({"metrics": [v for metric in model.metrics for v in metric.variables]})


def size_of(model: keras.Model) -> int:
    """Bytes of a checkpoint of a compiled model, all but exactly; makes its optimizer variables."""
    build_optimizer(model)
    variables = kept_variables(model).values()
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in variables)


def build_optimizer(model: keras.Model) -> None:
    """Makes the optimizer's variables, which Keras makes at the first step."""
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)


def check_finite(arrays: Iterable[tuple[str, np.ndarray]], when: Callable[[], str]) -> None:
    """Checks weights, and other arrays of numbers.

    Args:
        arrays: pairs of a name and an array.
        when: a function that says after what they are so; called for the message alone.

    Raises:
        ConfigError: some numbers are infinite, or none.
    """
    for name, array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ConfigError(
                f"{name} has values that are infinite or no numbers after {when()}. They are not "
                "saved; the checkpoint before is kept. Train anew (--out) with a lower learning "
                "rate (--learning-rate)."
            )


def _named(groups: Mapping[str, Sequence[keras.Variable]]) -> dict[str, keras.Variable]:
    return {
        f"{group}/{number}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _generators(loss: Any) -> list[keras.random.SeedGenerator]:
    """The random generators of a loss, or of several in a list or dict."""
    losses = loss.values() if isinstance(loss, dict) else loss
    if isinstance(losses, list | tuple) or isinstance(loss, dict):
        return [generator for one in losses for generator in _generators(one)]
    found = vars(loss).values() if hasattr(loss, "__dict__") else ()
    return [value for value in found if isinstance(value, keras.random.SeedGenerator)]
