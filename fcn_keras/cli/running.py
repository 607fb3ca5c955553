"""Runs a training for `train` and `quickstart` and prints its metrics as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcn_keras.cli.tables import show_evaluation
from fcn_keras.cli.terminal import import_tensorflow
from fcn_keras.runs.config import TrainConfig


def run_training(
    config: TrainConfig, out: Path, stages: Sequence[str] | None = None, **options: Any
) -> None:
    """Calls `fcn_keras.train` with terminal output, then prints the best epoch's metrics."""
    import_tensorflow()
    from fcn_keras.cli.progress import TerminalWatch
    from fcn_keras.distribution import cluster
    from fcn_keras.training.run import train

    run = train(config, out=out, stages=stages, watch=TerminalWatch(), **options)
    team = cluster.from_environment()
    if run.evaluation is not None and (team is None or team.is_chief):
        show_evaluation(run.evaluation, f"validation, best epoch {run.best_epoch}")
