"""Loads pretrained classifier weights, downloaded or from a file, into a model."""

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
    """Copies classifier weights to a trunk, which consists of the classifier's first layers.

    Args:
        trunk: A model with the classifier's layers up to some point, in the same order. Kernels
            may be reshaped. Filters of additional input channels become the mean of the
            classifier's filters.
        build: The classifier's constructor, with the arguments of keras.applications.
        weights: "imagenet" or the path of a weights file of the classifier, with or without top.
        include_top: Download the file with top.
        hashes: File hashes with and without top, for users who download the weights manually.

    Returns:
        The classifier, with top if the file has one.

    Raises:
        WeightsError: The weights cannot be downloaded or read.
    """
    if str(weights) == "imagenet":
        classifier = _downloaded(build, include_top, hashes)
    else:
        classifier = _from_file(build, Path(weights), trunk)
    # The trunk's weights come first; those of the top are not used.
    pairs = zip(trunk.weights, classifier.get_weights(), strict=False)
    trunk.set_weights([_fitted(value, tuple(variable.shape)) for variable, value in pairs])
    return classifier


@contextmanager
def readable_weights_errors(path: str | Path, owner: str) -> Iterator[None]:
    """Converts Keras' errors while reading weights to a `WeightsError` that names file and fix.

    Args:
        path: File that is read inside the `with` block.
        owner: Model whose weights the file should contain.

    Raises:
        WeightsError: The file is missing, corrupt or contains other weights.
    """
    if Path(path).suffix == ".keras":
        raise WeightsError(
            f"weights={str(path)!r}: must be a file with the weights of {owner}, found a model "
            "file. To start from a trained model, use --init-from."
        )
    if not Path(path).is_file():
        raise WeightsError(
            f"weights={str(path)!r}: no such file. Use 'imagenet', None (command line: none) or "
            f"the path of a file with the weights of {owner} (.h5 or .weights.h5)."
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns if it leaves layers uninitialised.
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
        raise WeightsError(
            f"{path}: not the weights of {owner} ({first_line(error)}). Choose another file."
        ) from None


def _fitted(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Reshapes a kernel, or adapts its input channels (`[h, w, in, out]`)."""
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
        # Without the training size, MobileNetV2 warns.
        return build(weights="imagenet", include_top=include_top, input_shape=(224, 224, 3))
    except Exception as error:  # Keras raises a bare Exception when it cannot reach the network.
        if "URL fetch failure" not in str(error):
            raise
        check = f" (hash {hashes[not include_top]})" if hashes else ""
        raise WeightsError(
            f"weights='imagenet': cannot download the weights of {_owner(build)} ({error}). "
            f"Download the file{check} on a machine with internet access and pass its path: "
            "weights=PATH (command line: --weights PATH), or start from random weights: "
            "weights=None (--weights none)."
        ) from None


def _from_file(build: Callable[..., keras.Model], path: Path, trunk: keras.Model) -> keras.Model:
    with readable_weights_errors(path, _owner(build)):
        classes = _classes_in(path, trunk)
        return build(weights=str(path), include_top=classes is not None, classes=classes or 1000)


def _classes_in(path: Path, trunk: keras.Model) -> int | None:
    """Returns the width of the file's last Dense layer, in either HDF5 layout; None without top."""
    shapes: list[tuple[int, ...]] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    kernels = Counter(shape for shape in shapes if len(shape) == 2)
    kernels -= Counter(tuple(w.shape) for w in trunk.weights if len(w.shape) == 2)
    # The last Dense layer is the smallest: VGG16 has 25088 x 4096, 4096 x 4096, 4096 x classes.
    return min(kernels, key=lambda shape: shape[0] * shape[1])[1] if kernels else None


def _owner(build: Callable[..., keras.Model]) -> str:
    package = "keras.applications" if build.__module__.startswith("keras.") else "fcn_keras"
    return f"{package}' {build.__name__}"
