"""The signatures of an exported SavedModel, all built on one function that computes logits.

serving_default  image uint8 [n, h, w, 3], RGB        -> mask uint8 [n, h, w]
encoded          image_bytes string [n], JPEG or PNG  -> mask_bytes string [n], PNG
logits           image                                -> logits float32 [n, h, w, classes]
confidence       image                                -> mask, confidence uint8 [n, h, w]

Masks are uint16 above 255 classes. A model of several images takes each by its name. With several
heads, the head's name follows each output's name, as in `mask_HEAD`. `encoded` exists only for
models of one RGB image and one head.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import tensorflow as tf

from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.serving.encoded import decode
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
        max_pixels: Upper limit on the pixels of an encoded image.

    Returns:
        A dict of `Signature` by name.
    """
    specs = tuple(keras.tree.flatten(input_signature(model)))
    several, heads = isinstance(model.output, dict), endings(model)

    def of_images(finish: Callable[[list[tf.Tensor]], dict[str, Iterable[tf.Tensor]]]) -> Signature:
        def function(**images: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([_has_pixels(*pair) for pair in images.items()]):
                flat = [tf.identity(images[spec.name]) for spec in specs]
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
        # One image at a time, at its own size, so that no image affects another image's mask.
        numbered = tf.range(tf.size(image_bytes)), image_bytes
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


def _has_pixels(name: str, image: tf.Tensor) -> tf.Operation:
    line = tf.strings.format(f"{name}: its shape {{}} has no pixels.", tf.shape(image))
    return tf.debugging.Assert(tf.size(image) > 0, [line])
