"""From encoded images to pixels inside a TensorFlow graph, as `pipelines.read_image` reads them.

So that a server needs no preprocessing, and sees what the training saw. What is stored decides:
grey becomes three equal channels, 16 bits are scaled to 8, transparent pixels are laid on white,
an orientation in EXIF does not count. CMYK may differ by one grey level.

In a graph of TensorFlow 1, such as a SavedModel is built in, `==` compares no tensors; `tf.equal`
does everywhere.
"""

from contextlib import AbstractContextManager

import tensorflow as tf

from pipelines.files.damage import JPEG, MAX_SCANS, PNG
from pipelines.files.images import BACKGROUND

MAX_PIXELS = 1 << 24  # 16 megapixels: what the net makes of it takes gigabytes.
BYTES_A_PIXEL, BYTES_OF_METADATA = 4, 1 << 20  # Of a file, at most; noise takes 3 a pixel.
LARGEST = 500_000_000  # Of `max_pixels`: a string of TensorFlow has less than 2 GiB.
SHORTEST = 33  # Bytes: a PNG's signature and header.
GREY = 0  # Of a PNG's colour types.
NO_SIZE = (0xC4, 0xC8, 0xCC)  # Markers of JPEG between those that begin a frame.


def decode(data: tf.Tensor, name: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """Decodes a JPEG or PNG, whose header is checked before.

    Args:
        data: a string scalar, the file's content.
        name: a string scalar, what errors call it.
        max_pixels: a larger image is refused.

    Returns:
        uint8 `[h, w, 3]`, RGB.

    Raises:
        tf.errors.InvalidArgumentError: when it runs: it is no such image, damaged, or too large.
    """
    length = tf.strings.length(data)
    is_png = tf.equal(tf.strings.substr(data, 0, len(PNG)), PNG)
    is_jpeg = tf.equal(tf.strings.substr(data, 0, len(JPEG)), JPEG)
    known = (length >= SHORTEST) & (is_png | is_jpeg)
    largest = BYTES_A_PIXEL * max_pixels + BYTES_OF_METADATA
    with (
        _needs(known, name, "{} bytes that are no JPEG and no PNG file.", length),
        _needs(length <= largest, name, f"{{}} bytes; at most {largest} are taken.", length),
    ):
        content = tf.io.decode_raw(data, tf.uint8)
    size = tf.cond(is_png, lambda: _png_size(content), lambda: _jpeg_size(content))
    ends = tf.cond(is_png, lambda: _places(content, b"IEND"), lambda: _places(content, b"\xff\xd9"))
    pixels = tf.reduce_prod(size)
    scans = tf.where(is_png, 0, _places(content, b"\xff\xda"))
    with (
        _needs(pixels > 0, name, "damaged: its header gives no size."),
        _needs(
            pixels <= max_pixels,
            name,
            f"{{}} x {{}} pixels; at most {max_pixels} in all are taken.",
            *tf.unstack(size),
        ),
        _needs(ends > 0, name, "truncated: its end is missing."),
        _needs(scans <= MAX_SCANS, name, f"{{}} scans; at most {MAX_SCANS} are read.", scans),
    ):
        data = tf.identity(data)
    return tf.cond(is_png, lambda: _png(data, content), lambda: _jpeg(data))


def _needs(
    condition: tf.Tensor, name: tf.Tensor, message: str, *values: tf.Tensor
) -> AbstractContextManager[object]:
    """A context whose operations run only if the condition holds."""
    line = tf.strings.join([name, ": ", tf.strings.format(message, values)])
    return tf.control_dependencies([tf.debugging.Assert(condition, [line])])


def _places(content: tf.Tensor, sequence: bytes) -> tf.Tensor:
    """How often a sequence of bytes is there."""
    count = tf.size(content) - len(sequence) + 1
    here = [tf.equal(content[i : count + i], byte) for i, byte in enumerate(sequence)]
    return tf.math.count_nonzero(tf.reduce_all(tf.stack(here), axis=0), dtype=tf.int32)


def _number(content: tf.Tensor, start: int | tf.Tensor, count: int) -> tf.Tensor:
    """A number of `count` bytes, the highest first."""
    number = tf.constant(0, tf.int64)
    for i in range(count):
        number = 256 * number + tf.cast(content[start + i], tf.int64)
    return number


def _png_size(content: tf.Tensor) -> tf.Tensor:
    return tf.stack([_number(content, 20, 4), _number(content, 16, 4)])


def _jpeg_size(content: tf.Tensor) -> tf.Tensor:
    """Height and width from the frame's header; zeros if there is none."""
    last = tf.size(content) - 9  # From here a frame's header would not fit.

    def is_frame(at: tf.Tensor) -> tf.Tensor:
        marker = content[at + 1]
        others = tf.not_equal(marker, tf.constant(NO_SIZE, tf.uint8))
        return tf.equal(marker & 0xF0, 0xC0) & tf.reduce_all(others)

    def is_marker(at: tf.Tensor) -> tf.Tensor:
        # Where no marker is, there is no way to the next one.
        return (at <= last) & tf.equal(content[tf.minimum(at, last)], 0xFF)

    def goes_on(at: tf.Tensor) -> tf.Tensor:
        return is_marker(at) & ~is_frame(tf.minimum(at, last))

    def following(at: tf.Tensor) -> tf.Tensor:
        filler = tf.equal(content[at + 1], 0xFF)  # Any number of them may stand before a marker.
        return tf.where(filler, at + 1, at + 2 + tf.cast(_number(content, at + 2, 2), tf.int32))

    (at,) = tf.while_loop(goes_on, following, [tf.constant(2)])
    start = tf.minimum(at, last)
    size = tf.stack([_number(content, start + 5, 2), _number(content, start + 7, 2)])
    return tf.where(is_marker(at), size, 0)


def _jpeg(data: tf.Tensor) -> tf.Tensor:
    # TensorFlow's own choice of DCT differs from libjpeg-turbo's by up to 20 grey levels.
    return tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE", name="image_bytes")


def _png(data: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """16 bits and alpha, and from there to 8 and none as Pillow does it."""
    bits, colour_type = tf.cast(content[24], tf.int32), content[25]
    layers = tf.cast(tf.io.decode_png(data, 4, tf.uint16, name="image_bytes"), tf.int32)
    rounded = (layers + 128) // 257  # Pillow's for grey; of colours it takes the high byte.
    colours = tf.where(tf.equal(colour_type, GREY), rounded, layers // 256)[..., :3]
    alpha = layers[..., 3:] // 256
    # Opaque pixels of fewer than 8 bits come with an alpha of as few.
    full = tf.bitwise.left_shift(1, bits) - 1
    is_filler = (bits < 8) & tf.reduce_all(tf.equal(alpha, full))
    alpha = tf.where(is_filler, 255, alpha)
    mixed = alpha * colours + (255 - alpha) * tf.constant(BACKGROUND) + 128
    return tf.cast((mixed // 256 + mixed) // 256, tf.uint8)
