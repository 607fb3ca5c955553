"""OpenVINO files: an .xml with the graph and a .bin with the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fcn_keras.serving.writers.endpoint import LARGE_WEIGHT, make_endpoint

if TYPE_CHECKING:
    import keras
    import numpy as np
    import openvino


def write(
    model: keras.Model,
    file: Path,
    checked: Path,
    precision: str,
    images: list[np.ndarray],
    labels: dict[str, str],
) -> None:
    """Writes `file`, which returns masks, and `checked`, which returns logits too."""
    import openvino

    endpoint, kernels = make_endpoint(model, with_logits=True, large=LARGE_WEIGHT)
    model = openvino.convert_model(endpoint.get_concrete_function())
    _insert_weights(model, kernels)
    if precision == "int8":
        import nncf

        data = nncf.Dataset([image[None] for image in images])
        model = nncf.quantize(model, data, subset_size=len(images))
    for key, value in labels.items():
        model.set_rt_info(value, ["fcn_keras", key])
    half = precision == "float16"
    openvino.save_model(model, checked, compress_to_fp16=half)
    for result in model.get_results():
        if "mask" not in result.input_value(0).get_names():
            model.remove_result(result)
    openvino.save_model(model, file, compress_to_fp16=half)


def _insert_weights(model: openvino.Model, kernels: dict[str, np.ndarray]) -> None:
    """Turns inputs into constants."""
    from openvino import opset13, passes

    for parameter in model.get_parameters():
        names = parameter.output(0).get_names() & kernels.keys()
        if names:
            kernel = opset13.constant(kernels[names.pop()])
            parameter.output(0).replace(kernel.output(0))
            model.remove_parameter(parameter)
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)
