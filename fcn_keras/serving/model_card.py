"""The model card of an exported model: data, recipe, metrics and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader

from fcn_keras.errors import ModelError
from fcn_keras.models.saving import load
from fcn_keras.runs.lifecycle import weights_sha256
from fcn_keras.runs.reading import Run, read
from fcn_keras.runs.run_folder import FREE_OPTIONS
from fcn_keras.text import METRIC_NAMES, format_metric
from fcn_keras.training import environment

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from fcn_keras.prediction.readers.savedmodel import SignatureSpecs

UNKNOWN = "n/a"
ORDER = ("serving_default", "encoded", "logits", "confidence")


def write(
    path: str | Path,
    model: keras.Model,
    name: str,
    facts: Mapping[str, str],
    signatures: Mapping[str, SignatureSpecs],
    class_names: Sequence[str] | None = None,
    run: str | Path | None = None,
) -> None:
    """Writes a model card as a Markdown page.

    Args:
        path: The file to write.
        model: A `keras.Model`.
        name: The title of the page.
        facts: Facts about the export, a value by label.
        signatures: The signatures, as returned by `readers.savedmodel.describe`.
        class_names: A name for each class, or None.
        run: The folder of the run that trained the model, or None. Its metrics are left out if they
            belong to another model.
    """
    made = environment.describe()
    versions = ", ".join(f"{package} {number}" for package, number in made["versions"].items())
    facts = {
        "Model": f"`{model.name}`, {model.count_params():,} parameters",
        **facts,
        "Exported": f"{made['started']}, {versions}",
    }
    page = Environment(
        loader=PackageLoader("fcn_keras.serving"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("model_card.md")
    text = page.render(
        name=name,
        facts=facts,
        signatures=[_signature(name, signatures[name]) for name in ORDER if name in signatures],
        class_names=class_names,
        **(_of_run(read(Path(run)), model) if run else {}),
    )
    Path(path).write_text(text, encoding="utf-8")


def _of_run(run: Run, model: keras.Model) -> dict[str, Any]:
    data = [
        {
            "split": split,
            "name": held.get("name", UNKNOWN),
            "images": f"{len(held.get('examples', ())):,}",
            "pixels": f"{sum(held.get('pixels', ())):,}",
        }
        for split, held in run.data.items()
    ]
    found = {
        "data": data,
        "command": run.starts[0].get("command") if run.starts else None,
        "options": yaml.safe_dump(
            {name: value for name, value in run.options.items() if name not in FREE_OPTIONS},
            sort_keys=False,
            allow_unicode=True,
        ),
    }
    if run.metrics is None:
        return found
    if not _is_best(run, model):
        return {**found, "is_other": True}
    metrics = [(said, format_metric(run.metrics[key])) for key, said in METRIC_NAMES.items()]
    classes = [
        {
            "name": entry["name"],
            "iou": format_metric(entry["iou"]),
            "accuracy": format_metric(entry["accuracy"]),
            "pixels": f"{entry['pixels']:,}",
        }
        for entry in run.metrics["per_class"]
    ]
    return {**found, "metrics": metrics, "classes": classes}


def _is_best(run: Run, model: keras.Model) -> bool:
    """Returns whether the metrics of a run are those of a model, by the model's weights."""
    expected = run.weights
    if expected is None:  # Version 0.1 did not store it.
        try:
            expected = weights_sha256(load(run.folder).model)
        except ModelError:
            return False
    return weights_sha256(model) == expected


def _signature(name: str, ends: SignatureSpecs) -> dict[str, str]:
    inputs, outputs = (", ".join(_tensor(*pair) for pair in specs.items()) for specs in ends)
    return {"name": name, "inputs": inputs, "outputs": outputs}


def _tensor(name: str, spec: tf.TensorSpec) -> str:
    sizes = (str(size or letter) for letter, size in zip("nhwc", spec.shape, strict=False))
    return f"`{name}` {spec.dtype.name} [{', '.join(sizes)}]"
