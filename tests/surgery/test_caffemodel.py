"""The tests write files with the protobuf runtime, with caffe.proto's field numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fcn_keras.errors import WeightsError
from fcn_keras.surgery.caffe import read_caffemodel


def finite(shape):
    return hnp.arrays("float32", shape, elements=st.floats(-1e6, 1e6, width=32))


shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)
nets = st.dictionaries(
    st.text(min_size=1), st.lists(shapes.flatmap(finite), min_size=1, max_size=3)
)


@settings(max_examples=150, deadline=None)
@given(
    net=nets.filter(len),
    layout=st.sampled_from(["V1", "V2"]),
    packed=st.booleans(),
    double=st.booleans(),
)
def test_files_written_by_protobuf_are_read(caffe_file, net, layout, packed, double):
    blobs = read_caffemodel(caffe_file(net, layout, packed=packed, double=double))
    assert list(blobs) == list(net)
    for name, arrays in net.items():
        for read, array in zip(blobs[name], arrays, strict=True):
            legacy = (1,) * (4 - array.ndim) + array.shape
            assert read.shape == (legacy if layout == "V1" else array.shape)
            assert read.dtype == "float32"
            np.testing.assert_array_equal(read.ravel(), array.ravel())


def test_real_file_has_the_shapes_of_its_prototxt(shared):
    blobs = read_caffemodel(shared / "data" / "caffe" / "lenet_iter_10000.caffemodel")
    assert {name: [array.shape for array in arrays] for name, arrays in blobs.items()} == {
        "conv1": [(20, 1, 5, 5), (20,)],  # num_output 20, kernel_size 5, one channel in
        "conv2": [(50, 20, 5, 5), (50,)],
        "ip1": [(500, 50 * 4 * 4), (500,)],  # 28 -> 24 -> 12 -> 8 -> 4
        "ip2": [(10, 500), (10,)],
    }


def test_real_file_is_read_like_protobuf(shared, net_parameter):
    path = shared / "data" / "caffe" / "lenet_iter_10000.caffemodel"
    net = net_parameter(True).FromString(path.read_bytes())
    expected = {layer.name: layer.blobs for layer in net.layer if layer.blobs}
    blobs = read_caffemodel(path)
    assert blobs.keys() == expected.keys()
    for name, arrays in blobs.items():
        for array, blob in zip(arrays, expected[name], strict=True):
            np.testing.assert_array_equal(array.ravel(), np.array(blob.data, "float32"))


def test_arrays_outlive_the_file(caffe_file):
    path = caffe_file({"conv": [np.arange(6, dtype="float32")]})
    (array,) = read_caffemodel(path)["conv"]
    path.write_bytes(b"")
    np.testing.assert_array_equal(array, np.arange(6))


def field(number, content, kind=2):
    """Returns a field of under 128 bytes, also ones that protobuf would not write."""
    tag = number << 3 | kind
    head = bytes([tag & 127 | 128, tag >> 7]) if tag > 127 else bytes([tag])
    return head + (bytes([len(content)]) if kind == 2 else b"") + content


def layer(*blobs, name=b"conv1"):
    return field(100, field(1, name) + b"".join(field(7, blob) for blob in blobs))


THREE = field(7, field(1, b"\x03"))  # A shape of [3].
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty. Download it again"),
        (HTML, "a text file that starts with '<!DOCTYPE html>"),
        (b'name: "FCN"\nlayer {\n  name: "data"\n}\n', "a prototxt has no weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a text file that starts with 'version"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "an HDF5 snapshot. Use Caffe's binary format"),
        (b"\x00\x01" + layer(), "a field has number 0"),
        (b"\xff" * 11, "a number is longer than ten bytes"),
        (b"\xa2", "the file ends within a number"),
        (b"\x13\x80", "field 2 has type 3, which Caffe does not use"),
        (layer(THREE + field(5, b"\0" * 12))[:-3], "3 bytes of field 100 are missing"),
        (layer(THREE + field(5, b"\0" * 8)), "layer 'conv1': 8 bytes for [3] numbers of 4 bytes"),
        (layer(THREE + field(5, b"\0" * 13)), "13 bytes for [3] numbers"),
        (layer(THREE + field(8, b"\0" * 12)), "12 bytes for [3] numbers of 8 bytes"),
        (layer(THREE), "layer 'conv1': 0 bytes for [3]"),
        (layer(field(1, b"\x00", 0) + field(5, b"")), "0 bytes for [0, 0, 0, 0]"),
        (layer(field(7, field(1, b"\xff" * 9 + b"\x01")) + field(5, b"\0" * 4)), "4 bytes for ["),
        (layer(THREE + field(5, b"\x03", 0)), "field 5 of its weights has type 0"),
        (field(100, field(7, b"\x05", 0)), "type 0 where a message is expected"),
        (layer(THREE + field(5, b"\0" * 12)) * 2, "two layers with weights have the name 'conv1'"),
        (field(1, b"\xc3\xa9"), "no layer has weights"),
    ],
)
def test_other_files_are_rejected(tmp_path, content, message):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_caffemodel(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_missing_files_are_rejected(tmp_path):
    for path, message in (
        (tmp_path / "no.caffemodel", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(WeightsError) as error:
            read_caffemodel(path)
        assert str(path) in str(error.value) and message in str(error.value)


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_truncated_file_loses_layers_or_is_rejected(caffe_file, cut):
    net = {name: [np.arange(20, dtype="float32")] for name in ("a", "b", "c")}
    path = caffe_file(net)
    content = path.read_bytes()
    path.write_bytes(content[: cut % len(content)])
    try:
        blobs = read_caffemodel(path)
    except WeightsError:
        return
    assert set(blobs) < set(net)
    for arrays in blobs.values():
        np.testing.assert_array_equal(arrays[0], np.arange(20))


@settings(max_examples=300, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1))
def test_corrupt_file_changes_values_or_is_rejected(caffe_file, flips):
    path = caffe_file({name: [np.ones((2, 3), "float32")] for name in ("a", "b")})
    content = bytearray(path.read_bytes())
    for at, mask in flips:
        content[at % len(content)] ^= mask
    path.write_bytes(content)
    try:
        blobs = read_caffemodel(path)
    except WeightsError:
        return
    assert all(array.dtype == "float32" for arrays in blobs.values() for array in arrays)
