"""The command `fcn-keras train`; most of its options are the fields of `TrainConfig`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fcn_keras.cli.running import run_training
from fcn_keras.cli.train_options import with_options
from fcn_keras.errors import ConfigError
from fcn_keras.runs.resolve import resolve_run


@with_options
def train(
    *,
    recipe: str,
    out: Path | None,
    resume: Path | None,
    checkpoint_every: str,
    stages: str | None,
    data_service: str | None,
    **options: Any,
) -> None:
    """Trains a model; --out gets the best one, metrics, history, pictures and a TensorBoard log.

    Options that you do not give take the recipe's value, or else the default.
    """
    if (out is None) == (resume is None):
        raise ConfigError("give --out RUN for a new run, or --resume RUN to resume one.")
    options = {key: value for key, value in options.items() if value not in (None, [])}
    folder, is_resumed = out or resume or Path(), resume is not None
    config, models = resolve_run(
        recipe, _values(options), folder, _models(stages, options), is_resumed
    )
    run_training(
        config,
        folder,
        models,
        resume=is_resumed,
        checkpoint_every=checkpoint_every,
        data_service=data_service,
    )


def _values(options: dict[str, Any]) -> dict[str, Any]:
    """Converts the texts of options, such as "320x480", "0.75,1.5" or "none", to values."""
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
    return options


def _models(stages: str | None, options: dict[str, Any]) -> list[str] | None:
    """Converts the option --stages, such as "32,16,8", to model names; None without it."""
    if stages is None:
        return None
    if "model" in options:
        raise ConfigError(
            f"--model {options['model']}: --stages {stages} already names the models. Give only "
            "one of the two."
        )
    return [f"fcn{stride.strip()}s" for stride in stages.split(",")]


def _pair(
    option: str, text: str, separator: str, kind: Callable[[str], float], example: str
) -> tuple[float, float]:
    try:
        first, second = (kind(part) for part in text.split(separator))
    except ValueError:
        raise ConfigError(
            f"{option}: must be two numbers, such as {example}; found {text!r}."
        ) from None
    return first, second
