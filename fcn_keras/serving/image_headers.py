"""Reads the headers of encoded images inside a TensorFlow graph, before anything is decoded.

The code uses `tf.equal` because `==` does not compare tensors in a TensorFlow 1 graph, and a
SavedModel is built in such a graph.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple

import tensorflow as tf

from pipelines.files import exif

# A JPEG's markers: EXIF data, start of a scan, end of the image.
APP1, SCAN, END = 0xE1, 0xDA, 0xD9
NOT_FRAMES = (0xC4, 0xC8, 0xCC)  # Markers among 0xC0..0xCF that start no frame.
WITHOUT_LENGTH = (0x01, 0xD8)
NOT_MARKERS = (0, 0xFF, *range(0xD0, 0xD8))  # What follows 0xff in coded data and as filler.
# Limits on what looks like a marker, and on those up to the end; a photo has dozens.
MAX_MARKERS, MAX_SEGMENTS = 1 << 20, 1000
# Chunks of a PNG that the decoder unpacks, although they do not affect the pixels.
PACKED = (b"iCCP", b"iTXt", b"zTXt")


class Header(NamedTuple):
    """What is known of an image before it is decoded.

    Attributes:
        size: Height and width, int64 `[2]`; zeros if it has none.
        scans: The number of passes over the pixels, int64.
        packed: The number of compressed texts and profiles of a PNG, int64; perhaps too high, since
            other chunks may contain their names.
        is_complete: Whether its end is present.
        orientation: The EXIF orientation, int64; 1 if it has none.
    """

    size: tf.Tensor
    scans: tf.Tensor
    packed: tf.Tensor
    is_complete: tf.Tensor
    orientation: tf.Tensor


def require(
    condition: tf.Tensor, name: tf.Tensor, message: str, *values: tf.Tensor
) -> AbstractContextManager[object]:
    """Returns a context whose operations run only if the condition holds."""
    line = tf.strings.join([name, ": ", tf.strings.format(message, values)])
    return tf.control_dependencies([tf.debugging.Assert(condition, [line])])


def png_header(content: tf.Tensor) -> Header:
    """Reads the header of a PNG, uint8 `[n]`, and its EXIF data, which may be anywhere."""
    size = tf.concat([_integers(content, tf.constant([at], tf.int64), 4) for at in (20, 16)], 0)
    found = tf.concat([find(content, b"eXIf" + start) for start in exif.BYTE_ORDERS], axis=0)
    start = tf.reduce_min(tf.concat([found + 4, [tf.size(content, tf.int64)]], axis=0))
    is_complete = tf.size(find(content, b"IEND")) > 0
    packed = tf.add_n([tf.size(find(content, name), tf.int64) for name in PACKED])
    scans = tf.constant(0, tf.int64)
    return Header(size, scans, packed, is_complete, _orientation(content[start:]))


def jpeg_header(content: tf.Tensor, name: tf.Tensor) -> Header:
    """Reads the header of a JPEG, uint8 `[n]`; `name` is for error messages."""
    places, codes, ends = _segments(content, name)
    is_frame = tf.equal(codes & 0xF0, 0xC0) & ~_is_among(codes, NOT_FRAMES)
    frame = tf.boolean_mask(places, is_frame)[:1]
    size = tf.concat([_integers(content, frame + at, 2) for at in (5, 7)], axis=0)
    size = tf.pad(size, [[0, 2 - tf.size(size)]])  # Without a frame there is no size.
    is_scan = tf.equal(codes, SCAN)
    is_exif = tf.equal(codes, APP1) & tf.equal(tf.cumsum(tf.cast(is_scan, tf.int64)), 0)
    for at, byte in enumerate(exif.HEADER, 4):
        is_exif &= tf.equal(_integers(content, places + at, 1), byte)
    start, end = (tf.reduce_sum(tf.boolean_mask(of_all, is_exif)[:1]) for of_all in (places, ends))
    start = tf.minimum(start + 4 + len(exif.HEADER), end)
    return Header(
        tf.ensure_shape(size, (2,)),
        tf.math.count_nonzero(is_scan),
        tf.constant(0, tf.int64),
        tf.equal(tf.reduce_sum(codes[-1:]), END),
        _orientation(content[start:end]),
    )


def _segments(content: tf.Tensor, name: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds a JPEG's markers from its start to its end.

    A thumbnail in the metadata, and a video after the end, have markers of their own.

    Returns:
        The markers' positions, their codes, and where their segments end, each int64 `[n]`.
    """
    is_marker = tf.equal(content[:-1], 0xFF) & ~_is_among(content[1:], NOT_MARKERS)
    count = tf.math.count_nonzero(is_marker)
    with require(count <= MAX_MARKERS, name, "damaged: {} JPEG markers.", count):
        places = tf.where(is_marker)[1:, 0]  # Without the first, the start of the image.
    codes = tf.cast(tf.gather(content, places + 1), tf.int64)
    lengths = _integers(content, places + 2, 2)
    ends = places + 2 + tf.where(_is_among(codes, WITHOUT_LENGTH), tf.zeros_like(lengths), lengths)
    following, last = tf.searchsorted(places, ends), tf.size(places)
    at, met = tf.while_loop(
        lambda at, _: at < last,
        lambda at, met: (
            tf.where(tf.equal(codes[at], END), last, following[at]),
            met.write(met.size(), at),
        ),
        (tf.constant(0), tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=())),
        maximum_iterations=MAX_SEGMENTS,
    )
    ended, most = at >= last, f"damaged: more than {MAX_SEGMENTS} JPEG segments."
    with require(ended, name, most):
        visited = met.stack()
    return tf.gather(places, visited), tf.gather(codes, visited), tf.gather(ends, visited)


def _orientation(data: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from EXIF data, uint8 `[n]`, as `exif.orientation` does."""
    size = tf.size(data, tf.int64)
    data = tf.pad(data, [[0, 8]])
    little, big = (
        tf.reduce_all(tf.equal(data[:4], tf.constant(list(start), tf.uint8)))
        for start in exif.BYTE_ORDERS
    )
    first = _integers(data, tf.constant([4], tf.int64), 4, little)
    count = _integers(data, first, 2, little)
    entries = first + 2 + 12 * tf.range(count[0])
    entries = tf.boolean_mask(entries, entries + 10 <= size)
    tags = _integers(data, entries, 2, little)
    entry = tf.boolean_mask(entries, tf.equal(tags, exif.ORIENTATION))[:1]
    kind, value = (_integers(data, entry + at, 2, little) for at in (2, 8))
    is_valid = (little | big) & tf.equal(kind, exif.SHORT) & (value >= 1) & (value <= 8)
    return 1 + tf.reduce_sum(tf.where(is_valid, value - 1, tf.zeros_like(value)))


def _integers(
    content: tf.Tensor, places: tf.Tensor, count: int, is_little: tf.Tensor | bool = False
) -> tf.Tensor:
    """Reads integers of `count` bytes at positions `[n]`, int64; highest byte first, or last."""
    last = tf.size(content, tf.int64) - 1
    number = tf.zeros_like(places)
    for at in range(count):
        byte = tf.cast(tf.gather(content, tf.minimum(places + at, last)), tf.int64)
        number = tf.where(is_little, number + byte * 256**at, number * 256 + byte)
    return number


def find(content: tf.Tensor, sequence: bytes) -> tf.Tensor:
    """Finds a byte sequence; returns all its positions, int64 `[n]`."""
    count = tf.size(content) - len(sequence) + 1
    is_here = tf.equal(content[:count], sequence[0])
    for at, byte in enumerate(sequence):
        is_here &= tf.equal(content[at : at + count], byte)
    return tf.where(is_here)[:, 0]


def _is_among(numbers: tf.Tensor, chosen: Iterable[int]) -> tf.Tensor:
    """Whether each number is one of a few."""
    is_one = tf.zeros_like(numbers, tf.bool)
    for one in chosen:
        is_one |= tf.equal(numbers, one)
    return is_one
