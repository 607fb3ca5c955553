"""Label Studio's exports."""

import importlib.util
import json

import numpy as np
import pytest
from exports import mask_of, picture, png_text
from label_studio_exports import SIZE, TRIANGLE, annotation, encoded, export, result, task
from reference_masks import differences, with_blank_images

import pipelines
from pipelines import DataError
from pipelines.annotations.conversion import convert
from pipelines.annotations.readers import label_studio_rle

BRUSH = np.random.default_rng(0).integers(0, 2, SIZE).astype(bool)
BRUSH[3], BRUSH[4] = True, False


@pytest.fixture(scope="module")
def brush():
    """label_studio_sdk's module for brushes, without its heavy requirements."""
    package = importlib.util.find_spec("label_studio_sdk")
    if package is None:
        pytest.skip("label-studio-sdk is not installed")
    path = f"{package.submodule_search_locations[0]}/converter/brush.py"
    spec = importlib.util.spec_from_file_location("brush", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_brushes_are_alpha(source, out, converted):
    value = {"format": "rle", "rle": encoded(BRUSH)}
    export(source, task(annotation(result("brushlabels", value))))
    converted()
    np.testing.assert_array_equal(mask_of(out), BRUSH)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 400)])
def test_brushes_are_those_of_label_studio(brush, shape):
    rng = np.random.default_rng(1)
    mask = np.repeat(rng.integers(0, 2, (shape[0], -(-shape[1] // 4))), 4, axis=1)[:, : shape[1]]
    values = np.dstack([rng.integers(0, 255, shape)] * 3 + [mask * 255])
    rle = brush.encode_rle(values.ravel().astype(int))
    want = brush.decode_rle(rle).reshape(*shape, 4)[..., 3] > 0
    np.testing.assert_array_equal(label_studio_rle.decode(rle, shape), want)
    np.testing.assert_array_equal(want, mask > 0)
    np.testing.assert_array_equal(brush.decode_rle(encoded(mask))[3::4] > 0, mask.ravel() > 0)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], "ends too early"),
        ([1, 2, 3], "ends too early"),
        (encoded(BRUSH)[:-30], "ends too early"),
        (encoded(BRUSH[:10]), "for 2,000 values, but 20 x 50 pixels .* have 4,000"),
        ([255] * 40, "for 4,294,967,295 values"),
        ([*encoded(BRUSH)[:6], *[255] * 40], "more values than 4,000"),
        ([300], "from 0 to 255"),
        (["a"], "from 0 to 255"),
        ("abc", "must be a list"),
    ],
)
def test_damaged_brushes(source, converted, rle, message):
    export(source, task(annotation(result("brushlabels", {"rle": rle}))))
    with pytest.raises(DataError, match=rf"export.json: task 1: result 'r': its .*{message}"):
        converted()


def test_bitmasks(source, out, converted):
    url = "data:image/png;base64," + png_text(BRUSH.astype("uint8") * 255)
    export(source, task(annotation(result("bitmasklabels", {"imageDataURL": url}))))
    converted()
    np.testing.assert_array_equal(mask_of(out), BRUSH)


def test_percent_are_of_each_side(source, out, converted):
    export(source, task(annotation(result("polygonlabels", {"points": TRIANGLE}))))
    converted()
    rows, columns = np.nonzero(mask_of(out))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 16, 5, 25)


@pytest.mark.parametrize(
    ("angle", "rows", "columns"), [(0, (5, 15), (10, 40)), (90, (-5, 25), (20, 30))]
)
def test_ellipses_turn_about_their_centre(source, out, converted, angle, rows, columns):
    value = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 25, "rotation": angle}
    export(source, task(annotation(result("ellipselabels", value))))
    converted()
    y, x = np.nonzero(mask_of(out))
    assert abs(x.min() - columns[0]) <= 1 and abs(x.max() - columns[1]) <= 1
    assert abs(y.min() - max(rows[0], 0)) <= 1 and abs(y.max() - min(rows[1], 19)) <= 1


def test_boxes_turn_about_their_corner(source, out, converted):
    # 10 x 5 pixels at (25, 10), turned clockwise by 90 degrees: columns 20 to 25, rows 10 to 20.
    value = {"x": 50, "y": 50, "width": 20, "height": 25, "rotation": 90}
    export(source, task(annotation(result("rectanglelabels", value))))
    with pytest.raises(DataError, match=r"only boxes .1.* --boxes mask"):
        converted()
    converted(boxes="mask")
    y, x = np.nonzero(mask_of(out))
    assert (y.min(), y.max(), x.min(), x.max()) == (10, 19, 20, 25)


def test_labels_may_be_in_another_result(source, converted):
    region = {"points": TRIANGLE}
    export(
        source,
        task(
            annotation(
                result("polygon", region, labels=()),
                result("labels", region, ["cat", "dog"]),
                result("choices", {"choices": ["good"]}, labels=(), id="c"),
                result("polygon", region, labels=(), id="other"),
            )
        ),
    )
    made = converted()
    assert made.class_names == ("background", "cat")
    assert made.left_out == {"result of the type 'choices'": 1, "region without a label": 1}
    assert any("1 regions have several labels" in note for note in made.notes)


CONFIG = """<View><Image name="image" value="$photo"/>
<PolygonLabels name="label" toName="image"><View><Label value="Cat" alias="cat" background="red"/>
</View><Label value="dog" background="#00ff00"/></PolygonLabels>
<KeyPointLabels name="k" toName="image"><Label value="nose"/></KeyPointLabels></View>"""


def test_the_label_config_gives_order_and_colours(source, out, converted):
    polygon = result("polygonlabels", {"points": TRIANGLE}, ["dog"])
    point = result("keypointlabels", {"x": 5, "y": 5, "width": 1}, ["nose"])
    entry = task(annotation(polygon, point), data={"other": "/x/b.png", "photo": "/x/a.png"})
    export(source, entry)
    assert converted().class_names == ("background", "dog")
    (source / "config.xml").write_text(CONFIG)
    made = converted()
    assert made.class_names == ("background", "cat", "dog")
    assert made.left_out == {"keypoint of the class 'nose', which has no areas": 1}
    split = pipelines.read(out / "data.yaml", "train")
    assert split.palette[1:3].tolist() == [[255, 0, 0], [0, 255, 0]]
    bomb = '<!DOCTYPE a [<!ENTITY b "b">]>' + CONFIG
    (source / "config.xml").write_text(bomb)
    assert converted().class_names == ("background", "dog")


@pytest.mark.parametrize(
    ("image", "given"),
    [
        ("a.png", "/data/upload/1/ab12cd34-a.png"),
        ("a b(1).png", "/data/upload/1/ab12cd34-a_b1.png"),  # Django renames uploads.
        ("ab12cd34-a.png", "/data/upload/1/ab12cd34-a.png"),
        ("sub/a b.png", "/data/local-files/?d=sub%2Fa%20b.png"),
        ("a.png", "/data/local-files/?d=C%3A%5Cimages%5Ca.png"),
        ("a.png", "s3://bucket/x/a.png"),
        ("a.png", "gs://bucket/x/a.png"),
        ("a.png", "https://example.org/x/a.png?token=b.png"),
        ("a.png", "/tasks/1/presign/?fileuri=czM6Ly9idWNrZXQvYS5wbmc"),
        ("a%20b.png", "a%20b.png"),
        ("a b.png", "a%20b.png"),
        ("a.png", "../../../a.png"),
        ("images/a.png", "C:\\images\\a.png"),
    ],
)
def test_images_are_found(source, out, converted, image, given):
    region = result("polygonlabels", {"points": TRIANGLE})
    export(source, task(annotation(region), image=given), image=image)
    converted()
    (example,) = pipelines.read(out / "data.yaml", "train").examples
    assert example.image.samefile(source / image)


def test_the_uploaded_name_counts_too(source, converted):
    region = result("polygonlabels", {"points": TRIANGLE})
    export(source, task(annotation(region), image="/image2", file_upload="ab12cd34-a.png"))
    assert converted().images == {"train": 1}
    export(source, task(annotation(region), image="/data/upload/1/ab12cd34-c.png"))
    with pytest.raises(DataError, match=r"names the image '/data/upload/1/ab12cd34-c.png'"):
        converted()


def people(source):
    first = annotation(result("polygonlabels", {"points": TRIANGLE}), by=1)
    second = annotation(by={"id": 2, "email": "ann@example.org"})
    export(source, task(first, second), task(first, id=2, image="b.png"))
    picture(source / "b.png", SIZE)


def test_several_annotators(source, converted):
    people(source)
    with pytest.raises(
        DataError,
        match=r"1 tasks have several annotations; .* task 1. .*--annotator: 1 with 2, "
        r"2 \(ann@example.org\) with 1",
    ):
        converted()
    with pytest.raises(DataError, match=r"--annotator bob: nobody"):
        converted(annotator="bob")
    assert converted(annotator="1").images == {"train": 2}


@pytest.mark.parametrize("name", ["2", "Ann@example.org"])
def test_an_annotator_is_an_id_or_an_email(source, converted, name):
    people(source)
    content = json.loads((source / "export.json").read_text())
    region = result("brushlabels", {"rle": encoded(BRUSH)})
    content[0]["annotations"][1]["result"] = [region]
    (source / "export.json").write_text(json.dumps(content))
    made = converted(annotator=name)
    assert made.images == {"train": 1} and made.pixels["cat"] == BRUSH.sum()
    assert "left out 1 tasks by other people" in made.notes


def test_the_ground_truth_counts(source, converted):
    truth = annotation(result("polygonlabels", {"points": TRIANGLE}), ground_truth=True)
    export(source, task(truth, annotation()))
    assert converted().pixels["cat"]
    export(source, task(annotation(truth["result"][0]), annotation()))
    with pytest.raises(DataError, match="task 1 has 2 annotations by 1"):
        converted(annotator="1")


def test_cancelled_missing_and_predicted_annotations(source, converted):
    region = result("polygonlabels", {"points": TRIANGLE})
    cancelled = {**annotation(region), "was_cancelled": True}
    predicted = [{"result": [region], "model_version": "x"}]
    export(
        source,
        task(annotation(region), cancelled),
        task(cancelled, id=2),
        task(id=3, predictions=predicted),
    )
    made = converted()
    assert made.images == {"train": 1}
    assert {
        "left out 1 tasks that were cancelled",
        "left out 1 tasks without annotations",
        "ignored the predictions of models for 1 tasks",
    } <= set(made.notes)


def test_json_min(source, out, converted):
    value = {"points": TRIANGLE, "polygonlabels": ["cat"]}
    value |= {"original_width": SIZE[1], "original_height": SIZE[0]}
    entry = {"image": "/x/a.png", "id": 1, "label": [value], "annotator": 7, "annotation_id": 9}
    export(source, {**entry, "lead_time": 2.5})
    converted()
    first = mask_of(out).copy()
    region = result("polygonlabels", {"points": TRIANGLE})
    export(source, task(annotation(region)))
    converted()
    np.testing.assert_array_equal(mask_of(out), first)
    export(source, entry, {**entry, "annotator": 8, "lead_time": 1})
    with pytest.raises(DataError, match="--annotator: 7 with 1, 8 with 1"):
        converted()


def test_what_is_in_cloud_storage(source, converted):
    one = annotation(result("polygonlabels", {"points": TRIANGLE}))
    picture(source / "a.png", SIZE)
    entry = {**one, "id": 5, "task": {"id": 1, "data": {"image": "s3://b/a.png"}}}
    (source / "5").with_suffix(".json").write_text(json.dumps(entry))
    assert converted().images == {"train": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"original_width": None}, "original_width None must be whole numbers"),
        ({"original_width": 51}, r"20 x 51 .*, but the image is 20 x 50"),
        ({"original_width": 1e9}, "must be whole numbers"),
        ({"value": {"polygonlabels": ["cat"], "points": [[1]]}}, "list of .x, y."),
        ({"value": 3}, "not an object with a `value`"),
    ],
)
def test_wrong_results(source, converted, change, message):
    region = {**result("polygonlabels", {"points": TRIANGLE}), **change}
    export(source, task(annotation(region)))
    with pytest.raises(DataError, match=rf"export.json: task 1.*{message}"):
        converted()


def test_turned_views_are_told(source, converted):
    region = result("polygonlabels", {"points": TRIANGLE}, image_rotation=90)
    export(source, task(annotation(region)))
    assert any(
        "1 regions were drawn while the image was shown turned" in n for n in converted().notes
    )


@pytest.mark.parametrize(
    ("folder", "image"),
    [("test_export_yolo", "000000000025.jpg"), ("test_export_coco", "test_image1.jpg")],
)
def test_masks_of_samples(samples, tmp_path, out, folder, image):
    # The reference rounds points and fills with OpenCV, which is the rule for this format.
    sample = samples / "labelstudio/HumanSignal+label-studio-sdk"
    images = with_blank_images(
        sample, sample / "tests/custom/converter/data" / folder, tmp_path / "copy", "{}.jpg"
    )
    name = "data_polygons__task68501" if "yolo" in folder else "data__task175210175"
    images[name].rename(tmp_path / "copy" / image)
    convert(tmp_path / "copy", out)
    assert differences(sample, out, {name: tmp_path / "copy" / image}) == {name: 0}
