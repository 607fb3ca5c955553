"""Writes a trained model as a SavedModel that TensorFlow Serving can serve directly.

VERSION/saved_model.pb, variables/                   the model: see `fcn_keras.serving.signatures`
VERSION/assets/labels.json                           class names, colours, geometry for tiles
VERSION/assets.extra/tf_serving_warmup_requests      requests that a server runs when it loads it
VERSION/model_card.md                                data, recipe, metrics and export of the model
VERSION/SHA256SUMS                                   checksums of all these files
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.models.saving import check_finite
from fcn_keras.outputs import make_folder, remove_unfinished, temporary_folder
from fcn_keras.prediction.facts import Facts, facts_of
from fcn_keras.prediction.precision import check_functional, in_precision
from fcn_keras.prediction.readers.savedmodel import LABELS, describe, quiet
from fcn_keras.serving import model_card, saved_model
from fcn_keras.serving.encoded import MAX_PIXELS
from fcn_keras.serving.exported import Exported
from fcn_keras.serving.formats import LARGEST_MAX_PIXELS
from fcn_keras.serving.messages import ENCODED, message_class, predict_request
from fcn_keras.serving.writers.signature_check import compare_signatures

# Relative to the largest logit magnitude. bfloat16 rounds to 8 bits at each layer, and sums are
# computed in another order.
BOUNDS = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}
WARM_UP_SIZES = ((1, 1), (375, 500), (500, 375), (480, 640))
LARGEST_GRAPH = 1_900_000_000  # Bytes; a protocol buffer holds at most 2 GiB.


def write_savedmodel(
    model: keras.Model,
    out: str | Path,
    *,
    precision: str | None = None,
    freeze: bool = False,
    max_pixels: int = MAX_PIXELS,
    facts: Facts | None = None,
    run: str | Path | None = None,
) -> Exported:
    """Writes a SavedModel into the next free version folder under `out`.

    Its signatures are those of `fcn_keras.serving.signatures`: `serving_default` takes `image`,
    uint8 `[n, h, w, 3]`, RGB, any height and width, and returns `mask`, uint8 `[n, h, w]` (uint16
    above 255 classes); `encoded` takes and returns image files; `logits` and `confidence` return
    more detail.

    It is written to a temporary folder, loaded, compared with the Keras model and then renamed. A
    server that watches `out` sees nothing or a complete version, and other versions stay untouched.

    Args:
        model: A model from images `[b, h, w, 3]` to logits `[b, h, w, classes]`; several images or
            heads are supported.
        out: The folder of all versions, such as `saved_models/street`.
        precision: The precision of the layers up to the scores, "float32" or "bfloat16"; None for
            the model's current one.
        freeze: Whether to store the weights as constants, or as variables.
        max_pixels: Upper limit on the pixels of an encoded image, and of all images of a request
            to the other signatures.
        facts: Class names and the like for `assets/labels.json` and the model card; by default
            those of the model.
        run: The folder of the run that trained the model, for the model card.

    Returns:
        An `Exported`, whose path is that of the new version, such as `saved_models/street/1`.

    Raises:
        ConfigError: An argument is out of range, or `out` cannot be written.
        ModelError: The model is not functional, has infinite or NaN weights, or the exported
            model's logits or masks differ.
    """
    check_finite(model)
    if not isinstance(max_pixels, int) or not 1 <= max_pixels <= LARGEST_MAX_PIXELS:
        raise ConfigError(
            f"max_pixels={max_pixels!r}: must be a whole number from 1 to {LARGEST_MAX_PIXELS}."
        )
    check_functional(model)
    if precision is None and precision_of(model) == "bfloat16":
        precision = "bfloat16"  # Rounds the weights once, and not at each call.
    trained = model
    if precision is not None:
        model = in_precision(model, precision)
    facts = facts or facts_of(model)
    out = Path(out)
    with _created(out), temporary_folder(out / "version") as temporary:
        saved = temporary / "saved_model"
        with quiet():
            if freeze:
                _check_size(model)
                saved_model.write_constants(model, saved, max_pixels)
            else:
                saved_model.write_variables(model, saved, max_pixels)
            served = describe(saved)
            bound = BOUNDS[precision_of(model)]
            compared = compare_signatures(model, saved, served, max_pixels, bound)
        if labels := _labels(facts):
            (saved / LABELS).parent.mkdir(exist_ok=True)
            (saved / LABELS).write_text(labels, encoding="utf-8")
        if ENCODED in served:
            requests = saved / "assets.extra" / "tf_serving_warmup_requests"
            _write_warm_up(requests, out.name, max_pixels)
        rows = _rows(model, freeze, max_pixels, *compared)
        card = saved / "model_card.md"
        model_card.write(card, trained, out.name, rows, served, facts.class_names, run)
        _write_hashes(saved)
        return Exported(_publish(saved, out), *compared)


@contextlib.contextmanager
def _created(out: Path) -> Iterator[None]:
    """Creates a folder for the block; removes it again if it is empty then."""
    created = make_folder(out)
    remove_unfinished(out)
    try:
        yield
    finally:
        for folder in created:
            with contextlib.suppress(OSError):  # It has a version in it.
                folder.rmdir()


def precision_of(model: keras.Model) -> str:
    """Returns the precision that most of a model computes in: float32, bfloat16 or float16."""
    kinds = {layer.compute_dtype for layer in model._flatten_layers() if layer.weights}
    return next((kind for kind in ("bfloat16", "float16") if kind in kinds), "float32")


def _rows(
    model: keras.Model, freeze: bool, max_pixels: int, error: float, agreement: float
) -> dict[str, str]:
    """Returns the model card's facts about the export."""
    return {
        "Precision": precision_of(model),
        "Weights": "constants (frozen)" if freeze else "variables",
        "Encoded images": f"JPEG or PNG of at most {max_pixels:,} pixels",
        "Other requests": f"at most {max_pixels:,} pixels, all images of the request together",
        "Compared with the Keras model": f"logits differ by at most {error:.1e} of the largest; "
        f"{100 * agreement:.2f} % of pixels have the same class (noise images)",
    }


def _check_size(model: keras.Model) -> None:
    needed = sum(weight.size * np.dtype(weight.dtype).itemsize for weight in model.get_weights())
    if needed > LARGEST_GRAPH:
        raise ModelError(
            f"{model.name}: its weights take {needed / 1e9:.1f} GB, but a frozen graph holds at "
            "most 2 GB. Leave out --freeze (freeze=True)."
        )


def _labels(facts: Facts) -> str:
    """Returns the facts as JSON, with a line for each class; "" if there are none."""
    stored = facts.to_json()
    columns = (("name", "class_names"), ("colour", "palette"), ("value", "values"))
    classes = [
        {"id": number, "name": None, "colour": None}
        | {name: stored[key][number] for name, key in columns if key in stored}
        for number in range(facts.num_classes or 0)
    ]
    parts = [f'"{key}": {json.dumps(stored[key])}' for key in ("tiling", "images") if key in stored]
    if classes:
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in classes)
        parts.insert(0, f'"classes": [\n{lines}\n]')
    return "{" + ",\n".join(parts) + "}\n" if parts else ""


def _write_warm_up(path: Path, name: str, max_pixels: int) -> None:
    """Writes warm-up requests for `encoded` only: each signature in use keeps its own weights."""
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as records:
        for height, width in WARM_UP_SIZES:
            if height * width > max_pixels:
                continue  # A server does not load a version whose warm-up fails.
            log = message_class("Log")()
            image = tf.io.encode_png(tf.zeros((height, width, 3), tf.uint8)).numpy()
            log.predict_log.request.CopyFrom(predict_request(name, [image]))
            records.write(log.SerializeToString())


def _write_hashes(saved: Path) -> None:
    """Writes checksums that `sha256sum --check SHA256SUMS` can check."""
    files = sorted(path for path in saved.rglob("*") if path.is_file())
    lines = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(saved).as_posix()}\n")
    (saved / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _publish(saved: Path, out: Path) -> Path:
    """Renames `saved` to the next free version; another process may take a number first."""
    while True:
        versions = [int(p.name) for p in out.iterdir() if p.name.isdecimal()]
        target = out / str(max(versions, default=0) + 1)
        try:
            os.rename(saved, target)  # Fails if the target is a non-empty folder.
            return target
        except OSError:
            if not target.exists():
                raise
