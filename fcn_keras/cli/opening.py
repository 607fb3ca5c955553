"""Opens the models of the commands, without the lines that engines print."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fcn_keras.prediction.segmenter import Segmenter


def quietly(load: "Callable[[Path], Segmenter]", path: Path) -> "Segmenter":
    """Calls `load` or `load_single` of `prediction.segmenter`."""
    from fcn_keras.prediction.engines import is_engine_file, quiet

    with quiet() if is_engine_file(path) else contextlib.nullcontext():
        return load(path)
