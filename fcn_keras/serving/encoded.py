"""Decodes images inside a TensorFlow graph, to the same pixels as `pipelines.read_image`.

A server then needs no preprocessing and sees what training saw: grey becomes three equal channels,
16 bits are scaled to 8, transparent pixels are blended onto white, and images are turned upright as
their EXIF orientation says. CMYK may differ by one grey level.
"""

import tensorflow as tf

from fcn_keras.serving.image_headers import jpeg_header, png_header, require
from pipelines.files.damage import JPEG, MAX_SCANS, PNG
from pipelines.files.exif import MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED
from pipelines.files.images import BACKGROUND, GREY

MAX_PIXELS = 1 << 24  # 16 megapixels; the model's feature maps then take gigabytes.
BYTES_PER_PIXEL, METADATA_BYTES = 4, 1 << 20  # Limits on a file's size; noise takes 3 per pixel.
LARGEST_MAX_PIXELS = 500_000_000  # A TensorFlow string holds less than 2 GiB.
MIN_BYTES = 33  # A PNG's signature and header.


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
        require(known, name, "{} bytes that are not a JPEG or PNG file.", length),
        require(length <= largest, name, f"{{}} bytes; at most {largest} are allowed.", length),
    ):
        content = tf.io.decode_raw(data, tf.uint8)
    header = tf.cond(is_png, lambda: png_header(content), lambda: jpeg_header(content, name))
    pixels, scans = tf.reduce_prod(header.size), header.scans
    with (
        require(pixels > 0, name, "damaged: its header gives no size."),
        require(
            pixels <= max_pixels,
            name,
            f"{{}} x {{}} pixels; at most {max_pixels} in total are allowed.",
            *tf.unstack(header.size),
        ),
        require(header.is_complete, name, "truncated: its end is missing."),
        require(scans <= MAX_SCANS, name, f"{{}} scans; at most {MAX_SCANS} are allowed.", scans),
    ):
        data = tf.identity(data)
    image = tf.cond(is_png, lambda: _png(data, content), lambda: _jpeg(data))
    return _turned_upright(image, header.orientation)


def _turned_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image `[h, w, 3]`, as `exif.turned_upright` does."""

    def is_among(orientations: tuple[int, ...]) -> tf.Tensor:
        return tf.reduce_any(tf.equal(orientation, tf.constant(orientations, tf.int64)))

    image = tf.cond(
        is_among(TRANSPOSED), lambda: tf.transpose(image, (1, 0, 2)), lambda: tf.identity(image)
    )
    is_mirrored = tf.stack([is_among(MIRRORED_ROWS), is_among(MIRRORED_COLUMNS)])
    return tf.reverse(image, tf.where(is_mirrored)[:, 0])


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
