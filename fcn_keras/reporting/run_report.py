"""Runs as one self-contained HTML page: what was run, curves, figures, classes, pictures.

Everything is read from the runs' folders; neither the data nor TensorFlow is needed. What a run
lacks, because it is not finished or was broken off, is left out and said.
"""

import base64
import csv
import hashlib
import io
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader
from PIL import Image

from fcn_keras.cli.terminal import duration
from fcn_keras.errors import ConfigError
from fcn_keras.reporting.charts import Line, chart

FIGURES = {
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mean_iou": "mean IU",
    "frequency_weighted_iou": "frequency weighted IU",
}
ENTRY = {"name", "iou", "accuracy", "pixels"}  # Of a class, in `metrics.json`.
CURVES = {
    "loss": "loss",
    "mean_iou": "mean IU",
    "pixel_accuracy": "pixel accuracy",
    "learning_rate": "learning rate",
}
STAGES = ("32s", "16s", "8s")  # Folders of a staged training.
MOST_RUNS = 8  # The page has so many colours for lines.
MATRIX = 40  # Classes of a confusion matrix that is drawn; a larger one cannot be read.
CONFUSIONS = 12  # The most frequent ones, which are listed.
# What the page says of a start in its own way; other facts it shows as they are.
SHOWN_FACTS = {
    "command",
    "started",
    "versions",
    "platform",
    "processor",
    "cores",
    "gpus",
    "epochs",
    "steps",
}
VOID = 255
WRONG = (213, 45, 30)


@dataclass
class Run:
    """What the folder of a run holds.

    Attributes:
        name: how the page calls it.
        folder: where it is.
        options: the configuration, by option.
        classes: of each its name and colour.
        starts: what `environment.json` says of each start.
        data: of each split the fingerprint in `data.json`.
        history: a dict for each epoch that ended: numbers, None where there is none.
        metrics: as in `metrics.json`, or None.
        images: of each validation image that was measured name, mean IU and picture.
        notes: what is missing or cannot be read, in words.
    """

    name: str
    folder: Path
    options: dict
    classes: list
    starts: list = field(default_factory=list)
    data: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    metrics: dict | None = None
    images: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def epochs(self):
        """The epochs that the run was to have; None if unknown."""
        planned = self.starts[-1].get("epochs") if self.starts else None
        if planned is None and self.options.get("iterations") is None:
            planned = self.options.get("epochs")
        return planned

    @property
    def is_finished(self):
        """Whether it has come to its end, or nobody knows."""
        is_marked = (self.folder / "finished.json").exists()
        return is_marked or self.epochs is None or self.done >= self.epochs

    @property
    def done(self):
        """The number of the last epoch that ended."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def validated_on(self):
        """A hash of the validation split; None if unknown."""
        return _digest(self.data["val"]) if "val" in self.data else None


def find(folders):
    """Reads the runs in some folders; a staged run gives one for each stage.

    Args:
        folders: paths of runs' folders.

    Returns:
        A list of `Run`.

    Raises:
        ConfigError: a folder holds no run, or there are more runs than a page can show.
    """
    runs = []
    for folder in map(Path, folders):
        stages = [folder / name for name in STAGES if (folder / name / "config.yaml").is_file()]
        runs += [read(path) for path in stages or [folder]]
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"{len(runs)} runs: a report shows {MOST_RUNS} at most. Leave some out.")
    if len({run.folder for run in runs}) > 1:
        holder = os.path.commonpath([run.folder.absolute() for run in runs])
        for run in runs:
            run.name = os.path.relpath(run.folder, holder)
    return runs


def render(runs):
    """The page's HTML.

    Args:
        runs: a list of `Run`.
    """
    environment = Environment(
        loader=PackageLoader("fcn_keras.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template("run_report.html").render(
        title=", ".join(run.name for run in runs),
        runs=[_shown(run, colour, len(runs) == 1) for colour, run in enumerate(runs)],
        charts=[drawn for key, title in CURVES.items() if (drawn := _curves(runs, key, title))],
        figures=_rows_of_figures(runs),
        classes=_rows_of_classes(runs),
        options=_rows_of_options(runs),
        comparable=_are_comparable(runs),
        void="#ffffff",
        wrong="#{:02x}{:02x}{:02x}".format(*WRONG),
    )


def read(folder):
    """The run in a folder."""
    options, classes = _config(folder)
    name = str(folder if folder.name else folder.absolute())
    run = Run(name, folder, options, classes)
    if (environment := _json(run, "environment.json")) is not None:
        starts = environment.get("starts")
        run.starts = [s for s in starts if isinstance(s, dict)] if isinstance(starts, list) else []
    data = _json(run, "data.json") or {}
    run.data = {split: held for split, held in data.items() if isinstance(held, dict)}
    run.history = _history(folder / "history.csv")
    if not run.history:
        run.notes.append("no epoch has ended yet: there are no curves.")
    elif not run.is_finished:
        run.notes.append(
            f"not finished: {run.done} of {run.epochs} epochs have ended. To go on: "
            f"fcn-keras train --resume {folder}"
        )
    run.metrics = _metrics(run)
    if run.metrics is None:
        run.notes.append("not validated yet: there are no figures.")
    run.images = [
        {**row, "mean_iou": _number(row.get("mean_iou"))} for row in _csv(folder / "validation.csv")
    ]
    if not run.images:
        run.notes.append(
            "no pictures: the images are measured when a training ends, or by `fcn-keras report "
            "--pictures` where the data is at hand."
        )
    return run


def _config(folder):
    path = folder / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        classes = [
            {"name": str(entry["name"]), "colour": "#{:02x}{:02x}{:02x}".format(*entry["colour"])}
            for entry in content["classes"]
        ]
        return dict(content["options"]), classes
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{folder}: no run there: a run's folder holds config.yaml. Give a folder that "
            "`fcn-keras train` made."
        ) from None
    except (
        OSError,
        UnicodeDecodeError,
        yaml.YAMLError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{path}: not the configuration of a run ({type(error).__name__}: {reason}). Give a "
            "folder that `fcn-keras train` made."
        ) from None


def _json(run, name):
    """A dict from a JSON file, or None; notes a file that cannot be read."""
    try:
        content = json.loads((run.folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        run.notes.append(f"{name} cannot be read: {error}")
        return None
    return content if isinstance(content, dict) else None


def _metrics(run):
    metrics = _json(run, "metrics.json")
    if metrics is None:
        return None
    count = len(run.classes)
    try:
        fits = (
            FIGURES.keys() <= metrics.keys()
            and np.array(metrics["confusion"], "float64").shape == (count, count)
            and len(metrics["per_class"]) == count
            and all(ENTRY <= entry.keys() for entry in metrics["per_class"])
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits:
        run.notes.append(f"metrics.json has no figures of {count} classes.")
    return metrics if fits else None


def _history(path):
    """The epochs' numbers; of an epoch that was done again after a restart the later ones."""
    epochs = {}
    for row in _csv(path):
        numbers = {name: _number(text) for name, text in row.items() if name is not None}
        if numbers.get("epoch"):  # A last line may be cut off.
            epochs[numbers["epoch"]] = numbers
    return [epochs[epoch] for epoch in sorted(epochs)]


def _csv(path):
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error):
        return []


def _number(text):
    """A finite number, or None."""
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _are_comparable(runs):
    """Whether runs were validated on the same data, as far as is known."""
    digests = {run.validated_on for run in runs}
    if None not in digests:
        return len(digests) == 1
    named = {(run.options.get("data"), run.options.get("val_split")) for run in runs}
    return len(named) == 1 and len(digests - {None}) <= 1


def _curves(runs, key, title):
    """One chart of all runs: validation drawn through, training dashed if there are several."""
    several, lines = len(runs) > 1, []
    for position, run in enumerate(runs):
        epochs = [row["epoch"] for row in run.history]
        for column, split in ((key, "train"), (f"val_{key}", "validation")):
            is_train = split == "train"
            lines.append(
                Line(
                    ", ".join([*([run.name] if several else []), split]),
                    epochs,
                    [row.get(column) for row in run.history],
                    position if several else int(not is_train),
                    dashed=several and is_train and key != "learning_rate",
                )
            )
    return chart(title, lines)


def _rows_of_figures(runs):
    """Of each figure its values, and how much each differs from the first run's."""
    values = [run.metrics or {} for run in runs]
    return [
        {"name": name, "values": _differences([metrics.get(key) for metrics in values])}
        for key, name in FIGURES.items()
    ]


def _rows_of_classes(runs):
    """Of each class, by name, its colour, pixels, and IU and accuracy in each run."""
    found = {}
    for run in runs:
        for entry in run.classes:
            found.setdefault(entry["name"], entry["colour"])
    by_run = [
        {entry["name"]: entry for entry in (run.metrics or {"per_class": []})["per_class"]}
        for run in runs
    ]
    rows = []
    for name, colour in found.items():
        entries = [entries.get(name, {}) for entries in by_run]
        rows.append(
            {
                "name": name,
                "colour": colour,
                "pixels": next((e["pixels"] for e in entries if "pixels" in e), None),
                "ious": _differences([entry.get("iou") for entry in entries]),
                "accuracy": entries[0].get("accuracy"),
            }
        )
    return rows


def _differences(values):
    """Pairs of a value and its difference to the first, None where there is none."""
    first = values[0]
    return [
        (value, None if i == 0 or value is None or first is None else value - first)
        for i, value in enumerate(values)
    ]


def _rows_of_options(runs):
    """The options: all of a single run's, of several runs those that differ."""
    names = dict.fromkeys(name for run in runs for name in run.options)
    rows = [(name, [_option(run.options.get(name)) for run in runs]) for name in names]
    return [row for row in rows if len(runs) == 1 or len(set(row[1])) > 1]


def _option(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _shown(run, colour, is_alone):
    """What the page says of one run."""
    return {
        "colour": colour,
        "name": run.name,
        "notes": run.notes,
        "best_epoch": run.metrics and run.metrics.get("epoch"),
        "facts": _facts(run),
        "classes": run.classes,
        **_confusion(run),
        "measured": sum(image["mean_iou"] is not None for image in run.images),
        "pictures": _pictures(run, None if is_alone else 1),
    }


def _facts(run):
    """What was run and on what, as pairs of texts."""
    facts = {"folder": None if run.name == str(run.folder) else run.folder}
    for number, start in enumerate(run.starts):
        which = "" if len(run.starts) == 1 else f" {number + 1}"
        facts[f"command{which}"] = start.get("command")
        facts[f"started{which}"] = start.get("started")
    last = run.starts[-1] if run.starts else {}
    versions = last.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    gpus = last.get("gpus") or []
    options = run.options
    seconds = sum(row.get("seconds") or 0 for row in run.history)
    facts |= {
        "took": duration(seconds) + ", epochs and validations" if seconds else None,
        "length": _length(run, last.get("steps")),
        "net": f"{options.get('model')}, {options.get('backbone')}",
        "precision, seed": f"{options.get('precision')}, {options.get('seed')}",
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
        "processor": last.get("processor") and f"{last['processor']}, {last.get('cores')} cores",
        "GPU": last and (", ".join(gpus) or "none"),
        "system": last.get("platform"),
        **{name: fact for name, fact in last.items() if name not in SHOWN_FACTS},
    }
    facts["data"] = None if run.data else options.get("data")
    for split, held in run.data.items():
        count = len(held.get("examples", ()))
        facts[f"data, {split}"] = (
            f"{held.get('name')}: {count:,} images, SHA-256 {_digest(held)[:16]}..."
        )
    return [(name, str(text)) for name, text in facts.items() if text]


def _digest(fingerprint):
    """A hash of a split's content, the same wherever it lies."""
    return hashlib.sha256(json.dumps(fingerprint).encode()).hexdigest()


def _length(run, steps):
    epochs = f"{run.done} of {run.epochs} epochs" if run.epochs else f"{run.done} epochs"
    return epochs + (f", {steps:,} steps in all" if isinstance(steps, int) else "")


def _confusion(run):
    """The row-normalised matrix, where it can be read, and the most frequent confusions."""
    if run.metrics is None:
        return {"matrix": None, "confusions": []}
    counts = np.array(run.metrics["confusion"], "float64")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [entry["name"] for entry in run.classes]
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return {
        "matrix": shares.tolist() if len(names) <= MATRIX else None,
        "empty": (counts.sum(axis=1) == 0).tolist(),
        "confusions": [
            (names[i], names[j], shares[i, j], int(counts[i, j])) for i, j in pairs if wrong[i, j]
        ],
    }


def _pictures(run, each=None):
    """Of each kind its examples, all or `each`: name, mean IU, and four layers as data URIs."""
    kinds = {"worst": [], "median": [], "best": []}
    for image in sorted(run.images, key=lambda image: image.get("picture") or ""):
        picture = image.get("picture") or ""
        kind = picture.split("-")[0]
        if kind not in kinds or (each and len(kinds[kind]) >= each):
            continue
        base = run.folder / "examples" / Path(picture).name
        try:
            layers = _layers(base)
        except (OSError, ValueError):
            run.notes.append(f"examples/{base.name} cannot be read.")
            continue
        kinds[kind].append({"name": image["image"], "mean_iou": image["mean_iou"], **layers})
    return {kind: pictures for kind, pictures in kinds.items() if pictures}


def _layers(base):
    """An example's layers, to be laid over each other."""
    photo = base.with_name(f"{base.name}.jpg").read_bytes()
    masks = {
        name: base.with_name(f"{base.name}-{name}.png").read_bytes()
        for name in ("truth", "prediction")
    }
    truth, prediction = (np.asarray(Image.open(io.BytesIO(mask))) for mask in masks.values())
    return {
        "width": truth.shape[1],
        "height": truth.shape[0],
        "image": _uri("jpeg", photo),
        **{name: _uri("png", mask) for name, mask in masks.items()},
        "error": _uri("png", _error_layer(truth, prediction)),
    }


def _error_layer(truth, prediction):
    """A PNG that is clear where the prediction is right, red where wrong and dark where void."""
    kinds = np.where(truth == VOID, 2, (truth != prediction).astype("uint8")).astype("uint8")
    picture = Image.fromarray(kinds, "P")
    picture.putpalette([0, 0, 0, *WRONG, 0, 0, 0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=bytes([0, 220, 190]), optimize=True)
    return buffer.getvalue()


def _uri(kind, content):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _figure(value, sign=False):
    """A share with three decimals; "n/a" where there is none."""
    if value is None:
        return "n/a"
    return f"{value:+.3f}" if sign else f"{value:.3f}"
