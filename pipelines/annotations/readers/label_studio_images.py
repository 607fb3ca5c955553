"""Finds the images of Label Studio's tasks, which it names by addresses and renames on upload."""

import base64
import binascii
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipelines.annotations.listing import Listing
from pipelines.annotations.readers.label_studio_config import Config
from pipelines.annotations.readers.label_studio_tasks import Task, wrong
from pipelines.datasets.folder_pairs import EXTENSIONS
from pipelines.errors import DataError

PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the name on upload.


def find_image(
    task: Task, results: list[Any], config: Config, listing: Listing
) -> tuple[Path | DataError, str]:
    """Finds the image of a task.

    The names count as they are, then without the prefix of uploads, then as uploads rename files.

    Returns:
        The `Path`, or a `DataError` that says why there is none; and the name for the mask.

    Raises:
        DataError: The task names no image.
    """
    names = [name for address in _addresses(task, results, config) for name in _names(address)]
    if not names:
        raise wrong(task.path, f"the task {task.id!r:.50} names no image in its `data`")
    found = None
    # A generator: the names of uploads are looked up only if no other fits.
    renamed = (_as_stored(listing).get(name.rpartition("/")[2]) for name in names)
    for name in filter(None, itertools.chain(dict.fromkeys(names), renamed)):
        image = listing.find_image(name, task.file, task.split)
        if isinstance(image, Path):
            return image, image.relative_to(listing.image_root).as_posix()
        if found is None or image.kind == "ambiguous image":
            found = image
    assert found is not None
    return found, names[0]


@functools.lru_cache(maxsize=1)
def _as_stored(listing: Listing) -> dict[str, str]:
    """Returns the images by the names that uploads get: Django changes spaces and drops others."""
    names = {file.rpartition("/")[2] for file in listing.image_names}
    return {re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_")): name for name in sorted(names)}


def _addresses(task: Task, results: list[Any], config: Config) -> Iterator[str]:
    """Yields what may name the image, the most likely first."""
    controls = [str(r.get("to_name")) for r in results if isinstance(r, dict)]
    keys = [config.images[name] for name in controls if name in config.images]
    keys += [*config.images.values(), "image", "img", "image_url", "url"]
    values = [task.data.get(key) for key in keys]
    values += [v for v in task.data.values() if isinstance(v, str) and _is_image(v)]
    values.append(task.upload)
    for value in dict.fromkeys(v for v in values if isinstance(v, str)):
        if value.strip() and not value.startswith("data:"):
            yield value


def _is_image(address: str) -> bool:
    return any(PurePosixPath(name).suffix.lower() in EXTENSIONS for name in _paths(address))


def _names(address: str) -> Iterator[str]:
    for path in _paths(address):
        yield path
        folder, slash, name = path.replace("\\", "/").rpartition("/")
        if PREFIX.match(name):
            yield f"{folder}{slash}{PREFIX.sub('', name, count=1)}"


def _paths(address: str) -> list[str]:
    """Returns the paths that a name or address may mean."""
    try:
        parts = urlsplit(address)
        query = parse_qs(parts.query)
    except ValueError:
        return [address]
    if parts.path.endswith("/local-files/") and "d" in query:
        return [query["d"][-1]]
    if "fileuri" in query:  # The address in a cloud storage, in base64.
        try:
            coded = query["fileuri"][-1]
            coded += "=" * (-len(coded) % 4)
            return _paths(base64.b64decode(coded, altchars=b"-_", validate=True).decode())
        except (binascii.Error, ValueError):
            return [address]
    if not parts.scheme or len(parts.scheme) == 1:  # One letter is a drive.
        return [address, unquote(parts.path)]
    return [unquote(parts.path)]
