"""Other machines in a training run: the workers of `TF_CONFIG` and data servers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fcn_keras.errors import ConfigError
from fcn_keras.runs.config import TrainConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from fcn_keras.distribution.cluster import Cluster


def meet_others(
    config: TrainConfig, out: Path, stages: Sequence[str] | None, resume: bool
) -> Cluster | None:
    """Waits for the workers of `TF_CONFIG` and checks that all train the same run.

    Options, package versions, and the run and checkpoints that they find in `out` must be equal.

    Returns:
        The cluster; None if there are no other workers.
    """
    from importlib.metadata import version

    from fcn_keras.distribution import cluster
    from fcn_keras.runs import run_folder

    team = cluster.from_environment()
    if team is None:
        return None
    if config.devices not in ("auto", "all"):
        raise ConfigError(
            f"--devices {config.devices}: on several machines each process uses all visible GPUs. "
            "Leave out --devices and set CUDA_VISIBLE_DEVICES."
        )
    import tensorflow  # noqa: F401 - Before they meet: whoever fails here is only missing.

    names = ("fcn_keras", "tensorflow", "keras", "numpy")
    options = {
        **config.model_dump(mode="json", exclude=set(run_folder.FREE_OPTIONS)),
        "stages": stages,
        "resume": resume,
        f"run in {out}": run_folder.is_started(out),
        f"checkpoints in {out}": run_folder.checkpoints(out),
        **{f"version of {name}": version(name) for name in names},
    }
    cluster.meet(team, options, say=partial(print, file=sys.stderr))
    if not team.is_chief:
        print(f"{team.describe(team.number)} is training; {team.describe(0)} shows the progress")
    return team


def served_dataset(addresses: str) -> Callable[..., tf.data.Dataset]:
    """Returns `pipelines.train_dataset` with batches from servers."""
    from pipelines.batches import service

    return partial(service.served_dataset, service.parse_addresses(addresses))


@contextmanager
def watched(addresses: str | None, out: Path) -> Iterator[None]:
    """Ends the process with a message if a server is lost while the context is open."""
    from pipelines.batches import service

    if addresses is None:
        yield
        return

    def end(message: str) -> None:
        # TensorFlow waits for a lost server forever and cannot be reached by an exception.
        print(f"error: {message}. To resume: --resume {out} instead of --out.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)

    stop = service.watch(service.parse_addresses(addresses), end)
    try:
        yield
    finally:
        stop.set()
