"""The state of a training run, as arrays by name.

It consists of the weights, the optimizer with its iterations (and so the schedule), the states of
all random generators, and the metrics of the current epoch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from fcn_keras.errors import ConfigError


class Position(NamedTuple):
    """The next batch: `step` of `epoch`, both counted from 0."""

    epoch: int = 0
    step: int = 0


def kept_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns weights, optimizer and random states by number.

    Keras may give the variables of a second model other names.
    """
    loss = [generator.state for generator in _generators(model.loss)]
    groups = {"model": model.variables, "optimizer": model.optimizer.variables, "loss": loss}
    return _named(groups)


def metric_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Returns the metric variables of the current epoch, by number."""
    # `model.metrics_variables` leaves out the compiled metrics.
    return _named({"metrics": [v for metric in model.metrics for v in metric.variables]})


def size_of(model: keras.Model) -> int:
    """Estimates the bytes of a model's checkpoint; creates the optimizer's variables."""
    build_optimizer(model)
    variables = kept_variables(model).values()
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in variables)


def build_optimizer(model: keras.Model) -> None:
    """Creates the optimizer's variables, which Keras would create at the first step."""
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)


def check_finite(
    arrays: Iterable[tuple[str, np.ndarray]], when: Callable[[], str], cause: str = ""
) -> None:
    """Checks that weights and other arrays are finite.

    Args:
        arrays: Pairs of a name and an array.
        when: A function that names the last step or epoch; called only for the error message.
        cause: What led to it, if known: "the loss became nan at step 3 of epoch 1".

    Raises:
        ConfigError: Some values are infinite or NaN.
    """
    for name, array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ConfigError(
                f"{name} has infinite or NaN values after {when()}"
                + f": {cause}" * bool(cause)
                + ". They are not saved; the previous checkpoint is kept. Train again (--out) with "
                "a lower learning rate (--learning-rate)."
            )


def step_in_words(
    position: tuple[int, int], batch_ids: Callable[..., list[str]] | None = None
) -> str:
    """Describes a batch for a message: `step 3 of epoch 1 (images a, b)`."""
    epoch, step = position
    return (
        steps_in_words(epoch, range(step, step + 1), batch_ids) if step >= 0 else f"epoch {epoch}"
    )


def steps_in_words(
    epoch: int, steps: range, batch_ids: Callable[..., list[str]] | None = None
) -> str:
    """Describes batches for a message: `steps 3 to 4 of epoch 1 (images a, b, c, d)`."""
    first, last = steps[0] + 1, steps[-1] + 1
    words = f"step {first}" if first == last else f"steps {first} to {last}"
    words += f" of epoch {epoch + 1}"
    if batch_ids:
        names = [str(name) for step in steps for name in batch_ids(epoch=epoch, step=step)]
        words += f" (images {', '.join(names)})"
    return words


def _named(groups: Mapping[str, Sequence[keras.Variable]]) -> dict[str, keras.Variable]:
    return {
        f"{group}/{number}": variable
        for group, variables in groups.items()
        for number, variable in enumerate(variables)
    }


def _generators(loss: Any) -> list[keras.random.SeedGenerator]:
    """Returns the random generators of a loss, or of several losses in a list or dict."""
    losses = loss.values() if isinstance(loss, dict) else loss
    if isinstance(losses, list | tuple) or isinstance(loss, dict):
        return [generator for one in losses for generator in _generators(one)]
    found = vars(loss).values() if hasattr(loss, "__dict__") else ()
    return [value for value in found if isinstance(value, keras.random.SeedGenerator)]
