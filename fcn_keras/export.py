"""A trained model as a SavedModel that TensorFlow Serving takes as it is."""

import os
import shutil
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ModelError
from fcn_keras.prediction import class_ids, input_signature, predict


def export(model, out):
    """Writes a SavedModel into the next free version folder under `out`.

    Its signature `serving_default` takes `image`, uint8 `[n, h, w, 3]`, RGB, any height and width,
    and gives `mask`, uint8 `[n, h, w]` (uint16 above 255 classes). A model of several streams takes
    each by its name, one of several heads gives `mask_HEAD` for each.

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
    if set("*?[]") & set(str(out.absolute())):
        raise ModelError(f"{out}: TensorFlow takes *, ? and [] in a path for patterns. Rename it.")
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
    inputs = {spec.name: spec for spec in keras.tree.flatten(input_signature(model))}
    several = isinstance(model.input, dict)

    @tf.function
    def serve(**images):
        logits = model(images if several else images.popitem()[1], training=False)
        return _named(keras.tree.map_structure(class_ids, logits))

    archive = keras.export.ExportArchive()
    archive.track(model)
    serve.get_concrete_function(**inputs)
    archive.add_endpoint("serving_default", serve)
    archive.write_out(str(path), verbose=False)


def _compare(model, path):
    """Raises if the saved model gives other masks than the model itself."""
    rng = np.random.default_rng(0)
    images = {
        spec.name: rng.integers(0, 256, (45, 67, spec.shape[-1])).astype(spec.dtype.as_numpy_dtype)
        for spec in keras.tree.flatten(input_signature(model))
    }
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    served = serve(**{name: tf.constant(image[None]) for name, image in images.items()})
    masks = predict(model, images if isinstance(model.input, dict) else images.popitem()[1])
    if any(not np.array_equal(served[name][0], mask) for name, mask in _named(masks).items()):
        raise ModelError("the exported model gives other masks than the model: not published.")


def _named(masks):
    """What the signature calls them: `mask`, or `mask_HEAD` for each of several heads."""
    if not isinstance(masks, dict):
        return {"mask": masks}
    return {f"mask_{head}": mask for head, mask in masks.items()}


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
