"""From an image to its mask, and masks as pictures.

Images are RGB uint8 [h, w, 3], masks uint8 (uint16 above 255 classes) [h, w] of the image's size.
"""

import functools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from fcn_keras.errors import ConfigError

ENDINGS = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VOID_COLOUR = (255, 255, 255)


def predict(model, image):
    """The class of every pixel.

    Args:
        model: a Keras model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        image: RGB, 0..255, `[h, w, 3]`, uint8 or float; for a model of several streams a dict of
            them.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes. A dict of them by head, if the model
        has several.
    """
    image = keras.tree.map_structure(_as_pixels, image)
    kinds = tuple(pixels.dtype.name for pixels in keras.tree.flatten(image))
    masks = _classes_of(model, kinds)(keras.tree.map_structure(lambda pixels: pixels[None], image))
    return keras.tree.map_structure(lambda mask: mask[0].numpy(), masks)


def input_signature(model, kinds=None):
    """What a `tf.function` of the model takes: images of any number and size.

    Args:
        model: a Keras model.
        kinds: dtypes of its inputs; by default uint8 where there are three channels, else float32.
    """
    kinds = iter(kinds or ())

    def spec(image):
        channels = image.shape[-1]
        kind = next(kinds, "uint8" if channels == 3 else "float32")
        return tf.TensorSpec((None, None, None, channels), kind, name=image.name)

    return keras.tree.map_structure(spec, model.input)


def _as_pixels(image):
    image = np.asarray(image)
    return image if image.dtype == np.uint8 else image.astype("float32")


@functools.lru_cache(maxsize=4)
def _classes_of(model, kinds):
    """A function of any image batch: one trace serves all sizes; `model.predict` is slower."""

    @tf.function(input_signature=[input_signature(model, kinds)])
    def classes(images):
        return keras.tree.map_structure(class_ids, model(images, training=False))

    return classes


def class_ids(logits):
    """Logits `[..., classes]` -> class ids `[...]`, uint8, or uint16 above 255 classes."""
    kind = tf.uint8 if logits.shape[-1] <= 255 else tf.uint16
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), kind)


def colour_mask(mask, palette):
    """A mask as an RGB picture; void (255) is white.

    Args:
        mask: class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.

    Returns:
        uint8 `[h, w, 3]`.
    """
    colours = np.full((max(256, len(palette)), 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    return colours[mask]


def overlay(image, mask, palette, opacity=0.55):
    """The image under its coloured mask: uint8 `[h, w, 3]`."""
    mixed = (1 - opacity) * image + opacity * colour_mask(mask, palette)
    return np.round(mixed).astype("uint8")


def side_by_side(image, truth, prediction, palette, gap=4):
    """Image | truth | prediction in one picture: uint8 `[h, 3 w + 2 gap, 3]`."""
    white = np.full((image.shape[0], gap, 3), 255, "uint8")
    truth, prediction = colour_mask(truth, palette), colour_mask(prediction, palette)
    return np.hstack([image, white, truth, white, prediction])


def palette_png(mask, palette):
    """A Pillow image whose pixels are the class ids and whose palette shows them in colour."""
    if mask.dtype != np.uint8:
        return Image.fromarray(mask)  # More classes than a palette has entries: 16-bit grey.
    picture = Image.fromarray(mask, "P")
    colours = np.full((256, 3), VOID_COLOUR, "uint8")
    colours[: len(palette)] = palette
    picture.putpalette(colours.tobytes())
    return picture


def plan(sources, out):
    """What to read and where to write for a list of files and folders.

    Args:
        sources: image files, or folders whose images are taken (not those of folders in them).
        out: the folder for the results; made here.

    Returns:
        A list of (image path, mask path, overlay path).

    Raises:
        ConfigError: a source is missing or empty, two images have one name, or a result would
            take the place of a source or cannot be written.
    """
    images, out = [], Path(out)
    for source in map(Path, sources):
        if source.is_dir():
            found = [p for p in sorted(source.iterdir()) if p.suffix.lower() in ENDINGS]
            if not found:
                raise ConfigError(f"{source}: the folder holds no images.")
            images += found
        elif source.is_file():
            images.append(source)
        else:
            raise ConfigError(f"{source}: no such file or folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{out}: cannot be made ({error.strerror}). Choose another --out."
        ) from None

    jobs = [
        (p, out / f"{p.stem}.png", out / f"{p.stem}_overlay.png") for p in dict.fromkeys(images)
    ]
    taken = {path.resolve(): path for path in images}
    for image, *results in jobs:
        for result in results:
            if result.resolve() in taken:
                raise ConfigError(
                    f"{result}: the result of {image} would take the place of, or be taken for, "
                    f"{taken[result.resolve()]}. Choose another --out, or predict the images of "
                    "one name separately."
                )
            taken[result.resolve()] = image
    return jobs


def write(image, mask, palette, mask_path, overlay_path):
    """Writes a mask as a palette PNG, and the image under it."""
    palette_png(mask, palette).save(mask_path)
    Image.fromarray(overlay(image, mask, palette)).save(overlay_path)
