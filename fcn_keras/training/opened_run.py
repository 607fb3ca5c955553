"""A training run on disk, opened: its model, options, figures, history and report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fcn_keras import outputs
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.prediction.segmenter import Segmenter, load
from fcn_keras.reporting import run_report
from fcn_keras.runs import reading, run_folder
from fcn_keras.runs.config import TrainConfig


@dataclass(frozen=True)
class Run:
    """A run's folder, as `fcn-keras train` or `fcn_keras.train` made it.

    Attributes:
        folder: where it is. `runs.run_folder` says what lies in it.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Opens a run, finished or not.

        Raises:
            ConfigError: there is no run in that folder, or its configuration cannot be read.
        """
        run = cls(Path(folder))
        run._read  # noqa: B018 - Raises where there is nothing to read.
        return run

    @cached_property
    def _read(self) -> reading.Run:
        return reading.read(self.folder)

    @cached_property
    def config(self) -> TrainConfig:
        """All options of the run."""
        return run_folder.read_begun(self.folder)[0]

    @cached_property
    def model(self) -> Segmenter:
        """The model of the best epoch, with its classes and colours.

        Raises:
            ModelError: no epoch has been validated yet, or the file is damaged.
        """
        return load(self.folder)

    @property
    def evaluation(self) -> Evaluation | None:
        """The best epoch's figures on the validation split; None before the first validation."""
        found = self._read.metrics
        return None if found is None else Evaluation.from_dict(found)

    @property
    def best_epoch(self) -> int | None:
        """The epoch, from 1, of the highest validation mean IU; None before any validation."""
        return (self._read.metrics or {}).get("epoch")

    @property
    def history(self) -> list[dict[str, float | None]]:
        """A dict for each epoch that has ended, with the columns of `history.csv`."""
        return self._read.history

    @property
    def is_finished(self) -> bool:
        """Whether the training has come to its end."""
        return run_folder.is_finished(self.folder)

    @property
    def stages(self) -> list[Run]:
        """Of a staged training the runs of its nets, from coarse to fine; else an empty list."""
        nets = run_folder.read_begun(self.folder)[1] or []
        return [Run(run_folder.stage_folder(self.folder, net)) for net in nets]

    def report(self, path: str | Path | None = None) -> Path:
        """Writes the report, one HTML page that stands alone.

        Args:
            path: of the page; by default `report.html` in the run's folder.

        Returns:
            The page's path.

        Raises:
            ConfigError: the page cannot be written, or is somebody else's.
        """
        page = self.folder / "report.html" if path is None else Path(path)
        outputs.check_file("path", page, ".html")
        outputs.write_text(page, run_report.render(run_report.find([self.folder])))
        return page
