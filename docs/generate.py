"""Writes the reference pages that follow from the code: `python docs/generate.py`.

A test compares the pages with what this writes.
"""

import inspect
from pathlib import Path
from typing import Literal, get_args, get_origin

import yaml

import fcn_keras
import pipelines
from fcn_keras.cli.main import COMMANDS, load
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.recipes import RECIPES

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/generate.py from the code. Change the code, then run it again. -->\n"

# Public names of `fcn_keras` by what a reader looks for; a test checks that none is missing.
FCN_KERAS = {
    "Models": "FCN32s FCN16s FCN8s Modality MODELS BACKBONES MEANS AlexNet GoogLeNet",
    "Loss, metric, optimizers": "MaskedCrossentropy ConfusionMatrix segmentation_metrics "
    "FusedAdamW CaffeSGD",
    "Training": "train Run TrainConfig RECIPES ResumableCheckpoint start_from",
    "Prediction and evaluation": "load Segmenter predict overlay evaluate Evaluation calibrate",
    "Export": "export Exported",
    "Surgery and geometry": "convolutionalize shift_and_stitch receptive_field BilinearUpsampling",
    "Errors": "FcnKerasError ConfigError ModelError WeightsError",
}
PIPELINES = {
    "Data sets": "read Split Example DATASETS distinct_palette",
    "Batches": "train_dataset Augmentation eval_dataset joint_dataset batch_ids",
    "Single files": "read_example read_image read_mask",
    "Checks": "check fingerprint DataError",
    "Depth": "encode_hha NYUDV2_CAMERA",
}


def main():
    """Writes all pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, "utf-8")


def pages():
    """The text of each generated page, by its file name."""
    return {
        "command-line.md": command_line(),
        "options.md": options(),
        "recipes.md": recipes(),
        "fcn_keras.md": api(fcn_keras, FCN_KERAS, "Everything that a script needs to build, train, "
                            "measure and export models. Import from the package itself: "
                            "`from fcn_keras import FCN8s`."),
        "pipelines.md": api(pipelines, PIPELINES, "From files to `tf.data` batches. The package "
                            "does not import `fcn_keras`."),
    }  # fmt: skip


def command_line():
    """Each command with its arguments and options, as `--help` has them."""
    parts = [
        NOTE,
        "# Command line",
        "",
        "`fcn-keras COMMAND --help` shows the same in a terminal. A mistake ends with a message on "
        "stderr and exit status 2. Ctrl-C, SIGTERM and SIGHUP end a training with status 130, 143 "
        "and 129, after it was saved.",
        "",
    ]
    for name in COMMANDS:
        command = load(name)
        subcommands = getattr(command, "commands", None)
        if subcommands:
            for sub, one in subcommands.items():
                parts += _command(f"{name} {sub}", one)
        else:
            parts += _command(name, command)
    return "\n".join(parts).rstrip() + "\n"


def _command(name, command):
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    given = [one for one in command.params if one.param_type_name == "option"]
    given = [one for one in given if not one.hidden and "--help" not in one.opts]
    usage = " ".join(["fcn-keras", name, *(one.metavar or one.name.upper() for one in arguments)])
    lines = [f"## {name}", "", " ".join((command.help or "").split()), ""]
    lines += ["```text", f"{usage} [OPTIONS]", "```", ""]
    if arguments:
        lines += ["| argument | |", "|---|---|"]
        lines += [
            f"| `{one.metavar or one.name.upper()}` | {_cell(one.help)} |" for one in arguments
        ]
        lines.append("")
    signature, panels = inspect.signature(command.callback), {}
    for one in given:
        panels.setdefault(getattr(one, "rich_help_panel", None), []).append(one)
    for panel, members in panels.items():
        if panel:
            lines += [f"### {panel}", ""]
        lines += ["| option | value | |", "|---|---|---|"]
        lines += [_option(one, signature.parameters[one.name].annotation) for one in members]
        lines.append("")
    return lines


def _option(option, annotation):
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = option.metavar or _values(get_args(annotation)[0])
    text = _cell(option.help)
    default = option.default
    if "[default:" not in text and default not in (None, False, [], ()):
        text += f" [default: {default}]"
    if option.required:
        text += " Required."
    return f"| {names} | {'' if option.is_flag else f'`{_cell(value)}`'} | {text} |"


def _values(kind):
    """What an option takes: its choices, or what kind of value."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    parts = [part for part in get_args(kind) if part is not type(None)]
    if parts:
        return _values(parts[0])
    return {str: "TEXT", Path: "PATH", int: "N", float: "X"}.get(kind, kind.__name__)


def _cell(text):
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def options():
    """Every field of `TrainConfig`."""
    lines = [
        NOTE,
        "# Options of a training",
        "",
        "The fields of [`TrainConfig`][fcn_keras.TrainConfig]. They are keywords of "
        "[`fcn_keras.train`][fcn_keras.train], keys of an options file (`--recipe FILE.yaml`, and "
        "`config.yaml` in a run's folder), and options of `fcn-keras train` with dashes in place "
        "of underscores.",
        "",
        "| option | values | default | |",
        "|---|---|---|---|",
    ]
    for name, field in TrainConfig.model_fields.items():
        kind = str(field.annotation)
        if isinstance(field.annotation, type):
            kind = field.annotation.__name__
        for module in ("typing.", "pathlib.", "annotated_types."):
            kind = kind.replace(module, "")
        kind = kind.replace("NoneType", "None").replace("|", "\\|")
        default = "required" if field.is_required() else f"`{field.default!r}`"
        lines.append(f"| `{name}` | `{kind}` | {default} | {_cell(field.description)} |")
    return "\n".join(lines) + "\n"


def recipes():
    """Each recipe as the options it sets."""
    lines = [
        NOTE,
        "# Recipes",
        "",
        "A recipe is a named set of options: `fcn-keras train --recipe NAME`, or "
        '`fcn_keras.train("NAME", ...)`. Options that you give beside it win. What a recipe does '
        "not set has its [default](options.md). Some recipes change further options for a "
        "backbone or data set, as the authors did; `config.yaml` in the run's folder has the "
        "result.",
        "",
    ]
    for name, settings in RECIPES.items():
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()}
        text = yaml.safe_dump(plain, sort_keys=False, default_flow_style=None) if plain else ""
        lines += [f"## {name}", "", ABOUT[name], ""]
        if text:
            lines += ["<!-- test: skip: shown only, the recipe has these options -->"]
            lines += ["```yaml", text.rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


ABOUT = {
    "default": "Nothing but the defaults: FCN-8s on VGG16 with the paper's 4096-wide head, for a "
    "GPU.",
    "camvid": "For small data sets on a CPU: a head of 1024 channels, small crops, the first two "
    "blocks frozen. Mean IU 0.701 on CamVid's validation split after an hour on two cores.",
    "camvid-fine": "Continues from `camvid` (`--init-from`) on images enlarged by 1.5: 0.720.",
    "camvid-large": "Continues from `camvid-fine` with larger crops: 0.725, and 0.736 after "
    "`fcn-keras calibrate`.",
    "camvid-full": "The same data on a GPU, for as long as it takes. Never run.",
    "quickstart": "A tiny network on rendered shapes, one minute on two cores.",
    "accumulated": "The conference paper's: 20 images per update, averaged loss. Published mean IU "
    "on PASCAL VOC: 59.4 (32s), 62.4 (16s), 62.7 (8s). Not reproduced here.",
    "heavy": "The reference implementation's: one image per update, summed loss, momentum 0.99. "
    "Published mean IU on VOC 2011's seg11valid: 63.6, 65.0, 65.5. Not reproduced here.",
    "online": "`heavy` with the loss averaged. The learning rate is derived, not published.",
    "at-once": "FCN-8s directly from the classifier, without the coarser models. Published mean "
    "IU: 65.4. Not reproduced here.",
}


def api(package, sections, about):
    """The public names of a package, each with its docstring."""
    lines = [NOTE, f"# `{package.__name__}`", "", about, ""]
    for title, names in sections.items():
        lines += [f"## {title}", ""]
        for name in names.split():
            lines += [f"::: {package.__name__}.{name}", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
