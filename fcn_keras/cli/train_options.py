"""The options of `fcn-keras train`: every field of `TrainConfig`, and the options in `OWN`.

Types, choices, defaults and help texts of the fields come from `TrainConfig` itself.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

from fcn_keras.cli.options import DATA_HELP, DataDir
from fcn_keras.runs.config import TrainConfig

# Options that are not fields of `TrainConfig`, or that take another form than the field.
OWN = {
    "data": (Annotated[str | None, typer.Option(help=DATA_HELP)], None),
    "out": (
        Annotated[
            Path | None, typer.Option(help="Folder for the new run; must not contain a run.")
        ],
        None,
    ),
    "data_dir": (DataDir, None),
    "resume": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="RUN",
                help="Instead of --out: resume an interrupted run exactly, with the options in "
                "its folder. With options given, starts the run if it does not exist.",
            ),
        ],
        None,
    ),
    "checkpoint_every": (
        Annotated[
            str, typer.Option(metavar="TIME", help="30s, 10min, 2h, ..., or a number of steps.")
        ],
        "10min",
    ),
    "recipe": (
        Annotated[
            str,
            typer.Option(
                help="Named set of options: default, camvid (then camvid-fine, camvid-large), "
                "camvid-full, quickstart; from the paper: accumulated, heavy, online, at-once. "
                "Or a YAML file of options, such as RUN/config.yaml."
            ),
        ],
        "default",
    ),
    "stages": (
        Annotated[
            str | None,
            typer.Option(
                metavar="32,16,8",
                help="Train FCN-32s, -16s and -8s in turn, each from the best model of the "
                "previous stage, into OUT/32s, OUT/16s, OUT/8s.",
            ),
        ],
        None,
    ),
    "data_service": (
        Annotated[
            str | None,
            typer.Option(
                metavar="grpc://HOST:PORT",
                help="Get the batches from `fcn-keras data serve` at this address; several "
                "addresses, separated by commas, take turns.",
            ),
        ],
        None,
    ),
}

# The panels of `--help` and the options in each.
PANELS = {
    None: "data out data_dir resume checkpoint_every recipe",
    "Model": "model stages init_from reset_scores backbone weights head_width dropout "
    "skip_scales geometry mean zoom freeze",
    "Samples": "train_split val_split on_bad_file cache data_service batch_size crop scale "
    "mirror colour",
    "Training": "epochs iterations optimizer learning_rate stage_rates schedule warmup_steps "
    "weight_decay momentum bias_rate bias_layers accumulate loss_reduction sample_rate "
    "class_balance validate_every precision devices seed",
}

METAVARS = {
    "init_from": "RUN",
    "skip_scales": "A,B",
    "crop": "HxW",
    "scale": "LOW,HIGH",
    "stage_rates": "R16,R8",
    "devices": "auto|all|N",
}


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a function with keyword arguments the signature from which Typer makes options."""
    parameters = [
        _parameter(name, panel) for panel, names in PANELS.items() for name in names.split()
    ]
    vars(function)["__signature__"] = inspect.Signature(parameters)
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    return function


def _parameter(name: str, panel: str | None) -> inspect.Parameter:
    if name in OWN:
        annotation, default = OWN[name]
        kind, option = get_args(annotation)
        option.rich_help_panel = panel
    else:
        default, (kind, option) = None, _option(name, TrainConfig.model_fields[name])
        option.rich_help_panel = panel
        annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _option(name: str, field: FieldInfo) -> tuple[Any, OptionInfo]:
    """Returns type and option of a field; its value is None if the user does not give it."""
    declarations = ["--reset-scores"] if name == "reset_scores" else []
    default = _default_in_words(field.default)
    return _kind(field.annotation), typer.Option(
        *declarations,
        metavar=METAVARS.get(name),
        help=(field.description or "") + (f" [default: {default}]" if default else ""),
    )


def _kind(annotation: Any) -> Any:
    """Returns an option's type: the field's type, or text if the field has several parts."""
    if get_origin(annotation) is tuple:
        return list[str] if get_args(annotation)[-1] is ... else str
    if get_origin(annotation) in (None, Literal):
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return _kind(kinds[0]) if len(kinds) == 1 else str


def _default_in_words(default: Any) -> str:
    """Formats a default as the user would type it; "" if there is none."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        is_size = all(isinstance(part, int) for part in default)
        return ("x" if is_size else ",").join(f"{part:g}" for part in default)
    return f"{default:g}" if isinstance(default, float) else str(default)
