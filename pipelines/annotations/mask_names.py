"""Names the masks after their images."""

from pathlib import PurePosixPath

from pipelines.annotations.annotated import Picture
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

MAX_NAME = 250  # Bytes of a file's name.


class MaskNames:
    """Chooses a file name for each mask, each only once."""

    def __init__(self) -> None:
        """Starts without names."""
        self.used: dict[tuple[str, str], str] = {}
        self.images: dict[tuple[str, str], str] = {}

    def choose(self, picture: Picture, split: str) -> str:
        """Returns the path of an image's mask below `masks/<split>`.

        It is that of the image with the ending .png; if another image has it already, such as
        a.png beside a.jpg, the whole name with .png.

        Raises:
            DataError: The image is annotated twice, or its name cannot be used.
        """
        image = split, str(picture.image)
        if image in self.images:
            raise DataError(
                f"annotates {picture.image}, which {self.images[image]} annotates too. Remove one.",
                kind="annotated twice",
                file=picture.image,
            )
        self.images[image] = picture.where
        name = _safe(picture.name)
        path = PurePosixPath(name)
        stem = str(path.with_suffix("")) if path.suffix.lower() in EXTENSIONS else name
        for mask in (f"{stem}.png", f"{name}.png"):
            key = split, mask.casefold()  # Some disks do not tell cases apart.
            if key not in self.used:
                self.used[key] = picture.where
                return mask
        raise DataError(
            f"its mask would have the name of another image's, which {self.used[key]} annotates. "
            "Rename one of the images.",
            kind="same name",
            file=picture.image,
        )


def _safe(name: str) -> str:
    """Returns a relative path that stays in its folder."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or name.startswith(("/", "\\")) or (parts and parts[0].endswith(":")):
        parts = parts[-1:]
    if not parts or any(len(part.encode("utf-8", "replace")) > MAX_NAME for part in parts):
        raise DataError(f"the image name {name!r:.100} cannot be a file name. Rename the image.")
    path = "/".join(parts)
    if not path.isprintable() or path != path.strip():
        raise DataError(
            f"the image name {name!r:.100} has control characters, or spaces around it. Rename "
            "the image.",
            kind="unusable name",
        )
    return path
