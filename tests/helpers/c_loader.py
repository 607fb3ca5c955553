"""Runs a SavedModel with TensorFlow's C API, like TensorFlow Serving, without its Python code.

`python tests/helpers/c_loader.py SAVED_MODEL INPUT_OP OUTPUT_OP IN.npy OUT.npy`: uint8 in, uint8
out. Operations are named as in the signature, for example `serving_default_image:0`.
"""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np

UINT8 = 4  # TF_DataType.


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def main(saved_model, source, target, images, masks):
    (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
    ctypes.CDLL(str(Path(folder, "libtensorflow_framework.so.2")), ctypes.RTLD_GLOBAL)
    tf = ctypes.CDLL(str(Path(folder, "libtensorflow_cc.so.2")), ctypes.RTLD_GLOBAL)
    for name in (
        "NewStatus NewGraph NewSessionOptions LoadSessionFromSavedModel AllocateTensor TensorData "
        "GraphOperationByName"
    ).split():
        getattr(tf, f"TF_{name}").restype = ctypes.c_void_p
    tf.TF_Message.restype = ctypes.c_char_p
    tf.TF_Dim.restype = ctypes.c_int64
    pointer = ctypes.c_void_p
    status, graph = pointer(tf.TF_NewStatus()), pointer(tf.TF_NewGraph())

    def check():
        if tf.TF_GetCode(status):
            raise SystemExit(tf.TF_Message(status).decode())

    options = pointer(tf.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = pointer(
        tf.TF_LoadSessionFromSavedModel(
            options, None, str(saved_model).encode(), tags, 1, graph, None, status
        )
    )
    check()

    def find(tensor):
        name, index = tensor.split(":")
        operation = tf.TF_GraphOperationByName(graph, name.encode())
        if not operation:
            raise SystemExit(f"operation {name} is missing")
        return Output(operation, int(index))

    pixels = np.ascontiguousarray(np.load(images))
    shape = (ctypes.c_int64 * pixels.ndim)(*pixels.shape)
    tensor = pointer(
        tf.TF_AllocateTensor(UINT8, shape, pixels.ndim, ctypes.c_size_t(pixels.nbytes))
    )
    ctypes.memmove(tf.TF_TensorData(tensor), pixels.ctypes.data, pixels.nbytes)
    result = (pointer * 1)()
    feeds, fetches = (Output * 1)(find(source)), (Output * 1)(find(target))
    tf.TF_SessionRun(
        session, None, feeds, (pointer * 1)(tensor), 1, fetches, result, 1, None, 0, None, status
    )
    check()
    result = pointer(result[0])
    if tf.TF_TensorType(result) != UINT8:
        raise SystemExit(f"the output must be uint8, found type {tf.TF_TensorType(result)}")
    shape = [tf.TF_Dim(result, axis) for axis in range(tf.TF_NumDims(result))]
    data = ctypes.string_at(tf.TF_TensorData(result), int(np.prod(shape)))
    np.save(masks, np.frombuffer(data, "uint8").reshape(shape))
    if "tensorflow" in sys.modules:
        raise SystemExit("TensorFlow's Python package was imported.")


if __name__ == "__main__":
    main(*sys.argv[1:])
