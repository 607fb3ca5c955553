"""Decodes images inside a TensorFlow graph, to the same pixels as `pipelines.read_image`.

A server then needs no preprocessing and sees what training saw: grey becomes three equal channels,
16 bits are scaled to 8, transparent pixels are blended onto white, and an EXIF orientation is
ignored. CMYK may differ by one grey level.

The code uses `tf.equal` because `==` does not compare tensors in a TensorFlow 1 graph, and a
SavedModel is built in such a graph.
"""

from contextlib import AbstractContextManager

import tensorflow as tf

from pipelines.files.damage import JPEG, MAX_SCANS, PNG
from pipelines.files.images import BACKGROUND

MAX_PIXELS = 1 << 24  # 16 megapixels; the model's feature maps then take gigabytes.
BYTES_PER_PIXEL, METADATA_BYTES = 4, 1 << 20  # Limits on a file's size; noise takes 3 per pixel.
LARGEST_MAX_PIXELS = 500_000_000  # A TensorFlow string holds less than 2 GiB.
MIN_BYTES = 33  # A PNG's signature and header.
GREY = 0  # A PNG colour type.
NOT_FRAME_MARKERS = (0xC4, 0xC8, 0xCC)  # JPEG markers among 0xC0..0xCF that start no frame.


def decode(data: tf.Tensor, name: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes a JPEG or PNG after checking its header.

    Args:
        data: A string scalar, the file's content.
        name: A string scalar, the image's name in error messages.
        max_pixels: Upper limit on the pixels of the image.

    Returns:
        uint8 `[h, w, 3]`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: At run time, if the image has another format, is damaged or
            is too large.
    """
    length = tf.strings.length(data)
    is_png = tf.equal(tf.strings.substr(data, 0, len(PNG)), PNG)
    is_jpeg = tf.equal(tf.strings.substr(data, 0, len(JPEG)), JPEG)
    known = (length >= MIN_BYTES) & (is_png | is_jpeg)
    largest = BYTES_PER_PIXEL * max_pixels + METADATA_BYTES
    with (
        _require(known, name, "{} bytes that are not a JPEG or PNG file.", length),
        _require(length <= largest, name, f"{{}} bytes; at most {largest} are allowed.", length),
    ):
        content = tf.io.decode_raw(data, tf.uint8)
    size = tf.cond(is_png, lambda: _png_size(content), lambda: _jpeg_size(content))
    ends = tf.cond(is_png, lambda: _count(content, b"IEND"), lambda: _count(content, b"\xff\xd9"))
    pixels = tf.reduce_prod(size)
    scans = tf.where(is_png, 0, _count(content, b"\xff\xda"))
    with (
        _require(pixels > 0, name, "damaged: its header gives no size."),
        _require(
            pixels <= max_pixels,
            name,
            f"{{}} x {{}} pixels; at most {max_pixels} in total are allowed.",
            *tf.unstack(size),
        ),
        _require(ends > 0, name, "truncated: its end is missing."),
        _require(scans <= MAX_SCANS, name, f"{{}} scans; at most {MAX_SCANS} are allowed.", scans),
    ):
        data = tf.identity(data)
    return tf.cond(is_png, lambda: _png(data, content), lambda: _jpeg(data))


def _require(
    condition: tf.Tensor, name: tf.Tensor, message: str, *values: tf.Tensor
) -> AbstractContextManager[object]:
    """Returns a context whose operations run only if the condition holds."""
    line = tf.strings.join([name, ": ", tf.strings.format(message, values)])
    return tf.control_dependencies([tf.debugging.Assert(condition, [line])])


def _count(content: tf.Tensor, sequence: bytes) -> tf.Tensor:
    """Counts how often a byte sequence occurs."""
    count = tf.size(content) - len(sequence) + 1
    here = [tf.equal(content[i : count + i], byte) for i, byte in enumerate(sequence)]
    return tf.math.count_nonzero(tf.reduce_all(tf.stack(here), axis=0), dtype=tf.int32)


def _read_integer(content: tf.Tensor, start: int | tf.Tensor, count: int) -> tf.Tensor:
    """Reads an integer of `count` bytes, the highest byte first."""
    number = tf.constant(0, tf.int64)
    for i in range(count):
        number = 256 * number + tf.cast(content[start + i], tf.int64)
    return number


def _png_size(content: tf.Tensor) -> tf.Tensor:
    return tf.stack([_read_integer(content, 20, 4), _read_integer(content, 16, 4)])


def _jpeg_size(content: tf.Tensor) -> tf.Tensor:
    """Reads height and width from the frame's header; zeros if it is missing."""
    last = tf.size(content) - 9  # A frame header does not fit behind this position.

    def is_frame(at: tf.Tensor) -> tf.Tensor:
        marker = content[at + 1]
        others = tf.not_equal(marker, tf.constant(NOT_FRAME_MARKERS, tf.uint8))
        return tf.equal(marker & 0xF0, 0xC0) & tf.reduce_all(others)

    def is_marker(at: tf.Tensor) -> tf.Tensor:
        # Without a marker the next segment cannot be found.
        return (at <= last) & tf.equal(content[tf.minimum(at, last)], 0xFF)

    def is_other_segment(at: tf.Tensor) -> tf.Tensor:
        return is_marker(at) & ~is_frame(tf.minimum(at, last))

    def next_marker(at: tf.Tensor) -> tf.Tensor:
        filler = tf.equal(content[at + 1], 0xFF)  # Any number of fill bytes may precede a marker.
        return tf.where(
            filler, at + 1, at + 2 + tf.cast(_read_integer(content, at + 2, 2), tf.int32)
        )

    (at,) = tf.while_loop(is_other_segment, next_marker, [tf.constant(2)])
    start = tf.minimum(at, last)
    size = tf.stack([_read_integer(content, start + 5, 2), _read_integer(content, start + 7, 2)])
    return tf.where(is_marker(at), size, 0)


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # TensorFlow's default DCT differs from libjpeg-turbo's by up to 20 grey levels.
    return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE", name="image_bytes")


def _png(data: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """Decodes with 16 bits and alpha, then reduces to 8 bits without alpha as Pillow does."""
    bits, colour_type = tf.cast(content[24], tf.int32), content[25]
    layers = tf.cast(tf.io.decode_png(data, 4, tf.uint16, name="image_bytes"), tf.int32)
    rounded = (layers + 128) // 257  # Pillow rounds grey, and keeps the high byte of colours.
    colours = tf.where(tf.equal(colour_type, GREY), rounded, layers // 256)[..., :3]
    alpha = layers[..., 3:] // 256
    # Below 8 bits, the decoder's alpha for opaque pixels has only as many bits as the colours.
    full = tf.bitwise.left_shift(1, bits) - 1
    is_filler = (bits < 8) & tf.reduce_all(tf.equal(alpha, full))
    alpha = tf.where(is_filler, 255, alpha)
    mixed = alpha * colours + (255 - alpha) * tf.constant(BACKGROUND) + 128
    return tf.cast((mixed // 256 + mixed) // 256, tf.uint8)
