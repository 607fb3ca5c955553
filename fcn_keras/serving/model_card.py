"""What an exported model is, for the people who get it: data, recipe, figures, how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader

from fcn_keras.runs.reading import Run, read
from fcn_keras.runs.run_folder import FREE
from fcn_keras.text import FIGURES, figure
from fcn_keras.training import environment

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from fcn_keras.serving.saved_model import Ends

UNKNOWN = "n/a"
ORDER = ("serving_default", "encoded", "logits", "confidence")


def write(
    path: str | Path,
    model: keras.Model,
    name: str,
    facts: Mapping[str, str],
    signatures: Mapping[str, Ends],
    class_names: Sequence[str] | None = None,
    run: str | Path | None = None,
) -> None:
    """Writes a Markdown page.

    Args:
        path: the file.
        model: a `keras.Model`.
        name: what the page is called.
        facts: what is known of the export, in words by what it is.
        signatures: as `saved_model.describe` gives them.
        class_names: a name for each class, or None.
        run: the folder of the run that trained it, or None.
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
        **(_of_run(read(Path(run))) if run else {}),
    )
    Path(path).write_text(text, encoding="utf-8")


def _of_run(run: Run) -> dict[str, Any]:
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
            {name: value for name, value in run.options.items() if name not in FREE},
            sort_keys=False,
            allow_unicode=True,
        ),
    }
    if run.metrics is None:
        return found
    figures = [(said, figure(run.metrics[key])) for key, said in FIGURES.items()]
    classes = [
        {
            "name": entry["name"],
            "iou": figure(entry["iou"]),
            "accuracy": figure(entry["accuracy"]),
            "pixels": f"{entry['pixels']:,}",
        }
        for entry in run.metrics["per_class"]
    ]
    return {**found, "figures": figures, "classes": classes}


def _signature(name: str, ends: Ends) -> dict[str, str]:
    takes, gives = (", ".join(_tensor(*pair) for pair in specs.items()) for specs in ends)
    return {"name": name, "takes": takes, "gives": gives}


def _tensor(name: str, spec: tf.TensorSpec) -> str:
    sizes = (str(size or letter) for letter, size in zip("nhwc", spec.shape, strict=False))
    return f"`{name}` {spec.dtype.name} [{', '.join(sizes)}]"
