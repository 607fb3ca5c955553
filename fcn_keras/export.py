"""A trained model as a SavedModel that TensorFlow Serving takes as it is."""

import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ModelError
from fcn_keras.prediction import class_ids, predict


def export(model, out):
    """Writes a SavedModel into the next free version folder under `out`.

    Its signature `serving_default` takes `image`, uint8 `[n, h, w, 3]`, RGB, any height and width,
    and gives `mask`, uint8 `[n, h, w]` (uint16 above 255 classes).

    It is written to a temporary folder, loaded and compared with the model, and then renamed: a
    server that watches `out` sees either nothing or all of it, and no other version is touched.

    Args:
        model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        out: the folder of all versions, such as `saved_models/street`.

    Returns:
        The path of the new version, such as `saved_models/street/1`.

    Raises:
        ModelError: `out` cannot be written, or the exported model gives other masks.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=out))
    except OSError as error:
        raise ModelError(
            f"{out}: cannot write there ({error.strerror}). Choose another --out."
        ) from None
    try:
        saved = temporary / "saved_model"
        _write(model, saved)
        _compare(model, saved)
        return _publish(saved, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(model, path):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image: {"mask": class_ids(model(image, training=False))},
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")],
    )
    archive.write_out(str(path), verbose=False)


def _compare(model, path):
    image = np.random.default_rng(0).integers(0, 256, (45, 67, 3), "uint8")
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    if not np.array_equal(serve(image=tf.constant(image[None]))["mask"][0], predict(model, image)):
        raise ModelError("the exported model gives other masks than the model: not published.")


def _publish(saved, out):
    """Renames `saved` to the version after the last; another process may take that one first."""
    while True:
        versions = [int(p.name) for p in out.iterdir() if p.name.isdecimal()]
        target = out / str(max(versions, default=0) + 1)
        try:
            os.rename(saved, target)  # Fails on a folder that has something in it.
            return target
        except OSError:
            if not target.exists():
                raise
