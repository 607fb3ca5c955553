"""The signatures of an exported SavedModel, all built on one function that computes logits.

serving_default  image uint8 [n, h, w, 3], RGB        -> mask uint8 [n, h, w]
encoded          image_bytes string [n], JPEG or PNG  -> mask_bytes string [n], PNG
logits           image                                -> logits float32 [n, h, w, classes]
confidence       image                                -> mask, confidence uint8 [n, h, w]

Masks are uint16 above 255 classes. A model of several images takes each by its name. With several
heads, the head's name follows each output's name, as in `mask_HEAD`. `encoded` exists only for
models of one RGB image and one head.

Each signature checks shapes and sizes in the graph and refuses a wrong request in one line:
TensorFlow Serving checks no shapes, and some of TensorFlow's operations end the whole process if a
dimension is missing.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.serving.encoded import SMALLEST_SIDE, decode, most_padded
from fcn_keras.serving.image_headers import require
from fcn_keras.serving.messages import ENCODED, IMAGE_BYTES, MASK_BYTES


class Signature(NamedTuple):
    """A signature: a function of named tensors that returns a dict of named tensors."""

    inputs: tuple[tf.TensorSpec, ...]
    function: Callable[..., dict[str, tf.Tensor]]


def signatures(
    model: keras.Model, logits_of: Callable[..., list[tf.Tensor]], max_pixels: int
) -> dict[str, Signature]:
    """Builds the signatures of a model.

    Args:
        model: A functional `keras.Model`. Its inputs and outputs decide which signatures exist.
        logits_of: A function that computes its logits: images -> a flat list, like
            `frozen.freeze`.
        max_pixels: Upper limit on the pixels that are computed at once: those of one encoded image,
            or of all images of a batch.

    Returns:
        A dict of `Signature` by name.
    """
    specs = tuple(keras.tree.flatten(input_signature(model)))
    several, heads = isinstance(model.output, dict), endings(model)

    def of_images(finish: Callable[[list[tf.Tensor]], dict[str, Iterable[tf.Tensor]]]) -> Signature:
        def function(**images: tf.Tensor) -> dict[str, tf.Tensor]:
            flat = _checked(images, specs, max_pixels)
            return {
                f"{kind}{head}": value
                for kind, values in finish(logits_of(*flat)).items()
                for head, value in zip(heads, values, strict=True)
            }

        return Signature(specs, function)

    found = {
        "serving_default": of_images(lambda logits: {"mask": map(class_ids, logits)}),
        "logits": of_images(lambda logits: {"logits": map(tf.identity, logits)}),
        "confidence": of_images(
            lambda logits: {
                "mask": map(class_ids, logits),
                "confidence": map(_confidence, logits),
            }
        ),
    }
    if len(specs) == 1 and specs[0].dtype == tf.uint8 and not several:
        found[ENCODED] = _encoded(lambda image: class_ids(*logits_of(image)), max_pixels)
    return found


def endings(model: keras.Model) -> list[str]:
    """Returns the endings of the outputs' names: "", or "_HEAD" for each of several heads, flat."""
    if not isinstance(model.output, dict):
        return [""]
    return keras.tree.flatten({head: f"_{head}" for head in model.output})


def _encoded(mask_of: Callable[[tf.Tensor], tf.Tensor], max_pixels: int) -> Signature:
    def mask_bytes(number: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
        name = tf.strings.format(f"{IMAGE_BYTES}[{{}}]", number)
        mask = mask_of(decode(data, name, max_pixels)[None])
        return tf.io.encode_png(mask[0, ..., None])

    def function(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        files = _of_any_shape(image_bytes)
        shape = tf.shape(files)
        line = "must be a list [n] of one or more files, found shape {}."
        is_list = tf.equal(tf.size(shape), 1) & (tf.size(files) > 0)
        with require(is_list, tf.constant(IMAGE_BYTES), line, shape):
            files = tf.ensure_shape(tf.identity(files), (None,))
        # One image at a time, at its own size, so that no image affects another image's mask.
        numbered = tf.range(tf.size(files)), files
        masks = tf.map_fn(
            lambda one: mask_bytes(*one),
            numbered,
            fn_output_signature=tf.TensorSpec((), tf.string),
            parallel_iterations=1,
        )
        return {MASK_BYTES: masks}

    return Signature((tf.TensorSpec((None,), tf.string, name=IMAGE_BYTES),), function)


def _confidence(logits: tf.Tensor) -> tf.Tensor:
    """Computes the probability of the most probable class, scaled so that 1 becomes 255."""
    highest = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    return tf.cast(tf.round(255 * highest), tf.uint8)


def _checked(
    images: Mapping[str, tf.Tensor], specs: Sequence[tf.TensorSpec], max_pixels: int
) -> list[tf.Tensor]:
    """Returns the images in the order of their specs; at run time, refuses wrong shapes."""
    given = [_of_any_shape(images[spec.name]) for spec in specs]
    shapes = [tf.shape(image, out_type=tf.int64) for image in given]
    with contextlib.ExitStack() as checks:
        for spec, shape in zip(specs, shapes, strict=True):
            name, channels, pixels = tf.constant(spec.name), spec.shape[-1], shape[:3]
            is_image = tf.equal(tf.size(shape), 4) & tf.reduce_all(tf.equal(shape[3:], channels))
            must = f"must be [n, height, width, {channels}], found shape {{}}."
            checks.enter_context(require(is_image, name, must, shape))
            total = tf.reduce_prod(pixels)
            checks.enter_context(require(total > 0, name, "its shape {} has no pixels.", shape))
            most = f"shape {{}}; at most {max_pixels} pixels in total are allowed."
            checks.enter_context(require(total <= max_pixels, name, most, shape))
            padded = tf.reduce_prod(tf.maximum(pixels, (1, SMALLEST_SIDE, SMALLEST_SIDE)))
            limit = most_padded(max_pixels)
            most = (
                f"shape {{}}; at most {limit} pixels in total are allowed, and sides below "
                f"{SMALLEST_SIDE} count as {SMALLEST_SIDE}."
            )
            checks.enter_context(require(padded <= limit, name, most, shape))
            as_many = "must be as many images as in {}, found {} and {}."
            same = tf.equal(shape[0], shapes[0][0])
            counts = tf.constant(specs[0].name), shape[0], shapes[0][0]
            checks.enter_context(require(same, name, as_many, *counts))
        pairs = zip(given, specs, strict=True)
        return [tf.ensure_shape(tf.identity(image), spec.shape) for image, spec in pairs]


def _of_any_shape(tensor: tf.Tensor) -> tf.Tensor:
    """Hides a declared shape, which TensorFlow would trust: it would drop checks of the shape."""
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=None)
