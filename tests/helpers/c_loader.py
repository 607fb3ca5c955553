"""Runs a SavedModel with TensorFlow's C API, like TensorFlow Serving, without its Python code.

`python tests/helpers/c_loader.py SAVED_MODEL INPUT_OP OUTPUT_OP IN.npy OUT.npy ...` runs a request
for each pair of files. It prints each error as a line of JSON, null if there is none, and writes
the output, which is uint8. Inputs are numbers, or objects of bytes for strings. Operations have
their names in the signature, for example `serving_default_image:0`. As in TensorFlow Serving,
nothing checks the inputs against the signature.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

KINDS = {"float32": 1, "int32": 3, "uint8": 4, "object": 7}  # TF_DataType.
STRING_BYTES = 24  # sizeof(TF_TString).
pointer = ctypes.c_void_p


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def main(saved_model, source, target, *files):
    tf = library()
    status, graph = pointer(tf.TF_NewStatus()), pointer(tf.TF_NewGraph())
    options = pointer(tf.TF_NewSessionOptions())
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = pointer(
        tf.TF_LoadSessionFromSavedModel(
            options, None, str(saved_model).encode(), tags, 1, graph, None, status
        )
    )
    if tf.TF_GetCode(status):
        raise SystemExit(tf.TF_Message(status).decode())

    def find(tensor):
        name, index = tensor.split(":")
        operation = tf.TF_GraphOperationByName(graph, name.encode())
        if not operation:
            raise SystemExit(f"operation {name} is missing")
        return Output(operation, int(index))

    feeds, fetches = (Output * 1)(find(source)), (Output * 1)(find(target))
    for given, out in zip(files[::2], files[1::2], strict=True):
        fed = (pointer * 1)(as_tensor(tf, np.load(given, allow_pickle=True)))
        result = (pointer * 1)()
        tf.TF_SessionRun(session, None, feeds, fed, 1, fetches, result, 1, None, 0, None, status)
        if tf.TF_GetCode(status):
            print(json.dumps(tf.TF_Message(status).decode()), flush=True)
            continue
        np.save(out, as_array(tf, pointer(result[0])))
        print("null", flush=True)
    if "tensorflow" in sys.modules:
        raise SystemExit("TensorFlow's Python package was imported.")


def library():
    """Loads TensorFlow's C++ code."""
    (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
    ctypes.CDLL(str(Path(folder, "libtensorflow_framework.so.2")), ctypes.RTLD_GLOBAL)
    tf = ctypes.CDLL(str(Path(folder, "libtensorflow_cc.so.2")), ctypes.RTLD_GLOBAL)
    for name in (
        "NewStatus NewGraph NewSessionOptions LoadSessionFromSavedModel AllocateTensor TensorData "
        "GraphOperationByName"
    ).split():
        getattr(tf, f"TF_{name}").restype = pointer
    tf.TF_Message.restype = ctypes.c_char_p
    tf.TF_Dim.restype = ctypes.c_int64
    return tf


def as_tensor(tf, array):
    array = np.array(array, order="C", ndmin=0)
    kind = KINDS[array.dtype.name]
    length = array.nbytes if array.dtype != object else array.size * STRING_BYTES
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = pointer(tf.TF_AllocateTensor(kind, shape, array.ndim, ctypes.c_size_t(length)))
    data = tf.TF_TensorData(tensor)
    if array.dtype != object:
        ctypes.memmove(data, array.ctypes.data, length)
        return tensor
    for number, text in enumerate(array.flat):
        place = pointer(data + number * STRING_BYTES)
        tf.TF_StringInit(place)
        tf.TF_StringCopy(place, text, ctypes.c_size_t(len(text)))
    return tensor


def as_array(tf, tensor):
    shape = [tf.TF_Dim(tensor, axis) for axis in range(tf.TF_NumDims(tensor))]
    kind = tf.TF_TensorType(tensor)
    if kind == KINDS["object"]:  # Only the shape is needed.
        return np.zeros(shape, "uint8")
    if kind != KINDS["uint8"]:
        raise SystemExit(f"the output must be uint8, found type {kind}")
    data = ctypes.string_at(tf.TF_TensorData(tensor), int(np.prod(shape)))
    return np.frombuffer(data, "uint8").reshape(shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
