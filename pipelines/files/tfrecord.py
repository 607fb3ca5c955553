"""Reads encoded images from TFRecord files, in any order.

A record is its length (8 bytes), the length's checksum (4), the data and the data's checksum (4).
The lengths alone give the position of each record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded image in one record of a TFRecord file.

    Attributes:
        path: The TFRecord file.
        offset: Position of the record's `tf.train.Example` in the file, in bytes.
        length: Length of the `tf.train.Example`, in bytes.
        feature: Name of the feature that holds the image.
    """

    path: Path
    offset: int
    length: int
    feature: str

    def __str__(self) -> str:
        """Names the record in messages."""
        return f"{self.path}, byte {self.offset}, {self.feature}"

    def read_bytes(self) -> bytes:
        """Reads the encoded image.

        Raises:
            DataError: The record cannot be read.
        """
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        try:
            with open(self.path, "rb") as file:  # Opened per call, for use in threads.
                file.seek(self.offset)
                features = tf.train.Example.FromString(file.read(self.length)).features.feature
        except OSError as error:
            raise DataError(
                f"{self}: cannot be read ({error.strerror}). Prepare the data set again.",
                kind="unreadable",
                file=self.path,
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
    """Finds the offset and length of every record in a TFRecord file.

    Args:
        path: A `Path`.

    Returns:
        A list of (offset, length) of the records' data, in bytes.

    Raises:
        DataError: The file cannot be read, or ends within a record.
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
            f"{path}: cannot be read ({error.strerror}). Prepare the data set again.",
            kind="missing file",
            file=path,
        ) from None
    return places
