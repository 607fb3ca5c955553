"""Encoded images in TFRecord files, read where they lie.

A record is its length (8 bytes) and that number's checksum (4), the data, their checksum (4). The
lengths alone tell where each record is, so that examples can be read in any order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded image in one record of a TFRecord file.

    Attributes:
        path: the file.
        offset: where in the file the record's `tf.train.Example` begins.
        length: of it, in bytes.
        feature: which of its features the image is.
    """

    path: Path
    offset: int
    length: int
    feature: str

    def __str__(self) -> str:
        """The place, for messages."""
        return f"{self.path}, byte {self.offset}, {self.feature}"

    def read_bytes(self) -> bytes:
        """The encoded image.

        Raises:
            DataError: the record cannot be read.
        """
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        try:
            with open(self.path, "rb") as file:  # A handle of its own, for any number of threads.
                file.seek(self.offset)
                features = tf.train.Example.FromString(file.read(self.length)).features.feature
        except OSError as error:
            raise DataError(
                f"{self}: cannot be read ({error.strerror}).", kind="unreadable", file=self.path
            ) from None
        except DecodeError:
            features = {}
        values: Sequence[bytes] = (
            features[self.feature].bytes_list.value if self.feature in features else ()
        )
        if len(values) != 1:
            raise DataError(
                f"{self}: the record is damaged. Prepare the data set again.",
                kind="damaged file",
                file=self.path,
            )
        return values[0]


def index_records(path: Path) -> list[tuple[int, int]]:
    """Offset and length of every record in a TFRecord file.

    Args:
        path: a `Path`.

    Returns:
        A list of (offset, length), in bytes, of the data without their frame.

    Raises:
        DataError: the file cannot be read, or ends within a record.
    """
    try:
        places, at, size = [], 0, path.stat().st_size
        with open(path, "rb", buffering=0) as file:
            while at < size:
                file.seek(at)
                header = file.read(12)
                length = int.from_bytes(header[:8], "little")
                if at + 16 + length > size:
                    raise DataError(
                        f"{path}: truncated or damaged at byte {at}. Prepare the data set again.",
                        kind="damaged file",
                        file=path,
                    )
                places.append((at + 12, length))
                at += 16 + length
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}).", kind="missing file", file=path
        ) from None
    return places
