"""One training run, from its options to its report: what `train` and `quickstart` share."""

import sys
import time
from functools import partial

from fcn_keras.cli.checked import checked
from fcn_keras.cli.machines import meet_others, served_dataset
from fcn_keras.cli.run_reports import after_training
from fcn_keras.cli.tables import show_evaluation
from fcn_keras.cli.terminal import console, import_tensorflow, print_warnings
from fcn_keras.runs import run_folder
from fcn_keras.text import duration


def run_training(
    config, out, nets=None, *, resume=False, checkpoint_every="10min", data_service=None
):
    """Trains, shows the figures of the best epoch, and writes the report.

    Args:
        config: a `TrainConfig`.
        out: the run's folder.
        nets: of a staged training the names of its nets, from coarse to fine; else None.
        resume: go on with the run in `out`.
        checkpoint_every: as the option of `train`.
        data_service: addresses of `data serve`, or None.
    """
    team = meet_others(config, out, nets, resume)
    is_chief = team is None or team.is_chief
    import_tensorflow()
    from fcn_keras.cli.progress import TrainingProgress
    from fcn_keras.distribution import workers
    from fcn_keras.evaluation.results import Evaluation
    from fcn_keras.training.checkpoint import parse_every
    from fcn_keras.training.run import train
    from fcn_keras.training.stages import train_stages
    from pipelines import eval_dataset

    strategy = workers.strategy() if team else None  # Before anything else that TensorFlow does.
    parse_every(checkpoint_every)
    _check_folder(out, nets, resume, is_chief)
    _say_devices(config, team)
    started = time.perf_counter()
    train_data, val_split, options = _read(config, out, data_service)
    size = int(train_data().cardinality())
    arguments = (train_data, eval_dataset(val_split), out)
    options |= {"resume": resume, "checkpoint_every": checkpoint_every, "strategy": strategy}
    with TrainingProgress(console, config.steps(size), config.passes(size)) as progress:
        options["callbacks"] = [progress] if is_chief else []
        if nets:
            best = train_stages(config, nets, *arguments, **options)
        else:
            best = train(config, *arguments, **options)
    if not is_chief:
        return
    show_evaluation(Evaluation.from_dict(best), f"validation, best epoch {best['epoch']}")
    folders = [run_folder.stage_folder(out, net) for net in nets] if nets else [out]
    after_training(out, folders, val_split)
    took = duration(time.perf_counter() - started)
    console.print(f"{took}; the run is in {out}", soft_wrap=True)


def _check_folder(out, nets, resume, is_chief):
    """Checks that the run can begin in its folder, or go on there, before the data is read."""
    from fcn_keras.training.stages import check_stages

    if is_chief and resume and run_folder.is_finished(out):
        console.print(f"{out} is finished; its figures are:", soft_wrap=True)
    is_begun = resume and run_folder.is_begun(out)
    if is_begun:
        run_folder.check_stages(out, nets)
    is_new = is_chief and not is_begun
    if nets:
        check_stages(nets, out, is_new=is_new)
    elif is_new:
        run_folder.check_new(out)


def _say_devices(config, team):
    from fcn_keras.distribution import devices

    number = 1 if team else devices.count(config.devices, config.batch_size)
    if number > 1:
        console.print(f"{number} devices share each batch of {config.batch_size} images")
    if config.precision == "mixed_float16" and not devices.gpus():
        print("warning: on a CPU mixed_float16 is many times slower than float32.", file=sys.stderr)


def _read(config, out, data_service):
    """The training data as `train` takes it, the validation split, and what else is known of both.

    All files are read once and checked.
    """
    import pipelines
    from pipelines.checking.overlaps import overlaps

    names = (config.train_split, config.val_split)
    found = checked(
        [pipelines.read(config.data, name, config.data_dir, keep_faults=True) for name in names],
        config.on_bad_file,
    )
    print_warnings(overlaps(found))
    train, val = found
    batches = {
        "split": train.split,
        "batch_size": config.batch_size,
        "augmentation": pipelines.Augmentation(
            config.crop, config.scale, config.mirror, config.colour
        ),
        "seed": config.seed,
    }
    train_data = partial(pipelines.train_dataset, **batches, cache=config.cache)
    if data_service:
        train_data = partial(served_dataset(data_service, out), **batches)
    return (
        train_data,
        val.split,
        {
            "class_names": train.split.class_names,
            "palette": train.split.palette,
            "class_pixels": train.class_pixels,
            "fingerprints": {
                "train": pipelines.fingerprint(train),
                "val": pipelines.fingerprint(val),
            },
            "batch_ids": partial(pipelines.batch_ids, **batches),
        },
    )
