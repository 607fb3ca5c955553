"""FCN-32s, FCN-16s and FCN-8s (Long, Shelhamer, Darrell, 2015; section 4, Figure 3).

Input: RGB images, 0..255, uint8 or float, `[b, h, w, 3]`, any height and width. Output: float32
logits `[b, h, w, num_classes]`. Layers from fc6 on are named as in the authors' reference
implementation.

There are two geometries. "same" pads the image to multiples of 32, half on each side, and every
convolution is centred. "reference" is that of the authors: 100 pixels of padding, and crops at
fixed offsets from the top left, the last arguments of `fuse` and `crop`.

H and W in the comments are the padded image's size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import keras

from fcn_keras.models.decoder import Decoder, Head
from fcn_keras.models.modality import Modality
from fcn_keras.models.options import checked_scales

# FCN-32s in the reference geometry: kernel of the transposed convolution, offset of the crop.
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
    """Builds FCN-32s: scores at stride 32, upsampled 32 times (section 4.1).

    Args:
        num_classes: Number of classes, at least 2. For several tasks on one backbone, a dict of
            task and number of classes, for example `{"semantic": 33, "geometric": 3}`: each task
            is a head with its own scores and skips, and the model returns a dict of logits (SIFT
            Flow, section 5.3).
        backbone: A key of `fcn_keras.BACKBONES`, or your own `keras.Model` that outputs features
            of strides 8, 16 and 32 (a list, a dict, or a KerasHub backbone with
            `pyramid_outputs`). Your model keeps its own preprocessing and weights.
        weights: "imagenet" (downloaded by keras.applications), the path of a keras.applications
            weights file with or without top, or None for random weights.
        name: Name of the model; by default for example "fcn32s_vgg16".
        head_width: Channels of fc6 and fc7, by default 4096. VGG16's weights for these layers
            require 4096. Your own backbone gets these layers only if `head_width` is given.
        dropout: Fraction of the outputs of fc6 and fc7 dropped in training, 0 <= dropout < 1.
        learn_upsampling: Train the upsampling kernels, which start bilinear.
        geometry: "same" or "reference".
        inputs: A dict of name and `Modality`; None for one RGB image, `{"image": Modality()}`.
            Several inputs each get their own backbone, their scores are averaged (late fusion,
            section 5.2), and the model takes a dict of images of the same size.
        zoom: Enlarge the image by this factor, and resize the logits back. Strides in image
            pixels are finer by this factor; computing time grows with its square.
        input_shape: Height, width and channels of the image; None for any height or width. With
            `inputs`, height and width apply to all images, and `inputs` sets the channels.

    Returns:
        A `keras.Model`: image `[b, h, w, 3]` -> logits `[b, h, w, num_classes]`, float32; with
        several tasks, a dict of logits by task.

    Raises:
        ModelError: An argument is invalid, or the backbone does not support an option.
        WeightsError: The weights cannot be downloaded, read or loaded.
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

    return net.model(f"fcn32s_{net.backbone}" if name is None else name, num_classes, logits)


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
    """Builds FCN-16s: scores at stride 32 fused with those of pool4 (section 4.2).

    Arguments, return value and errors are those of `FCN32s`, and:
        skip_scales: Fixed factor on pool4 before it is scored.
    """
    strides = (32, 16)
    (scale4,) = checked_scales(skip_scales, 1)
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

    return net.model(f"fcn16s_{net.backbone}" if name is None else name, num_classes, logits)


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
    """Builds FCN-8s: scores at stride 32 fused with those of pool4 and pool3 (section 4.2).

    Arguments, return value and errors are those of `FCN32s`, and:
        skip_scales: Fixed factors on pool4 and pool3 before they are scored; (0.01, 0.0001) in
            the reference's at-once FCN-8s.
    """
    strides = (32, 16, 8)
    scale4, scale3 = checked_scales(skip_scales, 2)
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

    return net.model(f"fcn8s_{net.backbone}" if name is None else name, num_classes, logits)


MODELS: dict[str, Callable[..., keras.Model]] = {"fcn32s": FCN32s, "fcn16s": FCN16s, "fcn8s": FCN8s}
