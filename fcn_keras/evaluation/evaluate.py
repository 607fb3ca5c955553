"""Evaluates a model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.batches import (
    batches_of,
    check_classes_known,
    check_data,
    check_images,
    checked_batches,
    skips_absent,
)
from fcn_keras.evaluation.results import Evaluation, names_of
from fcn_keras.metrics import count_pixels
from fcn_keras.models.saving import Loaded
from fcn_keras.prediction import tiles
from fcn_keras.prediction.exported_model import ExportedModel
from fcn_keras.prediction.net import Images, Net, net_of
from fcn_keras.prediction.predict_image import masks_of, predict_checked
from pipelines.split import Split


def evaluate(
    model: keras.Model | Loaded | ExportedModel,
    data: Split | Mapping[str, Split] | tf.data.Dataset,
    *,
    class_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 1,
    tile: int | tuple[int, int] | Literal["auto"] | None = "auto",
    tta: bool = False,
    skip_absent: bool | Mapping[str, bool] | None = None,
    progress: Callable[[], object] | None = None,
) -> Evaluation | Any:  # A dict only of models with several heads.
    """Measures a model on a data set.

    Warns if pixels are not 0 to 255, for example because the images were divided by 255.

    Args:
        model: A model, images `[b, h, w, 3]` -> logits `[b, h, w, classes]`, or the result of
            `load`, also of an exported file. With several images or heads, it takes and returns
            dicts by name.
        data: A split from `pipelines.read`, or batches of images, 0..255, uint8 or float, and masks
            of class ids `[b, h, w]`; 255 is ignored. For several images or heads, a dict of splits
            of the same examples by their names, or the result of `pipelines.joint_dataset`.
        class_names: A name for each class; a dict for several heads. By default the names of the
            split or the loaded model.
        batch_size: Images per batch, if `data` is a split; only images of equal size share a batch.
        tile: The largest edge of a tile in pixels, or (rows, columns); None measures whole images.
            "auto": images above 8 megapixels in tiles of 1536 if the model's geometry is known.
            Tiles bound the memory, and the confusion matrix is the whole image's.
        tta: Test-time augmentation, as in `predict`.
        skip_absent: Leave classes that the masks lack out of the mean IU, even if the model
            predicts them; a dict for several heads. By default as the split says: SIFT Flow's
            protocol does, others count them as 0.
        progress: Called without arguments after each batch.

    Returns:
        An `Evaluation`; a dict of them, by head, if the model has several heads.

    Raises:
        ConfigError: `model` is not a functional segmentation model, `data` is a name instead of a
            split, or images, masks or splits do not fit the model's images, heads or classes; the
            tiles are too small for the model; or `tta` needs logits that an exported file does not
            return.
        ModelError: `tile` is a size, and the model's geometry is unknown.
    """
    net = net_of(model)
    check_data(data)
    for what, tensors in (("images", net.input), ("outputs", net.output)):
        if isinstance(tensors, list | tuple):
            raise ConfigError(
                f"model: {net.name} has a list of {len(tensors)} {what}. Name them with dicts: "
                "keras.Model({'left': ..., 'right': ...}, {'semantic': ..., 'geometric': ...})."
            )
    check_images(net)
    check_classes_known(net)
    tiles.check(net, tile)
    if skip_absent is None:
        skip_absent = skips_absent(net, data)
    if isinstance(data, Split | Mapping):
        data, names = batches_of(net, data, batch_size)
        class_names = class_names or names
    if isinstance(model, Loaded):
        class_names = class_names or model.classes
    matrices = _confusion(net, data, tile, tta, progress)
    if isinstance(matrices, dict):
        by_head = class_names if isinstance(class_names, Mapping) else {}
        rules = skip_absent if isinstance(skip_absent, Mapping) else {}
        rule = skip_absent is True
        return {
            head: _result(found, by_head.get(head), bool(rules.get(head, rule)))
            for head, found in matrices.items()
        }
    if isinstance(class_names, Mapping):
        raise ConfigError("class_names: the model has one head. Give a list of names, not a dict.")
    return _result(matrices, class_names, bool(skip_absent))


def _confusion(
    net: Net,
    data: Iterable[Any],
    tile: int | tuple[int, int] | Literal["auto"] | None,
    tta: bool,
    progress: Callable[[], object] | None,
) -> np.ndarray | dict[str, np.ndarray]:
    """Computes the confusion matrix `[classes, classes]`; a dict for several heads.

    It is counted in NumPy: a variable created in a strategy's scope would be divided among the
    replicas, and rounded.
    """
    counts = keras.tree.map_structure(lambda x: np.zeros(2 * x.shape[-1:], "int64"), net.output)
    for images, masks in checked_batches(net, data):
        counts = keras.tree.map_structure(
            lambda n, truth, mask: n + count_pixels(truth, mask, len(n)),
            counts,
            masks,
            _predicted(net, images, tile, tta),
        )
        if progress:
            progress()
    return counts


def _predicted(
    net: Net,
    images: Images,
    tile: int | tuple[int, int] | Literal["auto"] | None,
    tta: bool,
) -> np.ndarray | dict[str, np.ndarray]:
    """Returns the class ids `[b, h, w]` of a batch; a dict of them for several heads."""
    if not isinstance(images, dict) and tiles.edge_for(net, images.shape[1:3], tile) is not None:
        return np.stack([predict_checked(net, one.numpy(), tile, None, tta) for one in images])
    return masks_of(net, images, tta)


def _result(
    confusion: np.ndarray, class_names: Sequence[str] | None, skip_absent: bool
) -> Evaluation:
    if class_names is not None and len(class_names) != len(confusion):
        raise ConfigError(
            f"class_names: must have a name for each of the {len(confusion)} classes, found "
            f"{len(class_names)}."
        )
    return Evaluation(confusion, names_of(len(confusion), class_names), skip_absent)
