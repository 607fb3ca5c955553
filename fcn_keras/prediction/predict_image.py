"""From an image to its mask, and masks as pictures.

Images are RGB uint8 [h, w, 3], masks uint8 (uint16 above 255 classes) [h, w] of the image's size.
"""

from collections import Counter
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fcn_keras.errors import ConfigError
from fcn_keras.labels import VOID
from fcn_keras.outputs import check_folder, make_folder, replacing
from fcn_keras.prediction import tiles
from fcn_keras.prediction.test_time_augmentation import mean_probabilities

ENDINGS = {".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SOFTWARE = "fcn-keras predict"
BAND_PIXELS = 1 << 20
VOID_COLOUR = (255, 255, 255)
WRONG_COLOUR = (213, 45, 30)


def predict(model, image, *, tile=None, overlap=None, tta=False):
    """The class of every pixel.

    Args:
        model: a Keras model: images `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        image: RGB, 0..255, `[h, w, 3]`, uint8 or float, also a `np.memmap`; for a model of several
            streams a dict of them.
        tile: the edge in pixels, or (rows, columns), of what goes through the net at once; memory
            is bounded by it, whatever the image's size. None for the whole image.
        overlap: pixels that neighbouring tiles share, at least. None for what the receptive field
            asks for: the logits are then the whole image's, but for rounding. Fewer are faster,
            and near the seams only nearly right.
        tta: test-time augmentation: the class of the highest mean probability over scales and the
            mirror image (`views.mean_probabilities`). It takes about ten times as long, and
            memory as for an image of 1.5 times the height and width. In tiles it is only nearly
            that of the whole image, since resized tiles have grids of their own.

    Returns:
        Class ids `[h, w]`, uint8; uint16 above 255 classes. A dict of them by head, if the model
        has several.

    Raises:
        ConfigError: the image is no array of that shape, the names are not the model's, or the
            tiles are too small for the model.
        ModelError: the model's geometry is not known, so that it cannot be tiled.
    """
    if not hasattr(model, "input"):
        raise ConfigError(
            f"model: must be a Keras model, found {type(model).__name__}. Of what fcn_keras.load "
            "gives take .model."
        )
    expected = model.input
    if tile is None and overlap is not None:
        raise ConfigError(f"overlap={overlap!r}: is of tiles only. Give tile too.")
    if tile is not None:
        cuts = tiles.cut(model, _checked(image, expected, "image").shape[:2], tile, overlap)
        return tiles.stitch(lambda part: predict(model, part, tta=tta), image, cuts)
    if isinstance(expected, dict):
        if not isinstance(image, dict) or image.keys() != expected.keys():
            raise ConfigError(
                f"image: {model.name} takes a dict of the images {', '.join(expected)}."
            )
        image = {name: _as_pixels(image[name], expected[name], name) for name in expected}
    else:
        image = _as_pixels(image, expected, "image")
    kinds = tuple(pixels.dtype.name for pixels in keras.tree.flatten(image))
    images = keras.tree.map_structure(lambda pixels: tf.constant(pixels[None]), image)
    if tta:
        scores = mean_probabilities(_traced(model, kinds, tf.identity), images)
        masks = keras.tree.map_structure(class_ids, scores)
    else:
        masks = _traced(model, kinds, class_ids)(images)
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


def as_input(model, images):
    """A flat list of images in the structure that the model takes, as `input_signature` flattens.

    Args:
        model: a Keras model.
        images: one for each of its inputs.
    """
    return keras.tree.pack_sequence_as(model.input, list(images))


def _as_pixels(image, expected, name):
    image = np.asarray(_checked(image, expected, name))
    return image if image.dtype == np.uint8 else image.astype("float32")


def _checked(image, expected, name):
    channels = expected.shape[-1]
    shape = getattr(image, "shape", None)
    if shape is None or len(shape) != 3 or shape[-1] != channels:
        what = type(image).__name__ if shape is None else f"the shape {tuple(shape)}"
        raise ConfigError(
            f"{name}: must be an array [height, width, {channels}], found {what}. "
            "`pipelines.read_image` reads a file."
        )
    return image


def _traced(model, kinds, finish):
    """`finish` of the logits of any image batch: one trace serves all sizes.

    `model.predict` is slower. It is kept with the model, past Keras's own tracking of attributes,
    and so goes with it.
    """
    functions = vars(model).setdefault("_fcn_keras_traced", {})
    if (kinds, finish) not in functions:

        @tf.function(input_signature=[input_signature(model, kinds)])
        def traced(images):
            return keras.tree.map_structure(finish, model(images, training=False))

        functions[kinds, finish] = traced
    return functions[kinds, finish]


def class_ids(logits):
    """The class of the highest logit or probability: `[..., classes]` -> `[...]`.

    Class ids are uint8, or uint16 above 255 classes.
    """
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
    picture = np.empty((*mask.shape, 3), "uint8")
    rows = max(1, BAND_PIXELS // max(1, mask.shape[1]))  # Its float64 is 8 times an image's size.
    for top in range(0, len(mask), rows):
        band = slice(top, top + rows)
        mixed = (1 - opacity) * image[band] + opacity * colour_mask(mask[band], palette)
        picture[band] = np.round(mixed)
    return picture


def error_picture(image, truth, prediction):
    """Where a prediction is wrong: uint8 `[h, w, 3]`.

    Wrong pixels are red; under them the image is pale grey where the prediction is right, and
    nearly black where the truth is void, so that nothing counts.
    """
    grey = image.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    picture = 128 + 0.5 * grey
    void = truth == VOID
    picture[void] = 0.25 * grey[void]
    wrong = (prediction != truth) & ~void
    picture[wrong] = 0.15 * grey[wrong] + 0.85 * np.array(WRONG_COLOUR)
    return np.round(picture).astype("uint8")


def side_by_side(image, truth, prediction, palette, gap=4, columns=4):
    """Image, truth, prediction and error in one picture, with white between them.

    Args:
        image: uint8 `[h, w, 3]`.
        truth: class ids `[h, w]`, 255 where void.
        prediction: class ids `[h, w]`.
        palette: uint8 `[classes, 3]`.
        gap: between the parts, in pixels.
        columns: 4 for all in a row; 2 for prediction and error below.

    Returns:
        uint8 `[h, 4 w + 3 gap, 3]`, or `[2 h + gap, 2 w + gap, 3]` in two columns.
    """
    error = error_picture(image, truth, prediction)
    parts = [image, colour_mask(truth, palette), colour_mask(prediction, palette), error]
    height, width = truth.shape
    rows = 4 // columns
    size = rows * (height + gap) - gap, columns * (width + gap) - gap, 3
    picture = np.full(size, 255, "uint8")
    for number, part in enumerate(parts):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        picture[top : top + height, left : left + width] = part
    return picture


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
        ConfigError: a source is missing or empty, two images have one name and ending, or a result
            cannot be written or would take the place of a file that is no earlier result.
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
    images = list(dict.fromkeys(images))
    stems = Counter(path.stem for path in images)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in images]
    jobs = [
        (path, out / f"{name}.png", out / f"{name}_overlay.png")
        for path, name in zip(images, names, strict=True)
    ]
    check_folder(out)
    taken = {}
    for image, *results in jobs:
        for result in results:
            if result in taken:
                raise ConfigError(
                    f"{result}: would be the result of {taken[result]} and of {image}. Predict "
                    "them into folders of their own."
                )
            taken[result] = image
            if result.exists() and not _is_ours(result):
                raise ConfigError(
                    f"{result}: is there already, and predict did not write it. Choose another "
                    "--out."
                )
    make_folder(out)
    return jobs


def write(image, mask, palette, mask_path, overlay_path):
    """Writes a mask as a palette PNG, and the image under it; both say who wrote them."""
    mark = PngInfo()
    mark.add_text("Software", SOFTWARE)
    for make, path in (
        (lambda: palette_png(mask, palette), mask_path),
        (lambda: Image.fromarray(overlay(image, mask, palette)), overlay_path),
    ):
        with replacing(path) as temporary:
            make().save(temporary, "PNG", pnginfo=mark)


def _is_ours(path):
    """Whether a file is a result of `write`."""
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == SOFTWARE
    except OSError:
        return False
