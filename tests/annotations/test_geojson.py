"""GeoJSON with GeoTIFFs, and QuPath's."""

import json

import numpy as np
import pytest
from exports import mask_of, picture
from PIL import Image, TiffImagePlugin

from pipelines import DataError

# Of 20 x 30 pixels of 2 x 2 m, whose upper left corner is at (500000, 4000000): columns 4..13.
RING = [[500008, 3999996], [500028, 3999996], [500028, 3999976], [500008, 3999976]]
HOLE = [[500012, 3999992], [500020, 3999992], [500020, 3999984], [500012, 3999984]]
UTM = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}


def geotiff(path, epsg=32631, is_point=False, matrix=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    half = 1.0 if is_point else 0.0
    x, y = 500000.0 + half, 4000000.0 - half
    if matrix:
        tags[34264] = (2.0, 0.0, 0.0, x, 0.0, -2.0, 0.0, y, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        tags.tagtype[34264] = 12
    else:
        tags[33550], tags[33922] = (2.0, 2.0, 0.0), (0.0, 0.0, 0.0, x, y, 0.0)
        tags.tagtype[33550] = tags.tagtype[33922] = 12
    keys = [(1024, 0, 1, 1), (1025, 0, 1, 2 if is_point else 1), (3072, 0, 1, epsg)]
    tags[34735] = (1, 1, 0, len(keys), *(n for key in keys for n in key))
    tags.tagtype[34735] = 3
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), "uint8")
    Image.fromarray(pixels).save(path, tiffinfo=tags)


def geojson(path, features, **top):
    """A file of (geometry type, coordinates, properties)."""
    entries = [
        {"type": "Feature", "geometry": {"type": kind, "coordinates": c}, "properties": properties}
        for kind, c, properties in features
    ]
    content = {"type": "FeatureCollection", "features": entries, **top}
    path.write_text(json.dumps(content))


def wanted(hole=True):
    want = np.zeros((20, 30), int)
    want[2:12, 4:14] = 1
    if hole:
        want[4:8, 6:10] = 0
    return want


CLOSED = [[*RING, RING[0]], [*HOLE, HOLE[0]]]


@pytest.mark.parametrize("options", [{}, {"is_point": True}, {"matrix": True}])
@pytest.mark.parametrize("name", ["a.geojson", "labels.json"])
def test_the_images_own_transform(source, out, converted, options, name):
    geotiff(source / "a.tif", **options)
    geojson(source / name, [("Polygon", CLOSED, {"class": "roof"})], crs=UTM)
    made = converted()
    assert made.format == "geojson"
    assert made.class_names == ("background", "roof")
    np.testing.assert_array_equal(mask_of(out), wanted())
    assert (out / "images/train/a.png").is_file()  # As training reads it.


def test_several_polygons(source, out, converted):
    geotiff(source / "a.tif")
    far = (np.array(RING) + [24, 0]).tolist()
    geojson(source / "a.geojson", [("MultiPolygon", [CLOSED, [far]], {"class": "roof"})], crs=UTM)
    converted()
    want = wanted()
    want[2:12, 16:26] = 1
    np.testing.assert_array_equal(mask_of(out), want)


@pytest.mark.parametrize(
    ("crs", "found"),
    [
        (
            {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::25832"}},
            "EPSG:25832, but .*a.tif is in EPSG:32631",
        ),
        (
            {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
            "EPSG:4326, but .*a.tif is in EPSG:32631",
        ),
        (None, r"EPSG:4326 \(the default of GeoJSON.*EPSG:32631"),
    ],
)
def test_another_coordinate_system_is_refused(source, converted, crs, found):
    geotiff(source / "a.tif")
    ring = [[3.0, 36.1], [3.1, 36.1], [3.1, 36.0]]
    geojson(
        source / "a.geojson", [("Polygon", [ring], {"class": "x"})], **({"crs": crs} if crs else {})
    )
    with pytest.raises(DataError, match=found):
        converted()


def test_coordinates_that_are_no_degrees_are_those_of_the_image(source, out, converted):
    geotiff(source / "a.tif")
    geojson(source / "a.geojson", [("Polygon", CLOSED, {"class": "roof"})])
    assert "states no coordinate system" in converted().notes[0]
    np.testing.assert_array_equal(mask_of(out), wanted())


def test_the_attribute_must_be_chosen_among_several(source, converted):
    geotiff(source / "a.tif")
    geojson(source / "a.geojson", [("Polygon", CLOSED, {"use": "roof", "city": "B"})], crs=UTM)
    with pytest.raises(DataError, match="'use', 'city'. Choose one with --attribute"):
        converted()
    assert converted(attribute="use").class_names == ("background", "roof")
    with pytest.raises(DataError, match="no such property; it has 'city', 'use'"):
        converted(attribute="kind")


def qupath(name, color=(200, 0, 0)):
    return {"objectType": "annotation", "classification": {"name": name, "color": [*color]}}


PIXELS = [[4, 2], [14, 2], [14, 12], [4, 12], [4, 2]]


@pytest.mark.parametrize("is_bare", [False, True])
def test_qupaths_pixels(source, out, converted, is_bare):
    picture(source / "a.png")
    features = [("Polygon", [PIXELS], qupath("Tumor")), ("Polygon", [PIXELS], {"isLocked": True})]
    geojson(source / "a.geojson", features)
    if is_bare:
        content = json.loads((source / "a.geojson").read_text())["features"]
        (source / "a.geojson").write_text(json.dumps(content))
    made = converted()
    assert made.class_names == ("background", "Tumor")
    assert made.left_out == {"shape without a class": 1}
    assert "colour: [200, 0, 0]" in (out / "data.yaml").read_text()
    np.testing.assert_array_equal(mask_of(out), wanted(hole=False))


def test_qupaths_ignore_is_void(source, out, converted):
    picture(source / "a.png")
    far = [[x + 12, y] for x, y in PIXELS]
    features = [("Polygon", [PIXELS], qupath("Tumor")), ("Polygon", [far], qupath("Ignore*"))]
    geojson(source / "a.geojson", features)
    assert converted().class_names == ("background", "Tumor")
    assert mask_of(out)[5, 5] == 1 and mask_of(out)[5, 20] == 255


def test_qupaths_server_names_the_image(source, out, converted):
    picture(source / "images/slide 1.png")
    picture(source / "images/slide 2.png")
    (source / "data/1").mkdir(parents=True)
    server = {"uri": "file:/C:/me/slide%201.png", "metadata": {"name": "slide 1.png"}}
    (source / "data/1/server.json").write_text(json.dumps(server))
    geojson(source / "data/1/annotations.geojson", [("Polygon", [PIXELS], qupath("Tumor"))])
    converted()
    np.testing.assert_array_equal(mask_of(out, "images/slide 1"), wanted(hole=False))


@pytest.mark.parametrize("points", [[["a", 1]], "x", [[1]], None, [[1, 2], 3]])
def test_broken_geometries_are_named(source, converted, points):
    picture(source / "a.png")
    geojson(source / "a.geojson", [("Polygon", [points], qupath("Tumor"))])
    with pytest.raises(DataError, match=r"a.geojson: feature 0 \('Tumor'\)"):
        converted()


def test_geometries_without_an_area_are_counted(source, converted):
    picture(source / "a.png")
    features = [
        ("Polygon", [PIXELS], qupath("Tumor")),
        ("Point", [1, 2], qupath("Tumor")),
        ("LineString", PIXELS, qupath("Tumor")),
        ("Curve", PIXELS, qupath("Tumor")),
    ]
    geojson(source / "a.geojson", features)
    made = converted()
    assert made.left_out["geometry of the type 'Curve'"] == 1
    assert sum(made.left_out.values()) == 3
