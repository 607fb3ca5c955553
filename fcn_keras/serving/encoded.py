"""Decodes images inside a TensorFlow graph, to the same pixels as `pipelines.read_image`.

A server then needs no preprocessing and sees what training saw: grey becomes three equal channels,
16 bits are scaled to 8, transparent pixels are blended onto white, and images are turned upright as
their EXIF orientation says. CMYK may differ by one grey level.
"""

import tensorflow as tf

from fcn_keras.serving.image_headers import find, jpeg_header, png_header, require
from pipelines.files.damage import JPEG, MAX_SCANS, PNG
from pipelines.files.exif import MIRRORED_COLUMNS, MIRRORED_ROWS, TRANSPOSED
from pipelines.files.images import BACKGROUND, GREY

MAX_PIXELS = 1 << 24  # 16 megapixels; the model's feature maps then take gigabytes.
BYTES_PER_PIXEL, METADATA_BYTES = 4, 1 << 20  # Limits on a file's size; noise takes 3 per pixel.
MIN_BYTES = 33  # A PNG's signature and header.
# Networks pad small images. So many thin ones, or a very long one, may become thousands of times as
# many pixels; the limit on pixels counts each side as at least this.
SMALLEST_SIDE = 256
MAX_PACKED = 8  # Compressed texts and profiles of a PNG; each unpacks to up to 8 MB.


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
    pixels, scans, limit = tf.reduce_prod(header.size), header.scans, most_padded(max_pixels)
    padded = tf.reduce_prod(tf.maximum(header.size, SMALLEST_SIDE))
    with (
        require(pixels > 0, name, "damaged: its header gives no size."),
        require(
            pixels <= max_pixels,
            name,
            f"{{}} x {{}} pixels; at most {max_pixels} in total are allowed.",
            *tf.unstack(header.size),
        ),
        require(
            padded <= limit,
            name,
            f"{{}} x {{}} pixels; at most {limit} are allowed, and sides below {SMALLEST_SIDE} "
            f"count as {SMALLEST_SIDE}.",
            *tf.unstack(header.size),
        ),
        require(
            header.packed <= MAX_PACKED,
            name,
            f"{{}} compressed texts or profiles; at most {MAX_PACKED} are allowed.",
            header.packed,
        ),
        require(header.is_complete, name, "truncated: its end is missing."),
        require(scans <= MAX_SCANS, name, f"{{}} scans; at most {MAX_SCANS} are allowed.", scans),
    ):
        data = tf.identity(data)
    image = tf.cond(is_png, lambda: _png(data, content), lambda: _jpeg(data))
    return _turned_upright(image, header.orientation)


def most_padded(max_pixels: int) -> int:
    """Upper limit on the pixels where each side counts as at least `SMALLEST_SIDE`."""
    return max(max_pixels, MAX_PIXELS)


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
    """Decodes to 8 bits without alpha as Pillow does; uint8 `[h, w, 3]`.

    Of 16 bits, TensorFlow keeps the high byte, as Pillow does for colours; Pillow rounds grey.
    """
    bits, colour_type = tf.cast(content[24], tf.int32), content[25]
    is_deep_grey = tf.equal(bits, 16) & tf.equal(colour_type, GREY)

    def pixels(channels: int) -> tf.Tensor:
        return tf.cond(
            is_deep_grey,
            lambda: _rounded(tf.io.decode_png(data, channels, tf.uint16, name="image_bytes")),
            lambda: tf.io.decode_png(data, channels, name="image_bytes"),
        )

    # A chunk's name may be found by chance in the pixels, which are then opaque.
    has_alpha = tf.equal(colour_type & 4, 4) | (tf.size(find(content, b"tRNS")) > 0)
    return tf.cond(has_alpha, lambda: _on_background(pixels(4), bits), lambda: pixels(3))


def _rounded(levels: tf.Tensor) -> tf.Tensor:
    """Scales grey levels of 16 bits, with or without alpha, to 8 bits: uint16 -> uint8."""
    grey, channels = levels[..., :1], levels.shape[-1]
    up = tf.cast(grey % 257 > 128, tf.uint16)
    colours = tf.repeat(tf.cast(grey // 257 + up, tf.uint8), 3, axis=-1)
    alpha = tf.cast(levels[..., 3:] // 257, tf.uint8)
    return colours if channels == 3 else tf.concat([colours, alpha], axis=-1)


def _on_background(layers: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Composites on the background: uint8 `[h, w, 4]` -> `[h, w, 3]`."""
    colours, alpha = layers[..., :3], layers[..., 3:]
    # Below 8 bits, the decoder's alpha for opaque pixels has only as many bits as the colours.
    full = tf.cast(tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1, tf.uint8)

    def mixed() -> tf.Tensor:
        # Sums reach 65,407, so 16 bits are enough; 32 would take gigabytes.
        share, rest = tf.cast(alpha, tf.uint16), tf.cast(255 - alpha, tf.uint16)
        total = share * tf.cast(colours, tf.uint16) + rest * tf.constant(BACKGROUND, tf.uint16)
        total += 128
        return tf.cast((total // 256 + total) // 256, tf.uint8)

    return tf.cond(tf.reduce_all(tf.equal(alpha, full)), lambda: colours, mixed)
