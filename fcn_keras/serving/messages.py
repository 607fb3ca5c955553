"""Messages of TensorFlow Serving's PredictionService, without TensorFlow.

The published Python modules for these messages import TensorFlow. This module defines only the
fields that are used, with the field numbers of predict.proto, model.proto, prediction_log.proto,
tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

# The signature for encoded images, its input and its output. REST sends binary data only for
# outputs whose name ends in _bytes.
ENCODED, IMAGE_BYTES, MASK_BYTES = "encoded", "image_bytes", "mask_bytes"
DT_STRING = 7  # In TensorFlow's enum DataType.


def predict_request(model: str, images: Sequence[bytes], version: int | None = None) -> Message:
    """Builds a PredictRequest for the signature `encoded`.

    Args:
        model: The model's name.
        images: The contents of image files.
        version: The model's version; None for the newest.

    Raises:
        ImportError: protobuf is not installed.
    """
    request = message_class("Request")()
    request.model_spec.name, request.model_spec.signature_name = model, ENCODED
    if version is not None:
        request.model_spec.version.value = version
    tensor = request.inputs[IMAGE_BYTES]
    tensor.dtype = DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


@functools.cache
def message_class(name: str) -> type[Message]:
    """Returns the class of one of `MESSAGES`.

    Raises:
        ImportError: protobuf is not installed.
    """
    from google.protobuf import message_factory

    descriptor = _pool().FindMessageTypeByName(f"fcn_keras.{name}")
    return message_factory.GetMessageClass(descriptor)


MESSAGES = {
    "Version": [("value", 1, "INT64")],
    "ModelSpec": [
        ("name", 1, "STRING"),
        ("version", 2, "Version"),
        ("signature_name", 3, "STRING"),
    ],
    "Dim": [("size", 1, "INT64")],
    "Shape": [("dim", 2, "Dim*")],
    "Tensor": [
        ("dtype", 1, "INT32"),
        ("tensor_shape", 2, "Shape"),
        ("string_val", 8, "BYTES*"),
    ],
    "Request": [
        ("model_spec", 1, "ModelSpec"),
        ("inputs", 2, "InputsEntry*"),
        ("output_filter", 3, "STRING*"),
    ],
    "Response": [("outputs", 1, "OutputsEntry*")],
    "PredictLog": [("request", 1, "Request")],
    "Log": [("predict_log", 6, "PredictLog")],
}


@functools.cache
def _pool() -> DescriptorPool:
    """Builds a separate pool, in which the messages cannot clash with the published ones."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="fcn_keras_serving.proto", package="fcn_keras", syntax="proto3"
    )

    def describe(message: DescriptorProto, fields: Sequence[tuple[str, int, str]]) -> None:
        for name, number, kind in fields:
            many, kind = kind.endswith("*"), kind.removesuffix("*")
            field = message.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL
            if hasattr(kinds, f"TYPE_{kind}"):
                field.type = getattr(kinds, f"TYPE_{kind}")
                continue
            field.type = kinds.TYPE_MESSAGE
            field.type_name = f".fcn_keras.{kind}"
            if kind.endswith("Entry"):  # protobuf stores a map as a list of entries.
                field.type_name = f".fcn_keras.{message.name}.{kind}"
                entry = message.nested_type.add(name=kind)
                entry.options.map_entry = True
                describe(entry, [("key", 1, "STRING"), ("value", 2, "Tensor")])

    for name, fields in MESSAGES.items():
        describe(file.message_type.add(name=name), fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
