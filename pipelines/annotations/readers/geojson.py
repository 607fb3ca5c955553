"""GeoJSON: polygons on a map beside GeoTIFFs, or in pixels beside images (QuPath).

https://www.rfc-editor.org/rfc/rfc7946; QuPath keeps the class in `classification.name`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from pipelines.annotations.annotated import (
    VOID,
    Annotated,
    ClassName,
    Colour,
    Picture,
    Shape,
)
from pipelines.annotations.json_files import load
from pipelines.annotations.listing import Listing
from pipelines.annotations.options import Options
from pipelines.annotations.readers.geojson_shapes import (
    all_points,
    are_degrees,
    geometries,
    to_pixels,
)
from pipelines.annotations.readers.geotiff import Place, read_place
from pipelines.annotations.readers.mask_files import TIFFS, Images, is_in_mask_folder
from pipelines.errors import DataError
from pipelines.files.opening import Encoded
from pipelines.split_names import split_of

SIGN = re.compile(r'"type"\s*:\s*"Feature(?:Collection)?"')
GEOMETRY = re.compile(r'"(?:coordinates|features)"\s*:')
EPSG = re.compile(r"EPSG:(?:[\d.]*:)?(\d+)$", re.IGNORECASE)
WGS84 = 4326
ATTRIBUTES = ("class", "label", "category", "class_name", "classname", "type", "name")
OBJECT = "object"
NO_CLASS, SERVER = "shape without a class", "server.json"


def is_found(listing: Listing) -> str | None:
    """Returns the evidence for GeoJSON files, or None."""
    for name, text in listing.beginnings(".geojson", ".json"):
        if _is_geojson(text):
            return f"{name} has features with coordinates, as GeoJSON has"
    return None


def read(listing: Listing, options: Options) -> Annotated:
    """Reads all GeoJSON files of a folder."""
    faults: list[DataError] = []
    files: list[_File] = []
    for name, text in listing.beginnings(".geojson", ".json", most=None):
        if _is_geojson(text):
            try:
                files.append(_File(name, load(listing.root / name), listing.root / name))
            except DataError as error:
                faults.append(error)
    attribute = _attribute(files, options, listing)
    names = sorted({label for file in files for label in file.labels(attribute) if label})
    names = [name for name in names if not name.endswith("*")]  # QuPath ignores these.
    if not names and attribute is None:
        names = [OBJECT]
    ids = {name: number for number, name in enumerate(names)}
    images = Images(listing, is_in_mask_folder)
    pictures: dict[str, _Drawn] = {}
    for file in files:
        try:
            for name, image in _images(listing, images, file):
                drawn = pictures.setdefault(name, _Drawn(image, file.path))
                drawn.add(listing, file, name, attribute, ids)
        except DataError as error:
            faults.append(error)
    colours = {label: c for file in files for label, c in file.colours()}
    return Annotated(
        classes=tuple(ClassName(name, colours.get(name)) for name in names),
        pictures=tuple(drawn.picture(name) for name, drawn in pictures.items()),
        notes=tuple(note for drawn in pictures.values() for note in drawn.notes),
        faults=tuple(faults),
    )


@dataclass
class _File:
    """The features of a file."""

    name: str
    content: Any
    path: Path

    def __post_init__(self) -> None:
        content = self.content
        if isinstance(content, dict) and content.get("type") == "Feature":
            content = [content]
        found = content.get("features") if isinstance(content, dict) else content
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise _wrong(self.path, "has no list `features` of objects")
        self.features: list[dict[str, Any]] = found

    def labels(self, attribute: str | None) -> list[str | None]:
        """Returns the class of each feature."""
        return [_label(feature, attribute) for feature in self.features]

    def colours(self) -> Iterator[tuple[str, Colour]]:
        """Yields the colours that QuPath gives classes."""
        for feature in self.features:
            found = _properties(feature).get("classification")
            colour = found.get("color") if isinstance(found, dict) else None
            if (
                isinstance(found, dict)
                and isinstance(colour, list)
                and len(colour) == 3
                and set(map(type, colour)) == {int}
            ):
                r, g, b = (min(max(value, 0), 255) for value in colour)
                yield str(found.get("name")), (r, g, b)

    def epsg(self) -> int | None:
        """Returns the coordinate system that the file states; WGS 84 by default."""
        crs = self.content.get("crs") if isinstance(self.content, dict) else None
        if crs is None:
            return None
        properties = crs.get("properties") if isinstance(crs, dict) else None
        name = properties.get("name") if isinstance(properties, dict) else None
        if not isinstance(name, str):
            raise _wrong(self.path, f"its `crs` has no name, found {crs!r:.100}")
        if name.upper().endswith(("CRS84", "CRS:84")):
            return WGS84
        if found := EPSG.search(name):
            return int(found[1])
        raise _wrong(self.path, f"its `crs` {name!r:.100} is not one of the EPSG")


@dataclass
class _Drawn:
    """The shapes of one image, from one or several files."""

    image: Path | Encoded | DataError
    path: Path
    shapes: list[Shape] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        listing: Listing,
        file: _File,
        image: str,
        attribute: str | None,
        ids: dict[str, int],
    ) -> None:
        """Adds the features of a file in pixels of the image."""
        place = _place(listing, image)
        if place is not None and place.to_pixels is not None:
            self._check_system(listing, file, image, place)
        for number, (feature, label) in enumerate(
            zip(file.features, file.labels(attribute), strict=True)
        ):
            label = OBJECT if attribute is None and label is None and OBJECT in ids else label
            if label is None:
                self.left_out[NO_CLASS] += 1
                continue
            class_id = VOID if label.endswith("*") else ids[label]
            where = f"feature {number} ({label!r:.100})"
            for geometry in geometries(feature.get("geometry"), place, self.left_out):
                self.shapes.append(Shape(class_id, geometry, label=where))

    def picture(self, name: str) -> Picture:
        """Returns the image with its shapes."""
        return Picture(
            name=name,
            image=self.image,
            shapes=self.shapes,
            where=str(self.path),
            split=split_of(str(PurePosixPath(name).parent)),
            left_out=self.left_out,
        )

    def _check_system(self, listing: Listing, file: _File, image: str, place: Place) -> None:
        """Checks that file and image are on the same map."""
        root = listing.image_root
        stated = file.epsg()
        points = all_points(file.features)
        if stated is None and points.size and not are_degrees(points):
            self.notes.append(
                f"{file.name} states no coordinate system, and its coordinates are no degrees: "
                f"they are taken as those of {image}"
            )
        elif place.epsg is not None and (stated or WGS84) != place.epsg:
            by_default = "" if stated else " (the default of GeoJSON, because it has no `crs`)"
            raise DataError(
                f"{file.path}: its coordinates are in EPSG:{stated or WGS84}{by_default}, but "
                f"{root / image} is in EPSG:{place.epsg}. Transform the file first: ogr2ogr "
                f"-t_srs EPSG:{place.epsg} new.geojson {file.name}",
                kind="other coordinate system",
                file=file.path,
                value=(stated or WGS84, place.epsg),
            )


def _is_geojson(text: str) -> bool:
    return bool(SIGN.search(text) and GEOMETRY.search(text))


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    found = feature.get("properties")
    return found if isinstance(found, dict) else {}


def _label(feature: dict[str, Any], attribute: str | None) -> str | None:
    """Returns the class of a feature; None if it has none."""
    properties = _properties(feature)
    value = properties.get("classification") if attribute is None else properties.get(attribute)
    if isinstance(value, dict):  # QuPath: {"name": "Tumor"}, or {"names": ["Tumor", "Positive"]}.
        names = value.get("names")
        value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
    if value is None or isinstance(value, dict | list | bool) or not str(value).strip():
        return None
    return str(value)


def _attribute(files: list[_File], options: Options, listing: Listing) -> str | None:
    """Returns the property that holds the class; None for QuPath's, or one class."""
    features = [feature for file in files for feature in file.features]
    keys = Counter(key for feature in features for key in _properties(feature))
    if options.attribute is not None:
        if options.attribute not in keys:
            raise DataError(
                f"--attribute {options.attribute}: {listing.root} has no such property; it has "
                f"{', '.join(map(repr, sorted(keys))) or 'none'}.",
                kind="unknown attribute",
            )
        return options.attribute
    if "classification" in keys:
        return None
    given = [key for key in keys if any(_label(one, key) for one in features)]
    known = [key for key in given if key.casefold() in ATTRIBUTES]
    if len(known) == 1 or len(given) == 1:
        return (known or given)[0]
    if not given or any("objectType" in _properties(feature) for feature in features):
        return None
    raise DataError(
        f"{listing.root}: several properties may hold the class: "
        f"{', '.join(map(repr, (known or given)[:10]))}. Choose one with --attribute NAME.",
        kind="several attributes",
        file=listing.root,
        value=known or given,
    )


def _images(
    listing: Listing, images: Images, file: _File
) -> list[tuple[str, Path | Encoded | DataError]]:
    """Returns the images of a file: called like it, named by server.json, or all GeoTIFFs."""
    stem = PurePosixPath(file.name).stem
    folder = PurePosixPath(file.name).parent
    stems = [stem, stem.removesuffix(".ome"), PurePosixPath(stem).stem]
    if str(folder / SERVER) in listing.files:
        stems.insert(0, _server_stem(listing.root / folder / SERVER))
    for one in stems:
        if images.of(one, file.name):
            return [images.found(one, file.name)]
    maps = [name for name in images.names if name.lower().endswith(TIFFS)]
    if not maps and len(images.names) == 1:
        maps = images.names
    points = all_points(file.features)
    touched = [name for name in maps if len(maps) == 1 or _touches(listing, name, points)]
    if not touched:
        return [images.found(stem, file.name)]
    return [images.found(PurePosixPath(name).stem, name) for name in touched]


def _server_stem(path: Path) -> str:
    """Returns the stem of the image that QuPath's server.json names."""
    content = load(path)
    found = re.search(r'"(?:uri|path)"\s*:\s*"([^"]+)"', path.read_text("utf-8", "replace"))
    metadata = content.get("metadata") if isinstance(content, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    text = found[1] if found else str(name or "")
    return PurePosixPath(unquote(text).replace("\\", "/").split("?")[0]).stem


def _touches(listing: Listing, name: str, points: np.ndarray) -> bool:
    """Whether the points of a file reach into an image."""
    place = _place(listing, name)
    if place is None or place.to_pixels is None or not points.size:
        return False
    pixels = to_pixels(points, place)
    low, high = pixels.min(0), pixels.max(0)
    return bool((high >= 0).all() and (low <= place.size[::-1]).all())


def _place(listing: Listing, image: str) -> Place | None:
    is_tiff = image.lower().endswith(TIFFS)
    return read_place(listing.image_root / image) if is_tiff else None


def _wrong(path: Path, reason: str) -> DataError:
    return DataError(f"{path}: {reason}. Export it again.", kind="wrong GeoJSON", file=path)
