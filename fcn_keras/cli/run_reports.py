"""Reports of runs, and the measuring of their validation images for them."""

import sys
from dataclasses import replace
from pathlib import Path

from fcn_keras import outputs
from fcn_keras.cli.terminal import console, progress_bar
from fcn_keras.errors import ConfigError, FcnKerasError


def after_training(out, folders, split):
    """Measures the validation images and writes `out/report.html`, unless that is done.

    What goes wrong here is only a warning: the training is done.

    Args:
        out: the folder of the run, or of all stages.
        folders: those of the runs in it.
        split: what they were validated on.
    """
    from fcn_keras.reporting import run_report
    from pipelines import DataError

    page = Path(out) / "report.html"
    if page.exists():  # The run was finished before.
        return
    try:
        for folder in folders:
            if not (folder / "validation.csv").exists():
                measure(folder, split)
        outputs.write_text(page, run_report.render(run_report.find([out])))
    except (OSError, FcnKerasError, DataError) as error:
        print(f"warning: no report: {error} (fcn-keras report {out})", file=sys.stderr)
        return
    console.print(f"report: {page}", soft_wrap=True)


def measure(folder, split):
    """Ranks the validation images of a run by its best model."""
    import pipelines
    from fcn_keras.evaluation import ranking
    from fcn_keras.models import saving

    opened = saving.load_single(folder)
    if split.num_classes != opened.num_classes:
        raise ConfigError(
            f"{folder}: the model has {opened.num_classes} classes, {split.name} has "
            f"{split.num_classes}: the data is not what it was trained on."
        )
    examples = tuple(split.examples[index] for index in ranking.chosen(len(split)))
    data = pipelines.eval_dataset(replace(split, examples=examples))
    names = [example.id for example in examples]
    with progress_bar(f"measuring the images of {split.name}", len(examples)) as advance:
        ranking.rank(opened.model, data, names, split.palette, folder, advance)


def validation_split(run):
    """What a run was validated on, read again."""
    import pipelines
    from pipelines.checking.cache import examine_once
    from pipelines.errors import raise_all

    where = (run.options.get(name) for name in ("data", "val_split", "data_dir"))
    split = pipelines.read(*where, keep_faults=True)
    with progress_bar(f"checking {split.name}", len(split)) as advance:
        found = examine_once(split, advance)
    if run.options.get("on_bad_file") == "skip":
        return found.without_bad().split
    raise_all(found.faults)
    return split
