"""FCN-32s, FCN-16s and FCN-8s (Long, Shelhamer, Darrell, 2015; section 4, Figure 3).

Image in: RGB, 0..255, uint8 or float, `[b, h, w, 3]`, any height and width. Logits out: float32
`[b, h, w, num_classes]`. H and W below are the sizes padded to multiples of 32. The layers of the
top are named as in the authors' reference implementation.
"""

import keras
from keras import layers

from fcn_keras.backbones import BACKBONES
from fcn_keras.errors import ModelError
from fcn_keras.layers import BilinearUpsampling, CropLike


def FCN32s(
    num_classes,
    *,
    backbone="vgg16",
    weights="imagenet",
    head_width=4096,
    dropout=0.5,
    learn_upsampling=False,
):
    """FCN-32s: scores at stride 32, upsampled 32 times (section 4.1).

    Args:
        num_classes: number of classes, at least 2: one channel of logits each.
        backbone: a key of `fcn_keras.BACKBONES`.
        weights: "imagenet" (keras.applications' download), the path of a keras.applications
            weights file with or without top, or None for random weights.
        head_width: channels of fc6 and fc7. Only 4096 can take VGG16's own weights for them.
        dropout: share of fc6's and fc7's outputs dropped in training, 0 <= dropout < 1.
        learn_upsampling: train the upsampling kernels too; they start bilinear either way.

    Returns:
        A `keras.Model`: image `[b, h, w, 3]` -> logits `[b, h, w, num_classes]`, float32.

    Raises:
        ModelError: an argument is out of its range.
        WeightsError: the weights cannot be had, read or loaded.
    """
    image, taps = _features(num_classes, backbone, weights, head_width, dropout)
    x = _score(taps[32], num_classes, "score_fr")  # [b, H/32, W/32, classes]
    x = BilinearUpsampling(32, learn_upsampling, name="upscore")(x)
    return keras.Model(image, CropLike(name="logits")(x, image), name=f"fcn32s_{backbone}")


def FCN16s(
    num_classes,
    *,
    backbone="vgg16",
    weights="imagenet",
    head_width=4096,
    dropout=0.5,
    skip_scales=(1.0,),
    learn_upsampling=False,
):
    """FCN-16s: scores at stride 32 fused with those of pool4 (section 4.2).

    Args, returns and raises as in `FCN32s`, and:
        skip_scales: fixed factor on pool4 before it is scored.
    """
    image, taps = _features(num_classes, backbone, weights, head_width, dropout)
    (scale4,) = _checked_scales(skip_scales, 1)
    x = _score(taps[32], num_classes, "score_fr")  # [b, H/32, W/32, classes]
    x = BilinearUpsampling(2, learn_upsampling, name="upscore2")(x)
    x = _fuse(x, _score(taps[16], num_classes, "score_pool4", scale4), "fuse_pool4")
    x = BilinearUpsampling(16, learn_upsampling, name="upscore16")(x)
    return keras.Model(image, CropLike(name="logits")(x, image), name=f"fcn16s_{backbone}")


def FCN8s(
    num_classes,
    *,
    backbone="vgg16",
    weights="imagenet",
    head_width=4096,
    dropout=0.5,
    skip_scales=(1.0, 1.0),
    learn_upsampling=False,
):
    """FCN-8s: scores at stride 32 fused with those of pool4 and of pool3 (section 4.2).

    Args, returns and raises as in `FCN32s`, and:
        skip_scales: fixed factors on pool4 and pool3 before they are scored; (0.01, 0.0001) in
            the reference's at-once FCN-8s.
    """
    image, taps = _features(num_classes, backbone, weights, head_width, dropout)
    scale4, scale3 = _checked_scales(skip_scales, 2)
    x = _score(taps[32], num_classes, "score_fr")  # [b, H/32, W/32, classes]
    x = BilinearUpsampling(2, learn_upsampling, name="upscore2")(x)
    x = _fuse(x, _score(taps[16], num_classes, "score_pool4", scale4), "fuse_pool4")
    x = BilinearUpsampling(2, learn_upsampling, name="upscore_pool4")(x)
    x = _fuse(x, _score(taps[8], num_classes, "score_pool3", scale3), "fuse_pool3")
    x = BilinearUpsampling(8, learn_upsampling, name="upscore8")(x)
    return keras.Model(image, CropLike(name="logits")(x, image), name=f"fcn8s_{backbone}")


MODELS = {"fcn32s": FCN32s, "fcn16s": FCN16s, "fcn8s": FCN8s}


def _features(num_classes, backbone, weights, head_width, dropout):
    """The input and the backbone's feature maps by stride, after checking the arguments."""
    if not isinstance(num_classes, int) or num_classes < 2:
        raise ModelError(
            f"num_classes={num_classes!r}: must be an integer of at least 2. Two classes "
            "(background and object) take two logits."
        )
    if backbone not in BACKBONES:
        raise ModelError(f"backbone={backbone!r}: unknown; choose one of {', '.join(BACKBONES)}.")
    if not isinstance(head_width, int) or head_width < 1:
        raise ModelError(f"head_width={head_width!r}: must be an integer of at least 1.")
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout={dropout!r}: must be at least 0 and below 1.")
    image = keras.Input((None, None, 3), name="image")
    taps = BACKBONES[backbone](image, weights=weights, head_width=head_width, dropout=dropout)
    return image, taps


def _score(x, num_classes, name, scale=1.0):
    """1 x 1 convolution to class scores; starts at zero, float32 under any precision."""
    if scale != 1:
        x = layers.Rescaling(scale, name=name.replace("score", "scale"))(x)
    return layers.Conv2D(num_classes, 1, kernel_initializer="zeros", dtype="float32", name=name)(x)


def _fuse(coarse, fine, name):
    return layers.Add(dtype="float32", name=name)([coarse, fine])


def _checked_scales(skip_scales, count):
    try:
        scales = tuple(float(scale) for scale in skip_scales)
    except (TypeError, ValueError):
        scales = ()
    if len(scales) != count:
        raise ModelError(
            f"skip_scales={skip_scales!r}: must be {count} number{'s' * (count > 1)}, "
            "for pool4" + (" and pool3." if count == 2 else ".")
        )
    return scales
