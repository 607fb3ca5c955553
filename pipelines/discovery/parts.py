"""A folder of images with the folder of their masks."""

from dataclasses import dataclass
from pathlib import Path

from pipelines.discovery.looks import Files
from pipelines.discovery.names import Suffixes

Folders = dict[Path, Files]


@dataclass(frozen=True)
class Part:
    """Images and masks that belong together.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks.
        suffixes: What the names of images and of masks add to their common name.
        listing: The list of images that belong to the part, or None for all.
        pairs: Maps each common name to the mask's file.
        unpaired: Number of images or masks without a partner.
    """

    images: Path
    masks: Path
    suffixes: Suffixes
    listing: Path | None
    pairs: dict[str, Path]
    unpaired: int

    def places(self, root: Path) -> tuple[Path, Path]:
        """The folders of the images and of the masks, relative to the user's folder."""
        return self.images.relative_to(root), self.masks.relative_to(root)


def shown(root: Path, part: Part) -> str:
    """Names the two folders of a part."""
    return f"{relative(root, part.images)} + {relative(root, part.masks)}"


def relative(root: Path, folder: Path) -> str:
    """Returns a folder's path in the user's folder, as text."""
    return folder.relative_to(root).as_posix()
