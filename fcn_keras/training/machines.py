"""What a training has to do with other machines: the workers of `TF_CONFIG`, servers of data."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
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
    """The machines of `TF_CONFIG`, all there and about to train the same; None if it has no other.

    They also have to see one and the same run.
    """
    from importlib.metadata import version

    from fcn_keras.distribution import cluster
    from fcn_keras.runs import run_folder

    team = cluster.from_environment()
    if team is None:
        return None
    if config.devices not in ("auto", "all"):
        raise ConfigError(
            f"--devices {config.devices}: on several machines each process takes all GPUs that it "
            "sees. Leave --devices out, and choose by CUDA_VISIBLE_DEVICES."
        )
    names = ("fcn_keras", "tensorflow", "keras", "numpy")
    options = {
        **config.model_dump(mode="json", exclude=set(run_folder.FREE)),
        "stages": stages,
        "resume": resume,
        f"run begun in {out}": run_folder.is_begun(out),
        f"checkpoints in {out}": run_folder.checkpoints(out),
        **{f"version of {name}": version(name) for name in names},
    }
    cluster.meet(team, options, say=partial(print, file=sys.stderr))
    if not team.is_chief:
        print(f"{team.describe(team.number)} trains along; {team.describe(0)} shows the progress")
    return team


def served_dataset(addresses: str, out: Path) -> Callable[..., tf.data.Dataset]:
    """`pipelines.train_dataset` as made by servers, without which the training ends."""
    from pipelines.batches import service

    def end(message: str) -> None:
        # TensorFlow waits for a lost server for ever, where no exception reaches it.
        print(f"error: {message}. To go on: --resume {out} in place of --out.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)

    servers = service.parse_addresses(addresses)
    service.watch(servers, end)
    return partial(service.served_dataset, servers)
