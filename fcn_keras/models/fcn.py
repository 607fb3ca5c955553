"""FCN-32s, FCN-16s and FCN-8s (Long, Shelhamer, Darrell, 2015; section 4, Figure 3).

Image in: RGB, 0..255, uint8 or float, `[b, h, w, 3]`, any height and width. Logits out: float32
`[b, h, w, num_classes]`. The layers of the top are named as in the authors' reference
implementation.

Two geometries. "same": the image is padded to multiples of 32, half on each side, and every
convolution is centred. "reference": the authors' own, with 100 pixels of padding, and crops at
fixed offsets from the top left, which `fuse` and `crop` take last.

H and W in the comments are the padded image's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import keras

from fcn_keras.errors import ModelError
from fcn_keras.models.decoder import Decoder, Head, Modality

# Kernel of FCN-32s's transposed convolution and offset of its crop, in the reference's geometry.
REFERENCE_32S = {"vgg16": (64, 19), "alexnet": (63, 18)}


def FCN32s(
    num_classes: int | dict[str, int],
    *,
    backbone: str | keras.Model = "vgg16",
    weights: str | None = "imagenet",
    name: str | None = None,
    head_width: int | None = None,
    dropout: float = 0.5,
    learn_upsampling: bool = False,
    geometry: Literal["same", "reference"] = "same",
    inputs: dict[str, Modality] | None = None,
    zoom: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """FCN-32s: scores at stride 32, upsampled 32 times (section 4.1).

    Args:
        num_classes: number of classes, at least 2: one channel of logits each. For several tasks on
            one trunk a dict of them by name, such as `{"semantic": 33, "geometric": 3}`: each task
            is a head with scores and skips of its own, and the model gives a dict of logits (SIFT
            Flow, section 5.3).
        backbone: a key of `fcn_keras.BACKBONES`, or a `keras.Model` of your own whose outputs are
            features of strides 8, 16 and 32 (a list, a dict, or a KerasHub backbone with
            `pyramid_outputs`). It is used as it is, with its own preprocessing and weights.
        weights: "imagenet" (keras.applications' download), the path of a keras.applications
            weights file with or without top, or None for random weights.
        name: of the model; by default such as "fcn32s_vgg16".
        head_width: channels of fc6 and fc7, 4096 by default. Only 4096 can take VGG16's own weights
            for them. A backbone of your own gets these layers only if their width is given.
        dropout: share of fc6's and fc7's outputs dropped in training, 0 <= dropout < 1.
        learn_upsampling: train the upsampling kernels too; they start bilinear either way.
        geometry: "same" or "reference".
        inputs: a dict of name and `Modality`. None is one RGB image, `{"image": Modality()}`. With
            several, each has a backbone of its own, the scores are their mean (late fusion,
            section 5.2), and the model takes a dict of images of one size.
        zoom: the net looks at the image enlarged by this factor, and the logits are brought back
            to its size; strides are finer by it, in the image's pixels, and time grows by its
            square.
        input_shape: height, width and channels of the image; None where they are open. With
            `inputs` height and width are those of all images, and each has its own channels.

    Returns:
        A `keras.Model`: image `[b, h, w, 3]` -> logits `[b, h, w, num_classes]`, float32; a dict
        of them by the names of the tasks, if there are several.

    Raises:
        ModelError: an argument is out of its range, or the backbone lacks what it asks for.
        WeightsError: the weights cannot be had, read or loaded.
    """
    net = Decoder(
        (32,),
        backbone,
        weights,
        head_width,
        dropout,
        learn_upsampling,
        geometry,
        inputs,
        zoom,
        input_shape,
    )
    kernel, offset = REFERENCE_32S.get(backbone, (None, None))

    def logits(head: Head) -> keras.KerasTensor:
        x = head.score(32, "score_fr")  # [b, H/32, W/32, classes]
        x = head.upsample(x, 32, "upscore", kernel)  # [b, H, W, classes]
        return head.crop(x, offset)  # [b, h, w, classes]

    return net.model(name or f"fcn32s_{net.backbone}", num_classes, logits)


def FCN16s(
    num_classes: int | dict[str, int],
    *,
    backbone: str | keras.Model = "vgg16",
    weights: str | None = "imagenet",
    name: str | None = None,
    head_width: int | None = None,
    dropout: float = 0.5,
    skip_scales: tuple[float] = (1.0,),
    learn_upsampling: bool = False,
    geometry: Literal["same", "reference"] = "same",
    inputs: dict[str, Modality] | None = None,
    zoom: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """FCN-16s: scores at stride 32 fused with those of pool4 (section 4.2).

    Args, returns and raises as in `FCN32s`, and:
        skip_scales: fixed factor on pool4 before it is scored.
    """
    strides = (32, 16)
    (scale4,) = _checked_scales(skip_scales, 1)
    net = Decoder(
        strides,
        backbone,
        weights,
        head_width,
        dropout,
        learn_upsampling,
        geometry,
        inputs,
        zoom,
        input_shape,
    )

    def logits(head: Head) -> keras.KerasTensor:
        x = head.score(32, "score_fr")  # [b, H/32, W/32, classes]
        x = head.upsample(x, 2, "upscore2")
        x = head.fuse(x, head.score(16, "score_pool4", scale4), "pool4", 5)
        x = head.upsample(x, 16, "upscore16")
        return head.crop(x, 27)  # [b, h, w, classes]

    return net.model(name or f"fcn16s_{net.backbone}", num_classes, logits)


def FCN8s(
    num_classes: int | dict[str, int],
    *,
    backbone: str | keras.Model = "vgg16",
    weights: str | None = "imagenet",
    name: str | None = None,
    head_width: int | None = None,
    dropout: float = 0.5,
    skip_scales: tuple[float, float] = (1.0, 1.0),
    learn_upsampling: bool = False,
    geometry: Literal["same", "reference"] = "same",
    inputs: dict[str, Modality] | None = None,
    zoom: float = 1.0,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """FCN-8s: scores at stride 32 fused with those of pool4 and of pool3 (section 4.2).

    Args, returns and raises as in `FCN32s`, and:
        skip_scales: fixed factors on pool4 and pool3 before they are scored; (0.01, 0.0001) in
            the reference's at-once FCN-8s.
    """
    strides = (32, 16, 8)
    scale4, scale3 = _checked_scales(skip_scales, 2)
    net = Decoder(
        strides,
        backbone,
        weights,
        head_width,
        dropout,
        learn_upsampling,
        geometry,
        inputs,
        zoom,
        input_shape,
    )

    def logits(head: Head) -> keras.KerasTensor:
        x = head.score(32, "score_fr")  # [b, H/32, W/32, classes]
        x = head.upsample(x, 2, "upscore2")
        x = head.fuse(x, head.score(16, "score_pool4", scale4), "pool4", 5)
        x = head.upsample(x, 2, "upscore_pool4")
        x = head.fuse(x, head.score(8, "score_pool3", scale3), "pool3", 9)
        x = head.upsample(x, 8, "upscore8")
        return head.crop(x, 31)  # [b, h, w, classes]

    return net.model(name or f"fcn8s_{net.backbone}", num_classes, logits)


MODELS: dict[str, Callable[..., keras.Model]] = {"fcn32s": FCN32s, "fcn16s": FCN16s, "fcn8s": FCN8s}


def _checked_scales(skip_scales: Sequence[float], count: int) -> tuple[float, ...]:
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
