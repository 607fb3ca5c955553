"""Opens ONNX files with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcn_keras.prediction.readers.opened import Opened, Tensor, parsed


def read(path: Path, precision: str | None) -> Opened:
    """Opens an ONNX file on the CPU; it has one precision."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return Opened(
        {one.name: _tensor(one) for one in session.get_inputs()},
        {one.name: _tensor(one) for one in session.get_outputs()},
        lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True)),
        parsed(session.get_modelmeta().custom_metadata_map),
    )


def _tensor(value: Any) -> Tensor:
    sizes = [size if isinstance(size, int) else None for size in value.shape]
    return Tensor(value.type.removeprefix("tensor(").removesuffix(")"), tuple(sizes))
