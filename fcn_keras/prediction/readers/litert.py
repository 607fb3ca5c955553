"""Opens LiteRT files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fcn_keras.prediction.readers.opened import Opened, Tensor, one_at_a_time

LABELS = ".labels.json"  # The ending of the file beside it: LiteRT files hold no texts.


def read(path: Path, precision: str | None) -> Opened:
    """Opens a LiteRT file on all cores; it has one precision."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # It logs a line to stderr; here and not at the first image.
    run = interpreter.get_signature_runner("serving_default")
    return Opened(
        {name: _tensor(one) for name, one in run.get_input_details().items()},
        {name: _tensor(one) for name, one in run.get_output_details().items()},
        one_at_a_time(lambda images: run(image=images)),
        _labels(path.with_suffix(LABELS)),
    )


def _tensor(details: Mapping[str, Any]) -> Tensor:
    sizes = [None if size < 0 else int(size) for size in details["shape_signature"]]
    return Tensor(np.dtype(details["dtype"]).name, tuple(sizes))


def _labels(path: Path) -> dict[str, Any]:
    """Reads what the export wrote beside the file; nothing if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
