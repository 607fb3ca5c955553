"""The command `fcn-keras train`; most of its options are the fields of `TrainConfig`."""

from fcn_keras.cli.running import run_training
from fcn_keras.cli.train_options import with_options
from fcn_keras.errors import ConfigError
from fcn_keras.runs import run_folder
from fcn_keras.runs.resolve import resolve, with_absolute_paths


@with_options
def train(*, out, resume, checkpoint_every, stages, data_service, **options):
    """Trains a model; --out gets the best one, its figures, history, pictures and TensorBoard log.

    An option that is not given has the value of the recipe, and where that is silent, the default.
    """
    options = {key: value for key, value in options.items() if value not in (None, [])}
    if (out is None) == (resume is None):
        raise ConfigError("give --out RUN for a new run, or --resume RUN to go on with one.")
    models = _nets(stages, options)
    if "data" in options:
        config = _config(options)
    elif resume is None:
        raise ConfigError("--data: not given. Name a data set, or the YAML file of your folders.")
    else:
        config, begun = _as_begun(resume, options)
        models = models or begun
    run_training(
        config,
        out or resume,
        models,
        resume=resume is not None,
        checkpoint_every=checkpoint_every,
        data_service=data_service,
    )


def _config(options):
    """A `TrainConfig` from a recipe and what was given on the command line."""
    options = dict(options)
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
    recipe = options.pop("recipe")
    return resolve(recipe, with_absolute_paths(options))


def _as_begun(run, options):
    """The `TrainConfig` and the stages of a run, with options that were given beside."""
    config, stages = run_folder.read_begun(run)
    if options.keys() - {"recipe"}:
        config = _config({**options, "recipe": config.model_dump()})
    elif options["recipe"] != "default":
        raise ConfigError(
            f"--recipe {options['recipe']}: a run goes on with the options it was begun with. "
            "Leave it out, or give all of the options it was begun with."
        )
    return config, stages


def _nets(stages, options):
    """The names of nets such as fcn32s in the option --stages; None without it."""
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
