"""The command line, `fcn-keras`: wiring only. TensorFlow is imported inside the commands."""

import errno
import os
import sys
import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fcn_keras import outputs
from fcn_keras.cli.checked import checked, examples_for
from fcn_keras.cli.commands import data as cli_data
from fcn_keras.cli.commands import export as cli_export
from fcn_keras.cli.commands import predict as cli_predict
from fcn_keras.cli.commands import report as cli_report
from fcn_keras.cli.options import DATA_HELP, Data, DataDir, RunOrModel, Tta
from fcn_keras.cli.terminal import (
    console,
    import_tensorflow,
    print_warnings,
    progress_bar,
)
from fcn_keras.errors import ConfigError, FcnKerasError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # In its own markup, Rich drops "[default: 4]".
    pretty_exceptions_enable=False,
)
experiments = typer.Typer(help="The paper's experiments that need no training.")
app.add_typer(experiments, name="experiment", no_args_is_help=True)
app.add_typer(cli_data.app, name="data", no_args_is_help=True)
app.command()(cli_report.report)

DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

# The many options of `train`, by what they are about.
_of_model = partial(typer.Option, rich_help_panel="The model")
_of_samples = partial(typer.Option, rich_help_panel="The samples")
_of_learning = partial(typer.Option, rich_help_panel="Learning")


class ModelName(StrEnum):
    """The paper's three nets."""

    fcn32s = "fcn32s"
    fcn16s = "fcn16s"
    fcn8s = "fcn8s"


class Geometry(StrEnum):
    """Paddings and crops."""

    same = "same"
    reference = "reference"


class Optimizer(StrEnum):
    """How the weights move."""

    adamw = "adamw"
    sgd = "sgd"


class Schedule(StrEnum):
    """The learning rate after the warm-up."""

    cosine = "cosine"
    constant = "constant"


class Reduction(StrEnum):
    """How the pixels' losses become one."""

    mean = "mean"
    sum = "sum"


class OnBadFile(StrEnum):
    """What becomes of a run whose data has faults."""

    stop = "stop"
    skip = "skip"


class Precision(StrEnum):
    """What the layers compute in; the logits are always float32."""

    auto = "auto"
    float32 = "float32"
    mixed_bfloat16 = "mixed_bfloat16"
    mixed_float16 = "mixed_float16"


def main():
    """Runs the command line; a user's mistake gives one line and exit status 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # Typer's for Ctrl-C.
            print("stopped.", file=sys.stderr)
        raise
    except Exception as error:
        message = _users_mistake(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)


def _print_version(wanted):
    if wanted:
        from importlib.metadata import version

        print(f"fcn-keras {version('fcn_keras')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
):
    """Fully Convolutional Networks for Semantic Segmentation: train, measure, predict, export."""


@app.command()
def quickstart(
    out: Annotated[
        Path | None,
        typer.Option(help="The run's folder. [default: runs/quickstart, or -2, -3 ...]"),
    ] = None,
):
    """Trains, evaluates, predicts and exports on built-in data, in one to four minutes."""
    out = out or _free_folder(Path("runs/quickstart"))
    config = _config({"data": "synthetic", "recipe": "quickstart", "devices": 1})  # A tiny net.
    _train(config, out)
    console.print("\nThe best model on images that nobody has trained on:")
    _evaluate(out, "synthetic", None, "test", None)
    version = cli_export.export_saved_model(out, out / "saved_model")
    console.print(f"\nreport: {out / 'report.html'}", soft_wrap=True)
    console.print(f"SavedModel: {version}", soft_wrap=True)
    console.print(f"what TensorBoard shows: tensorboard --logdir {out}", soft_wrap=True)


@app.command()
def train(
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; must not hold a run yet.")
    ] = None,
    data_dir: DataDir = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Instead of --out: go on with a run that was broken off, exactly; its options are "
            "in its folder. Given with options it begins the run if there is none.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(metavar="TIME", help="Such as 30s, 10min, 2h, or a number of steps.")
    ] = "10min",
    recipe: Annotated[
        str,
        typer.Option(
            help="Named set of options: default, camvid (then camvid-fine, camvid-large), "
            "camvid-full, quickstart; as in the paper: accumulated, heavy, online, at-once. Or a "
            "YAML file of options, such as RUN/config.yaml."
        ),
    ] = "default",
    model: Annotated[ModelName | None, _of_model(help="[default: fcn8s]")] = None,
    stages: Annotated[
        str | None,
        _of_model(
            metavar="32,16,8",
            help="Train these nets in turn, each from the best model of the one before, into "
            "OUT/32s, OUT/16s, OUT/8s.",
        ),
    ] = None,
    init_from: Annotated[
        Path | None,
        _of_model(
            metavar="RUN",
            help="Start from a trained coarser net: a run's folder or a .keras file. --weights is "
            "then not used.",
        ),
    ] = None,
    reset_scores: Annotated[
        bool | None,
        _of_model(
            "--reset-scores",
            help="With --init-from: start the scores anew, for other classes than RUN's.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        _of_model(
            help="vgg16, alexnet, googlenet, resnet50, mobilenet_v2, efficientnet_v2_b0, "
            "convnext_tiny or tiny. [default: vgg16]"
        ),
    ] = None,
    weights: Annotated[
        str | None,
        _of_model(
            help="imagenet, a keras.applications weights file with or without top, or none. "
            "[default: imagenet]"
        ),
    ] = None,
    head_width: Annotated[
        int | None, _of_model(help="Channels of fc6 and fc7. [default: 4096]")
    ] = None,
    dropout: Annotated[float | None, _of_model(help="After fc6 and fc7. [default: 0.5]")] = None,
    skip_scales: Annotated[
        str | None,
        _of_model(
            metavar="A,B", help="Factors on pool4 and pool3 before their scores. [default: 1,1]"
        ),
    ] = None,
    geometry: Annotated[
        Geometry | None,
        _of_model(help="reference: the authors' padding and crops. [default: same]"),
    ] = None,
    mean: Annotated[
        str | None,
        _of_model(
            help="Subtracted from the image: imagenet, voc, nyudv2, nyudv2_hha, siftflow. "
            "[default: imagenet]"
        ),
    ] = None,
    zoom: Annotated[
        float | None,
        _of_model(
            help="The net sees its image enlarged by this: finer strides, time grows by its "
            "square. [default: 1]"
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        _of_model(help="Layers whose names start so keep their weights; may be repeated."),
    ] = None,
    train_split: Annotated[
        str | None,
        _of_samples(help="What is trained on; trainval, sbd, ... where there is. [default: train]"),
    ] = None,
    val_split: Annotated[
        str | None, _of_samples(help="What chooses the best epoch. [default: val]")
    ] = None,
    on_bad_file: Annotated[
        OnBadFile | None,
        _of_samples(help="skip: leave such examples out, and list them. [default: stop]"),
    ] = None,
    cache: Annotated[
        bool | None,
        _of_samples("--cache/--no-cache", help="Keep decoded images in memory. [default: off]"),
    ] = None,
    data_service: Annotated[
        str | None,
        _of_samples(
            metavar="grpc://HOST:PORT",
            help="Let data serve make the batches there; several, with commas, make them in turn.",
        ),
    ] = None,
    batch_size: Annotated[int | None, _of_samples(help="Images in a step. [default: 4]")] = None,
    crop: Annotated[
        str | None,
        _of_samples(
            metavar="HxW",
            help="Size of the crops; none: whole images, padded to the batch. [default: 320x320]",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        _of_samples(metavar="LOW,HIGH", help="Images are resized at random. [default: 0.75,1.5]"),
    ] = None,
    mirror: Annotated[
        bool | None, _of_samples("--mirror/--no-mirror", help="[default: on]")
    ] = None,
    colour: Annotated[
        float | None, _of_samples(help="Colour changes, 0 (none) to 1. [default: 0.5]")
    ] = None,
    epochs: Annotated[int | None, _of_learning(help="[default: 20]")] = None,
    iterations: Annotated[
        int | None, _of_learning(help="Updates of the weights, instead of epochs.")
    ] = None,
    optimizer: Annotated[
        Optimizer | None, _of_learning(help="sgd is Caffe's, with momentum. [default: adamw]")
    ] = None,
    learning_rate: Annotated[float | None, _of_learning(help="[default: 1e-4]")] = None,
    stage_rates: Annotated[
        str | None,
        _of_learning(
            metavar="R16,R8",
            help="Factors on the learning rate of an FCN-16s and an FCN-8s that start from a "
            "coarser net. [default: 1,1]",
        ),
    ] = None,
    schedule: Annotated[
        Schedule | None,
        _of_learning(help="The learning rate after the warm-up. [default: cosine]"),
    ] = None,
    warmup_steps: Annotated[
        int | None, _of_learning(help="Batches until the full learning rate. [default: 50]")
    ] = None,
    weight_decay: Annotated[
        float | None,
        _of_learning(help="adamw: decoupled; sgd: L2, kernels only. [default: 1e-4]"),
    ] = None,
    momentum: Annotated[float | None, _of_learning(help="Of sgd. [default: 0.9]")] = None,
    bias_rate: Annotated[
        float | None,
        _of_learning(help="Factor on the learning rate of biases, with sgd. [default: 1]"),
    ] = None,
    accumulate: Annotated[
        int | None, _of_learning(help="Batches whose gradients make one update. [default: 1]")
    ] = None,
    loss_reduction: Annotated[
        Reduction | None,
        _of_learning(help="Over the labelled pixels of a batch. [default: mean]"),
    ] = None,
    keep: Annotated[
        float | None,
        _of_learning(
            help="Patch sampling: share of the pixels that enter the gradient. [default: 1]"
        ),
    ] = None,
    class_balance: Annotated[
        float | None,
        _of_learning(help="Weight of rare classes: 0 (as they are) to 1 (alike). [default: 0]"),
    ] = None,
    validate_every: Annotated[int | None, _of_learning(help="Epochs. [default: 1]")] = None,
    precision: Annotated[
        Precision | None,
        _of_learning(
            help="auto: bfloat16 where GPU or processor compute in it; mixed_float16 is for GPUs. "
            "[default: auto]"
        ),
    ] = None,
    devices: Annotated[
        str | None,
        _of_learning(
            metavar="all|N",
            help="GPUs that share each batch. [default: as many as can share it evenly]",
        ),
    ] = None,
    seed: Annotated[int | None, _of_learning(help="[default: 0]")] = None,
):
    """Trains a model; --out gets the best one, its figures, history, pictures and TensorBoard log.

    An option that is not given has the value of the recipe, and where that is silent, the default.
    """
    options = {key: value for key, value in locals().items() if value not in (None, [])}
    del options["checkpoint_every"]
    for name in ("out", "resume", "data_service"):
        options.pop(name, None)
    if (out is None) == (resume is None):
        raise ConfigError("give --out RUN for a new run, or --resume RUN to go on with one.")
    folder = out or resume
    models = _stages(options)
    if "data" in options:
        config = _config(options)
    elif resume is None:
        raise ConfigError("--data: not given. Name a data set, or the YAML file of your folders.")
    else:
        config, begun = _as_begun(resume, options)
        models = models or begun
    _train(
        config,
        folder,
        models,
        resume=resume is not None,
        checkpoint_every=checkpoint_every,
        data_service=data_service,
    )


@app.command()
def evaluate(
    model: RunOrModel,
    data: Data,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val, test, or what the data set has.")] = "val",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images of one size that go through the model together.")
    ] = 1,
    tta: Tta = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
):
    """Measures a model: the paper's four figures and the IU of each class.

    With --json also the confusion matrix.
    """
    _evaluate(model, data, data_dir, split, json, batch_size, tta)


app.command()(cli_predict.predict)


app.command()(cli_export.export)


@app.command()
def calibrate(
    model: RunOrModel,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE.keras", help="Must not be there yet.")],
    data_dir: DataDir = None,
    split: Annotated[
        str, typer.Option(help="What decides; never what the model is measured on.")
    ] = "train",
):
    """Shifts the scores of the classes by constants, to the best mean IU on the training split.

    Where cross-entropy gives up on thin or rare classes; the constants are part of the new model.
    """
    _check_new_model(out)
    import_tensorflow()
    import pipelines
    from fcn_keras.evaluation import calibration
    from fcn_keras.models import saving

    opened = saving.load(model)
    examples = examples_for(opened, model, data, split, data_dir)
    batches = pipelines.eval_dataset(examples)
    with progress_bar(f"predicting {examples.name}", len(examples)) as advance:
        found = calibration.calibrate(opened.model, batches, progress=advance)
    table = Table("class", "added to its score")
    table.columns[1].justify = "right"
    for name, offset in zip(examples.class_names, found.offsets, strict=True):
        table.add_row(name, f"{offset:+.2f}")
    console.print(table)
    console.print(f"mean IU on {examples.name}: {found.before:.3f} -> {found.after:.3f}")
    outputs.make_folder(out.parent)
    saving.save_model(opened.model, out)
    console.print(f"model: {out}", soft_wrap=True)


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.caffemodel", help="Weights that Caffe has saved.")
    ],
    model: Annotated[ModelName, typer.Option(help="The net that the weights are of.")],
    out: Annotated[Path, typer.Option(metavar="FILE.keras", help="Must not be there yet.")],
    backbone: Annotated[str, typer.Option(help="The classifier it was made of.")] = "vgg16",
    suffix: Annotated[
        str,
        typer.Option(
            help="Ending of the names of one head's or stream's layers: _sem or _geo (SIFT Flow), "
            "color or hha (NYUDv2, late fusion)."
        ),
    ] = "",
    geometry: Annotated[
        Geometry, typer.Option(help="reference: the authors' padding and crops.")
    ] = Geometry.reference,
    mean: Annotated[
        str,
        typer.Option(help="Of its training images: voc, nyudv2, nyudv2_hha, siftflow, imagenet."),
    ] = "voc",
    partial: Annotated[
        bool, typer.Option("--partial", help="Layers that the file lacks stay untrained.")
    ] = False,
):
    """Turns Caffe weights, such as the authors', into a model for predict, evaluate and export."""
    _check_new_model(out)
    import_tensorflow()
    from fcn_keras.models.saving import save_model
    from fcn_keras.surgery import caffe

    net, report = caffe.convert(
        file, model.value, backbone=backbone, suffix=suffix, geometry=geometry.value, mean=mean
    )
    table = Table("in the file", "in the model", "")
    for source, target in report.loaded.items():
        table.add_row(source, target, "loaded")
    for target in report.missing:
        table.add_row("", target, "missing from the file")
    for source, why in report.left_over.items():
        table.add_row(source, "", f"left over: {why}")
    console.print(table)
    if report.missing and not partial:
        raise ConfigError(
            f"{file}: nothing in it for {', '.join(report.missing)} of {model.value}. Choose "
            "another --model or --suffix, or let them stay untrained with --partial."
        )
    outputs.make_folder(out.parent)
    save_model(net, out)
    console.print(f"model: {out}", soft_wrap=True)


@experiments.command("iu-bounds")
def iu_bounds(
    data: Data,
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val, test, or what the data set has.")] = "val",
    resample: Annotated[
        str, typer.Option(help="subsample-bilinear, average-bilinear or subsample-nearest.")
    ] = "subsample-bilinear",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
):
    """The best mean IU that a net of each stride could reach: labels downsampled and back."""
    import_tensorflow()
    import pipelines
    from fcn_keras.evaluation.paper_experiments import PUBLISHED_BOUNDS, RESAMPLINGS
    from fcn_keras.evaluation.paper_experiments import iu_bounds as bounds_of

    if json is not None:
        outputs.check_file("--json", json, ".json")
    examples = pipelines.read(data, split, data_dir, keep_faults=True)
    checked([examples])
    with progress_bar(f"resampling {examples.name}", len(examples)) as advance:

        def masks():
            for index in range(len(examples)):
                yield pipelines.read_example(examples, index)[1]
                advance()

        bounds = bounds_of(masks(), examples.num_classes, resample=resample)
    table = Table(title=f"{examples.name}, {len(examples)} masks", title_justify="left")
    for column in ("downsampled by", "mean IU", "the paper's, on PASCAL VOC"):
        table.add_column(column, justify="right")
    for factor, bound in bounds.items():
        table.add_row(str(factor), f"{bound:.3f}", f"{PUBLISHED_BOUNDS[factor]:.3f}")
    console.print(table)
    console.print(f"{resample}: {RESAMPLINGS[resample]}")
    if json is not None:
        how = {"data": examples.name, "resample": resample, "how": RESAMPLINGS[resample]}
        outputs.write_json(json, {**how, "mean_iou": bounds})


def _config(options):
    """A `TrainConfig` from a recipe and what was given on the command line."""
    from fcn_keras.runs.resolve import read_recipe, resolve

    options = dict(options)
    options.pop("out", None)
    if options.get("crop", "").lower() == "none":
        options["crop"] = None
    elif "crop" in options:
        options["crop"] = _pair("--crop", options["crop"].lower(), "x", int, "320x480")
    for name, example in (
        ("scale", "0.75,1.5"),
        ("skip_scales", "0.01,0.0001"),
        ("stage_rates", "0.01,0.0001"),
    ):
        if name in options:
            option = f"--{name.replace('_', '-')}"
            options[name] = _pair(option, options[name], ",", float, example)
    if options.get("weights", "").lower() == "none":
        options["weights"] = None
    for name in ("data_dir", "init_from"):
        if name in options:
            options[name] = os.path.abspath(options[name])
    if str(options.get("data", "")).lower().endswith((".yaml", ".yml")):
        options["data"] = os.path.abspath(options["data"])  # For a resume from another folder.
    recipe = options.pop("recipe")
    if isinstance(recipe, str) and recipe.lower().endswith((".yaml", ".yml")):
        recipe = read_recipe(recipe)
    return resolve(recipe, options)


def _as_begun(run, options):
    """The `TrainConfig` and the stages of a run, with options that were given beside."""
    from fcn_keras.runs import run_folder

    config, stages = run_folder.read_begun(run)
    if options.keys() - {"recipe"}:
        config = _config({**options, "recipe": config.model_dump()})
    elif options["recipe"] != "default":
        raise ConfigError(
            f"--recipe {options['recipe']}: a run goes on with the options it was begun with. "
            "Leave it out, or give all of the options it was begun with."
        )
    return config, stages


def _stages(options):
    """Takes `stages` out of the options: names of nets such as fcn32s, or None."""
    stages = options.pop("stages", None)
    if stages is None:
        return None
    if "model" in options:
        raise ConfigError(
            f"--model {options['model']}: --stages {stages} says already which nets are trained. "
            "Give one of the two."
        )
    return [f"fcn{stride.strip()}s" for stride in stages.split(",")]


def _pair(option, text, separator, kind, example):
    try:
        first, second = (kind(part) for part in text.split(separator))
    except ValueError:
        raise ConfigError(
            f"{option}: must be two numbers, such as {example}; found {text!r}."
        ) from None
    return first, second


def _train(config, out, stages=None, *, resume=False, checkpoint_every="10min", data_service=None):
    """One run, or with the names of nets in `stages` one for each of them."""
    team = _meet_others(config, out, stages, resume)
    is_chief = team is None or team.is_chief
    import_tensorflow()
    import pipelines
    from fcn_keras.cli.progress import TrainingProgress
    from fcn_keras.distribution import devices, workers
    from fcn_keras.runs import run_folder
    from fcn_keras.training import run as training
    from fcn_keras.training import stages
    from fcn_keras.training.checkpoint import parse_every
    from pipelines.checking.examine import overlaps

    strategy = workers.strategy() if team else None  # Before anything else that TensorFlow does.
    parse_every(checkpoint_every)
    if is_chief and resume and run_folder.is_finished(out):
        console.print(f"{out} is finished; its figures are:", soft_wrap=True)
    is_begun = resume and run_folder.is_begun(out)
    if is_begun:
        run_folder.check_stages(out, stages)
    is_new = is_chief and not is_begun
    if stages:
        stages.check_stages(stages, out, is_new=is_new)
    elif is_new:
        run_folder.check_new(out)
    number = 1 if team else devices.count(config.devices, config.batch_size)
    if number > 1:
        console.print(f"{number} devices share each batch of {config.batch_size} images")
    if config.precision == "mixed_float16" and not devices.gpus():
        print("warning: on a CPU mixed_float16 is many times slower than float32.", file=sys.stderr)

    started = time.perf_counter()
    found = checked(
        [
            pipelines.read(config.data, name, config.data_dir, keep_faults=True)
            for name in (config.train_split, config.val_split)
        ],
        config.on_bad_file,
    )
    print_warnings(overlaps(found))
    splits = dict(zip(("train", "val"), (one.split for one in found), strict=True))
    class_pixels = found[0].class_pixels
    augmentation = pipelines.Augmentation(config.crop, config.scale, config.mirror, config.colour)
    of_data = {
        "split": splits["train"],
        "batch_size": config.batch_size,
        "augmentation": augmentation,
        "seed": config.seed,
    }
    train_data = partial(pipelines.train_dataset, **of_data, cache=config.cache)
    if data_service:
        train_data = partial(_served(data_service, out), **of_data)
    size = int(train_data().cardinality())
    arguments = (train_data, pipelines.eval_dataset(splits["val"]), out)
    options = {
        "class_names": splits["train"].class_names,
        "palette": splits["train"].palette,
        "class_pixels": class_pixels,
        "resume": resume,
        "checkpoint_every": checkpoint_every,
        "fingerprints": {
            name: pipelines.fingerprint(one)
            for name, one in zip(("train", "val"), found, strict=True)
        },
        "batch_ids": partial(pipelines.batch_ids, **of_data),
        "strategy": strategy,
    }
    with TrainingProgress(console, config.steps(size), config.passes(size)) as progress:
        options["callbacks"] = [progress] if is_chief else []
        if stages:
            best = stages.train_stages(config, stages, *arguments, **options)
        else:
            best = training.train(config, *arguments, **options)
    if not is_chief:
        return
    _show(best, f"validation, best epoch {best['epoch']}")
    folders = [run_folder.stage_folder(out, model) for model in stages] if stages else [out]
    cli_report.after_training(out, folders, splits["val"])
    from fcn_keras.text import duration

    took = duration(time.perf_counter() - started)
    console.print(f"{took}; the run is in {out}", soft_wrap=True)


def _served(addresses, out):
    """`pipelines.train_dataset` as made by servers, without which the training ends."""
    from pipelines.batches import service

    def end(message):
        # TensorFlow waits for a lost server for ever, where no exception reaches it.
        print(f"error: {message}. To go on: --resume {out} in place of --out.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(2)

    servers = service.parse_addresses(addresses)
    service.watch(servers, end)
    return partial(service.served_dataset, servers)


def _meet_others(config, out, stages, resume):
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
        **config.model_dump(mode="json", exclude=run_folder.FREE),
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


def _evaluate(model, data, data_dir, split, json, batch_size=1, tta=False):
    import_tensorflow()
    import pipelines
    from fcn_keras.evaluation import evaluate as evaluation
    from fcn_keras.models import saving

    if json is not None:
        outputs.check_file("--json", json, ".json")
    opened = saving.load(model)
    examples = examples_for(opened, model, data, split, data_dir)
    batches = pipelines.eval_dataset(examples, batch_size=batch_size)
    with progress_bar(f"evaluating on {examples.name}", int(batches.cardinality())) as advance:
        confusion = evaluation.evaluate(
            opened.model, batches, examples.num_classes, advance, tta=tta
        )
    result = evaluation.report(confusion, examples.class_names)
    _show(result, examples.name)
    if json is not None:
        outputs.write_json(json, result)


def _check_new_model(out):
    if out.suffix != ".keras":
        raise ConfigError(f"--out {out}: must end in .keras.")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already. Choose another name, or remove it.")


def _show(report, title):
    """The four figures and the IU of each class as tables."""
    from fcn_keras.evaluation.evaluate import warnings_of
    from fcn_keras.text import FIGURES, figure

    table = Table(title=title, title_justify="left")
    for name in FIGURES.values():
        table.add_column(name, justify="right")
    table.add_row(*(figure(report[name]) for name in FIGURES))
    console.print(table)
    table = Table("class", "IU", "accuracy", "pixels")
    for entry in report["per_class"]:
        table.add_row(
            entry["name"],
            figure(entry["iou"]),
            figure(entry["accuracy"]),
            f"{entry['pixels']:,}",
        )
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    for line in warnings_of(report):
        print(f"warning: {line}", file=sys.stderr)


def _free_folder(folder):
    """`folder`, or the first of `folder-2`, `folder-3`, ... that is not there."""
    choice, number = folder, 1
    while choice.exists():
        number += 1
        choice = folder.with_name(f"{folder.name}-{number}")
    return choice


def _users_mistake(error):
    """The message of an error of ours, or None; imports neither `pipelines` nor TensorFlow."""
    if isinstance(error, FcnKerasError):
        return str(error)
    module = sys.modules.get("pipelines.errors")
    if module is not None and isinstance(error, module.DataError):
        return str(error)
    workers = sys.modules.get("fcn_keras.distribution.workers")
    if workers is not None and isinstance(error, workers.tf.errors.OpError):
        lost = workers.lost(error, "start all workers again")
        if lost is not None:  # Before the first step, or after the last.
            return str(lost)
    if type(error).__module__.startswith("tensorflow.") and "DataError: " in str(error):
        # From inside a tf.data pipeline, such as a file that has gone since the check.
        return str(error).split("DataError: ", 1)[1].split("\nTraceback ", 1)[0].strip()
    if isinstance(error, OSError) and error.errno in DISK_FAULTS:
        where = error.filename or "the disk"
        return f"{where}: {error.strerror}. Make room or change that; what was saved is kept."
    if _is_out_of_memory(error):
        return (
            "out of memory. Use smaller crops (--crop), smaller batches (--batch-size) or a "
            "narrower head (--head-width); what was saved is kept."
        )
    return None


def _is_out_of_memory(error):
    """Of the GPU or of the machine, while TensorFlow computes or while a batch is made."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    is_tensorflows = type(error).__module__.startswith("tensorflow.")
    signs = ("MemoryError: ", "Insufficient memory", "OutOfMemoryError")
    return is_tensorflows and any(sign in str(error) for sign in signs)
