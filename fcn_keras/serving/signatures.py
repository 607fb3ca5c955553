"""What an exported model is asked: its signatures in a SavedModel, around one function of logits.

serving_default  image uint8 [n, h, w, 3], RGB        -> mask uint8 [n, h, w]
encoded          image_bytes string [n], JPEG or PNG  -> mask_bytes string [n], PNG
logits           image                                -> logits float32 [n, h, w, classes]
confidence       image                                -> mask, confidence uint8 [n, h, w]

Masks are uint16 above 255 classes. A model of several streams takes each by its name; of one of
several heads each output has its name behind it, as in `mask_HEAD`. `encoded` is for one RGB image
and one head.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import tensorflow as tf

from fcn_keras.prediction.signature import class_ids, input_signature
from fcn_keras.serving.encoded import decode
from fcn_keras.serving.messages import ENCODED, IMAGE_BYTES, MASK_BYTES


class Signature(NamedTuple):
    """One of them: a function of named tensors that gives a dict of named tensors."""

    inputs: tuple[tf.TensorSpec, ...]
    function: Callable[..., dict[str, tf.Tensor]]


def signatures(
    model: keras.Model, logits_of: Callable[..., list[tf.Tensor]], max_pixels: int
) -> dict[str, Signature]:
    """The signatures of a model.

    Args:
        model: a functional `keras.Model`, whose inputs and outputs decide what there is.
        logits_of: its logits, as `frozen.freeze` gives them: images -> a flat list.
        max_pixels: of an encoded image.

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
    """What comes behind an output's name: "", or "_HEAD" for each of several heads, flat."""
    if not isinstance(model.output, dict):
        return [""]
    return keras.tree.flatten({head: f"_{head}" for head in model.output})


def _encoded(mask_of: Callable[[tf.Tensor], tf.Tensor], max_pixels: int) -> Signature:
    def mask_bytes(number: tf.Tensor, data: tf.Tensor) -> tf.Tensor:
        name = tf.strings.format(f"{IMAGE_BYTES}[{{}}]", number)
        mask = mask_of(decode(data, name, max_pixels)[None])
        return tf.io.encode_png(mask[0, ..., None])

    def function(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        # One after the other, each at its own size: no image changes another one's mask.
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
    """The probability of the most probable class; 255 is certain."""
    highest = tf.reduce_max(tf.nn.softmax(logits), axis=-1)
    return tf.cast(tf.round(255 * highest), tf.uint8)


def _has_pixels(name: str, image: tf.Tensor) -> tf.Operation:
    line = tf.strings.format(f"{name}: its shape {{}} holds no pixel.", tf.shape(image))
    return tf.debugging.Assert(tf.size(image) > 0, [line])
