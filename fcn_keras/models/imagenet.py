"""A classifier with pretrained weights, downloaded or read from a file, for a net to take them."""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from fcn_keras.errors import WeightsError
from fcn_keras.text import first_line


def load_imagenet_weights(
    trunk: keras.Model,
    build: Callable[..., keras.Model],
    weights: str,
    *,
    include_top: bool = False,
    hashes: tuple[str, str] | None = None,
) -> keras.Model:
    """Gives a trunk the weights of the classifier whose beginning it is.

    Args:
        trunk: a model with the layers of the classifier up to some point, in the same order;
            kernels may have another shape of the same size. Input channels that the classifier
            does not know get the mean of its filters.
        build: the classifier's constructor, with keras.applications' arguments.
        weights: "imagenet" or the path of a weights file of the classifier, with or without top.
        include_top: whether to download the file with top.
        hashes: of the files with and without top, for who must download them elsewhere.

    Returns:
        The classifier, with top if the file has one.

    Raises:
        WeightsError: the weights cannot be had or read.
    """
    if str(weights) == "imagenet":
        classifier = _downloaded(build, include_top, hashes)
    else:
        classifier = _from_file(build, Path(weights), trunk)
    # The trunk's weights come first; those of the top are left over.
    pairs = zip(trunk.weights, classifier.get_weights(), strict=False)
    trunk.set_weights([_fitted(value, tuple(variable.shape)) for variable, value in pairs])
    return classifier


@contextmanager
def naming_the_file(path: str | Path, owner: str) -> Iterator[None]:
    """Turns what Keras raises when it reads weights into errors that name file, rule and fix.

    Args:
        path: of the file that is read inside the `with` block.
        owner: whose weights the file should have.
    """
    if Path(path).suffix == ".keras":
        raise WeightsError(
            f"weights={str(path)!r}: a whole model, not the weights of {owner}. To start from a "
            "trained net use --init-from."
        )
    if not Path(path).is_file():
        raise WeightsError(
            f"weights={str(path)!r}: no such file. Give 'imagenet', None (command line: none) or "
            f"the path of a file with the weights of {owner} (.h5 or .weights.h5)."
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns where it leaves layers at random.
            warnings.simplefilter("error", UserWarning)
            yield
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"{path}: corrupt, or not an HDF5 file ({error}). Download it again; a file with the "
            f"weights of {owner} ends in .h5 or .weights.h5."
        ) from None
    except (ValueError, KeyError, UserWarning) as error:
        raise WeightsError(f"{path}: not the weights of {owner} ({first_line(error)}).") from None


def _fitted(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A kernel in another shape of its size, or `[h, w, in, out]` for other input channels."""
    if value.size == math.prod(shape):
        return value.reshape(shape)
    channels, known = shape[2], value.shape[2]
    known = known if channels > known else 0
    mean = np.repeat(value.mean(axis=2, keepdims=True), channels - known, axis=2)
    return np.concatenate([value[:, :, :known], mean], axis=2)


def _downloaded(
    build: Callable[..., keras.Model], include_top: bool, hashes: tuple[str, str] | None
) -> keras.Model:
    try:
        # MobileNetV2 warns unless it is told the size that its weights were trained on.
        return build(weights="imagenet", include_top=include_top, input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a bare Exception when it cannot reach the network.
        if "URL fetch failure" not in str(error):
            raise
        check = f" (hash {hashes[not include_top]})" if hashes else ""
        raise WeightsError(
            f"weights='imagenet': cannot download the weights of {_owner(build)} ({error}). "
            f"Download that file{check} where there is a network and give its path: weights=PATH "
            "(command line: --weights PATH); or start untrained: weights=None (--weights none)."
        ) from None


def _from_file(build: Callable[..., keras.Model], path: Path, trunk: keras.Model) -> keras.Model:
    with naming_the_file(path, _owner(build)):
        classes = _classes_in(path, trunk)
        return build(weights=str(path), include_top=classes is not None, classes=classes or 1000)


def _classes_in(path: Path, trunk: keras.Model) -> int | None:
    """Width of the file's last Dense layer; None for a file without top. Both HDF5 layouts."""
    shapes: list[tuple[int, ...]] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    kernels = Counter(shape for shape in shapes if len(shape) == 2)
    kernels -= Counter(tuple(w.shape) for w in trunk.weights if len(w.shape) == 2)
    # Of VGG16's 25088 x 4096, 4096 x 4096 and 4096 x classes the smallest is the last.
    return min(kernels, key=lambda shape: shape[0] * shape[1])[1] if kernels else None


def _owner(build: Callable[..., keras.Model]) -> str:
    package = "keras.applications" if build.__module__.startswith("keras.") else "fcn_keras"
    return f"{package}' {build.__name__}"
