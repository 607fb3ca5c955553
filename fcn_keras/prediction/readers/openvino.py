"""Opens OpenVINO files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcn_keras.prediction.readers.opened import Opened, Tensor, one_at_a_time, parsed


def read(path: Path, precision: str | None) -> Opened:
    """Opens an OpenVINO file on the CPU, to compute in "f32", "bf16" or "f16"."""
    import openvino

    options = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    core = openvino.Core()
    model = core.read_model(path)
    compiled = core.compile_model(model, "CPU", options)
    names = [output.get_any_name() for output in compiled.outputs]
    texts = model.get_rt_info()["fcn_keras"] if model.has_rt_info(["fcn_keras"]) else {}
    return Opened(
        {one.get_any_name(): _tensor(one) for one in compiled.inputs},
        {one.get_any_name(): _tensor(one) for one in compiled.outputs},
        one_at_a_time(lambda images: dict(zip(names, compiled([images]).values(), strict=True))),
        parsed({key: text.astype(str) for key, text in texts.items()}),
    )


def _tensor(port: Any) -> Tensor:
    sizes = [None if size.is_dynamic else size.get_length() for size in port.partial_shape]
    return Tensor(str(port.element_type.to_dtype()), tuple(sizes))
