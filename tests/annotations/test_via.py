"""VIA's projects and exports."""

import base64
import csv
import json
import math

import numpy as np
import pytest
from exports import SQUARE, labelme, mask_of, picture
from tool_exports import via, via_polygon

import pipelines
from pipelines import DataError
from pipelines.annotations import drawing
from pipelines.examples import read_example

CORNERS = list(zip(*[iter(SQUARE)] * 2, strict=True))
CAT = via_polygon(CORNERS, kind="cat")
DOG = via_polygon([(20, 2), (24, 2), (24, 6)], kind="dog")


def region(name, kind="cat", **shape):
    return {"name": name, **shape}, {"kind": kind}


@pytest.mark.parametrize("project", [None, {}])
@pytest.mark.parametrize("regions", [dict, list])
def test_regions_as_object_or_list_in_an_export_or_project(
    source, out, converted, project, regions
):
    via(source, {"a.png": [CAT, DOG], "b.png": []}, project=project, regions=regions)
    made = converted()
    assert (made.format, made.class_names) == ("via", ("background", "cat", "dog"))
    mask = mask_of(out)
    # The outline belongs to a polygon: columns 4..14, rows 2..12.
    assert (mask[2:13, 4:15] == 1).all() and np.count_nonzero(mask == 1) == 121
    assert not mask_of(out, "b").any() and not made.left_out


def write_csv(path, rows, mark=""):
    header = [f"{mark}filename", "file_size", "file_attributes", "region_count", "region_id"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "region_shape_attributes", "region_attributes"])
        for name, number, pair in rows:
            pair = [json.dumps(one) for one in pair]
            writer.writerow([name, path.with_name(name).stat().st_size, "{}", 2, number, *pair])


@pytest.mark.parametrize("mark", ["", "#"])
def test_csv_exports(source, out, converted, mark):
    for name in ("a.png", "b, c.png"):
        picture(source / name)
    rows = [("a.png", 0, CAT), ("a.png", 1, DOG), ("b, c.png", 0, ({}, {}))]
    write_csv(source / "via_region_data.csv", rows, mark)
    assert converted().class_names == ("background", "cat", "dog")
    assert np.count_nonzero(mask_of(out) == 1) == 121 and not mask_of(out, "b, c").any()
    (source / "via_region_data.csv").write_text(
        (source / "via_region_data.csv").read_text().replace('"cat""', '"cat')
    )
    with pytest.raises(DataError, match=r"via_region_data.csv: not readable as CSV"):
        converted()


def test_a_project_beside_its_exports_is_read_once(source, converted):
    images = {"a.png": [via_polygon(CORNERS, kind="1")]}
    via(source, images, name="project.json", project={"kind": {"options": {"1": "cat"}}})
    via(source, images)
    write_csv(source / "export.csv", [("a.png", 0, images["a.png"][0])])
    made = converted()
    assert made.class_names == ("background", "cat") and made.images == {"train": 1}
    assert sum("another file has the same" in note for note in made.notes) == 2
    via(source, {"a.png": [DOG]})
    with pytest.raises(DataError, match="annotates too"):
        converted()


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (region("rect", x=4, y=2, width=10, height=8), 80),
        (region("rect", x=4.4, y=2.4, width=10, height=8), 80),
        (region("circle", cx=15, cy=10, r=7), math.pi * 49),
        (region("ellipse", cx=15, cy=10, rx=9, ry=5), math.pi * 45),
        (region("ellipse", cx=15, cy=10, rx=9, ry=3, theta=math.pi / 2), math.pi * 27),
    ],
)
def test_areas(source, converted, shape, area):
    via(source, {"a.png": [shape]})
    assert converted().pixels["cat"] == pytest.approx(area, rel=0.15)


def test_theta_is_in_radians_and_clockwise(source, out, converted):
    shape = region("ellipse", cx=50, cy=40, rx=30, ry=5, theta=math.radians(30))
    via(source, {"a.png": [shape]}, size=(80, 100))
    converted()
    mask = mask_of(out)
    assert mask[40 + 12, 50 + 21] and not mask[40 - 12, 50 + 21]


def test_rectangles_are_areas_unless_boxes_are_skipped(source, converted):
    via(source, {"a.png": [CAT, region("rect", "dog", x=20, y=2, width=4, height=3)]})
    made = converted()
    assert made.pixels["dog"] == 12 and any("--boxes skip" in note for note in made.notes)
    assert converted(boxes="skip").pixels["dog"] == 0


def test_lines_and_points_need_a_width(source, converted):
    line = region("polyline", "dog", all_points_x=[5, 25], all_points_y=[16, 16])
    via(source, {"a.png": [CAT, line, region("point", cx=3, cy=3), region("arrow")]})
    assert converted().left_out == {drawing.NO_WIDTH: 2, "region of the shape 'arrow'": 1}
    assert converted(lines=2).pixels["dog"] == pytest.approx(40, abs=4)


def test_several_attributes_need_a_choice(source, converted):
    pairs = [(CAT[0], {"kind": "cat", "quality": "good"}), (CAT[0], {"kind": "dog", "empty": ""})]
    via(source, {"a.png": pairs})
    message = r"'kind' \(regions: 2\), 'quality' \(regions: 1\).*--attribute \"kind\""
    with pytest.raises(DataError, match=message):
        converted()
    assert converted(attribute="kind").class_names == ("background", "cat", "dog")
    made = converted(attribute="quality")
    assert made.class_names == ("background", "good")
    assert made.left_out == {"region with no value for 'quality'": 1}
    with pytest.raises(DataError, match=r"--attribute empty: no region .*'kind' \(regions: 2\)"):
        converted(attribute="empty")


def test_no_attribute_is_one_class(source, converted):
    via(source, {"a.png": [(CAT[0], {}), (CAT[0], {"name": ""})]})
    made = converted()
    assert made.class_names == ("background", "object") and not made.left_out
    assert any("no region has an attribute" in note for note in made.notes)
    with pytest.raises(DataError, match="--attribute name: .*No region has an attribute"):
        converted(attribute="name")


@pytest.mark.parametrize(
    ("value", "names", "reason"),
    [
        ({"cat": True}, ("cat",), None),
        ({"cat": True, "dog": False}, ("cat",), None),
        ({"cat": True, "dog": True}, (), "several values"),
        ({}, (), "no value"),
        ("", (), "no value"),
        (None, (), "no value"),
        (7, ("7",), None),
        (["cat"], ("cat",), None),
    ],
)
def test_values_of_all_kinds(source, converted, value, names, reason):
    via(source, {"a.png": [via_polygon(CORNERS, kind="zebra"), via_polygon(CORNERS, kind=value)]})
    made = converted()
    assert made.class_names == ("background", *names, "zebra")
    assert made.left_out == ({f"region with {reason} for 'kind'": 1} if reason else {})


def test_options_of_a_project_name_and_order_the_classes(source, converted):
    images = {"a.png": [via_polygon(CORNERS, kind="2"), via_polygon(CORNERS, kind="ant")]}
    for options, names in (
        ({"1": "dog", "2": "cat"}, ("dog", "cat", "ant")),
        ({"1": "", "2": ""}, ("1", "2", "ant")),
        ({"1": "animal", "2": "animal"}, ("1", "2", "ant")),  # Would be one class.
    ):
        via(source, images, project={"kind": {"type": "radio", "options": options}})
        assert converted().class_names == ("background", *names)


def test_rare_names_are_told_and_not_joined(source, converted):
    names = ["cell"] * 40 + ["cel", "cell 1", "rock"]
    via(source, {"a.png": [via_polygon(CORNERS, kind=name) for name in names]})
    made = converted()
    assert made.class_names == ("background", "cel", "cell", "cell 1", "rock")
    (note,) = [note for note in made.notes if "rare" in note and "'cel'" in note]
    assert '--merge "cel=cell"' in note and not any("rock" in note for note in made.notes)
    via(source, {"a.png": [via_polygon(CORNERS, kind=name) for name in ("cell", "Cell ")]})
    with pytest.raises(DataError, match="differ only by case or spaces"):
        converted()


def test_what_is_outside_is_clipped(source, out, converted):
    via(source, {"a.png": [via_polygon([(-50, -50), (4, -50), (4, 90), (-50, 90)], kind="cat")]})
    converted()
    assert (mask_of(out)[:, :5] == 1).all() and not mask_of(out)[:, 5:].any()


@pytest.mark.parametrize(
    "name",
    ["a.PNG", "images/a.png", "http://x.org/y/a.png?z=1", "C:\\me\\a.png", "../../../etc/a.png"],
)
def test_images_are_found(source, out, converted, name):
    picture(source / "a.png")
    via(source, {"b.png": [CAT]})
    file = source / "via_export_json.json"
    file.write_text(
        file.read_text().replace('"filename": "b.png"', f'"filename": {json.dumps(name)}')
    )
    (source / "b.png").unlink()
    assert converted().images == {"train": 1}
    (example,) = pipelines.read(out / "data.yaml", "train").examples
    assert example.image == source / "a.png"


def test_the_image_inside_a_file_is_used_if_there_is_no_other(source, out, converted):
    via(source, {"a.png": [CAT]})
    file = source / "via_export_json.json"
    content = json.loads(file.read_text())
    (entry,) = content.values()
    data = base64.b64encode((source / "a.png").read_bytes()).decode()
    entry["base64_img_data"] = f"data:image/png;base64,{data}"
    (source / "a.png").unlink()
    file.write_text(json.dumps(content))
    converted()
    image, mask = read_example(pipelines.read(out / "data.yaml", "train"), 0)
    assert image.shape == (20, 30, 3) and mask[5, 5] == 1
    entry["base64_img_data"] = "#"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="base64_img_data of 'a.png': is not base64"):
        converted()


def test_another_file_size_is_told(source, converted):
    via(source, {"a.png": [CAT]})
    assert not any("file size" in note for note in converted().notes)
    picture(source / "a.png", (40, 60))
    assert any("file size" in note and "a.png" in note for note in converted().notes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1]}, "lists of one length"),
        ({"name": "polygon", "all_points_x": [1, "2"], "all_points_y": [1, 2]}, "found '2'"),
        ({"name": "polygon"}, "all_points_x None"),
        ({"name": "rect", "x": 1, "y": 2, "width": None, "height": 3}, "its width must be a num"),
        ({"name": "circle", "cx": 1, "cy": 2}, "its r must be a number, found None"),
        ({"name": "ellipse", "cx": 1, "cy": 2, "rx": 10**400, "ry": 3}, "too large"),
    ],
)
def test_wrong_shapes_name_image_and_region(source, converted, shape, message):
    via(source, {"a.png": [CAT, (shape, {"kind": "cat"})]})
    with pytest.raises(DataError, match=rf"image 'a.png': region 1 \({shape['name']}.*{message}"):
        converted()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"filename": "a.png"', '"filename": ""', "no `filename`"),
        ('"regions": [', '"regions": [3, ', "must be objects"),
        ("[4, ", "[NaN, ", "NaN is not a number"),
        ("}}", "}", "not readable as JSON"),
        ('"size"', '"filename"', "'filename' appears twice"),
    ],
)
def test_wrong_files(source, converted, old, new, message):
    via(source, {"a.png": [CAT]})
    file = source / "via_export_json.json"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DataError, match=f"via_export_json.json: .*{message}"):
        converted()


def test_other_files_are_none_of_via(source, converted):
    labelme(source, [("cat", "polygon", CORNERS)])
    (source / "table.csv").write_text("filename,width\na.png,30\n")
    assert converted().format == "labelme"
