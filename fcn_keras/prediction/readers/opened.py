"""What a reader returns: an engine with a file's model, and what the file says of itself."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Runner = Callable[[np.ndarray], dict[str, np.ndarray]]  # Images -> outputs by name.


class Tensor(NamedTuple):
    """An input or output: its NumPy type, and its sizes, None where any size will do."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Formats it as in messages: "uint8 [?, ?, ?, 3]"."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{sizes}]"


class Opened(NamedTuple):
    """A file that an engine has opened.

    Attributes:
        inputs: The model's inputs by name.
        outputs: The model's outputs by name.
        run: A function from images uint8 `[n, h, w, 3]` to the outputs.
        stored: What the export stored beside the model, by the keys of `facts`.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    run: Runner
    stored: dict[str, Any]


def one_at_a_time(run: Runner) -> Runner:
    """Makes calls from several threads wait for each other: an engine's buffers serve one call."""
    lock = threading.Lock()

    def locked(images: np.ndarray) -> dict[str, np.ndarray]:
        with lock:
            return run(images)

    return locked


def parsed(texts: Mapping[str, str]) -> dict[str, Any]:
    """Parses JSON texts; leaves out what is no JSON, such as other programs' entries."""
    found = {}
    for key, text in texts.items():
        with contextlib.suppress(ValueError, RecursionError):
            found[key] = json.loads(text)
    return found
