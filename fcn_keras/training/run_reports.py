"""Writes the reports of runs and measures the validation images for them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fcn_keras import outputs
from fcn_keras.errors import ConfigError, FcnKerasError
from fcn_keras.evaluation import ranking
from fcn_keras.prediction.segmenter import load_single
from fcn_keras.reporting import run_report
from fcn_keras.runs import reading
from fcn_keras.runs.lifecycle import weights_sha256
from fcn_keras.training.watching import Watch
from pipelines.catalogue import read
from pipelines.checking.cache import examine_once
from pipelines.errors import DataError, raise_all
from pipelines.split import Split


def after_training(out: str | Path, folders: Iterable[Path], split: Split, watch: Watch) -> None:
    """Measures the validation images and writes `out/report.html`, unless they are up to date.

    Those written in the middle of the training are of an earlier model or of fewer epochs. Errors
    only cause a warning, because the training is complete.

    Args:
        out: The folder of the run, or of all stages.
        folders: The folders of the runs in it.
        split: The validation split.
        watch: A `Watch`.
    """
    page = Path(out) / "report.html"
    try:
        for folder in folders:
            if not reading.read(folder).images:
                measure(folder, split, watch)
        runs = run_report.find([out])
        if run_report.shows(page, runs):
            return
        outputs.write_text(page, run_report.render(runs))
    except (OSError, FcnKerasError, DataError) as error:
        watch.note(f"warning: no report: {error} (fcn-keras report {out})")
        return
    watch.say(f"report: {page}")


def measure(folder: Path, split: Split, watch: Watch) -> None:
    """Ranks the validation images of a run by the mean IU of its best model."""
    opened = load_single(folder)
    if split.num_classes != opened.num_classes:
        raise ConfigError(
            f"{folder}: the model has {opened.num_classes} classes, {split.name} has "
            f"{split.num_classes}. Give the data set that it was trained on."
        )
    examples = tuple(split.examples[index] for index in ranking.chosen(len(split)))
    measured = replace(split, examples=examples)
    sha = weights_sha256(opened.model)
    with watch.progress(f"measuring the images of {split.name}", len(examples)) as advance:
        ranking.rank(opened.model, measured, folder, advance, sha=sha)


def validation_split(run: reading.Run, watch: Watch) -> Split:
    """Reads and checks the validation split of a run again."""
    options = run.options
    split = read(options["data"], options["val_split"], options.get("data_dir"), keep_faults=True)
    with watch.progress(f"checking {split.name}", len(split)) as advance:
        found = examine_once(split, advance)
    if run.options.get("on_bad_file") == "skip":
        return found.without_bad().split
    raise_all(found.faults)
    return split
