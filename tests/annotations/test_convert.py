"""What `convert` writes, refuses and says."""

import json
import os

import numpy as np
import pytest
import yaml
from exports import SQUARE, coco, labelme, mask_of, picture, record_of
from PIL import Image

import pipelines
from pipelines import DataError
from pipelines.annotations import output
from pipelines.examples import read_example

POLYGON = {"segmentation": [SQUARE]}


def named(*names):
    return [{"id": n, "file_name": name, "height": 20, "width": 30} for n, name in enumerate(names)]


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_package_has_it_by_name(source, out):
    coco(source, [POLYGON])
    assert pipelines.annotations.convert(source, out).images == {"train": 1}


def test_what_is_written_can_be_read(source, out, converted):
    images = named("a.png", "sub folder/b.png", "c.jpg")
    coco(source, [{**POLYGON, "image_id": n} for n in range(3)], images=images)
    before = files_of(source)
    converted()
    assert files_of(source) == before
    for split in ("train", "val"):  # A share of the images.
        examples = pipelines.read(out / "data.yaml", split)
        assert len(examples)
        for index in range(len(examples)):
            image, mask = read_example(examples, index)
            assert image.shape[:2] == mask.shape == (20, 30)
            assert np.count_nonzero(mask) == 100
    record = record_of(out)
    assert [one["mask"] for one in record["images"]] == [
        f"masks/train/{name}.png" for name in ("a", "sub folder/b", "c")
    ]
    assert record["images"][0]["pixels"] == {"background": 500, "cat": 100}
    assert record["pixels"] == {"background": 1500, "cat": 300}
    assert record["classes"] == ["background", "cat", "dog"] and record["format"] == "coco"


def test_painted_over_pixels_and_what_is_left_out_are_recorded(source, out, converted):
    coco(source, [POLYGON, {**POLYGON, "category_id": 9}, {"segmentation": [[1, 2, 3, 4]]}])
    converted()
    (image,) = record_of(out)["images"]
    assert image["pixels_painted_over"] == 100
    assert image["left_out"] == {"polygon with fewer than 3 points": 1}


@pytest.mark.parametrize("turn", range(1, 9))
def test_masks_fit_the_upright_image(source, out, converted, turn):
    # The tool saw the upright picture, whose first row and column are marked.
    stored = (30, 20) if turn >= 5 else (20, 30)
    picture(source / "a.jpg", stored, exif=turn)
    image = pipelines.read_image(source / "a.jpg")
    assert image.shape == (20, 30, 3)
    size = {"height": 20, "width": 30}
    ring = [0, 0, 5, 0, 5, 20, 0, 20]
    coco(source, [{"segmentation": [ring]}], images=[{"id": 1, "file_name": "a.jpg", **size}])
    converted()
    read, mask = read_example(pipelines.read(out / "data.yaml", "train"), 0)
    np.testing.assert_array_equal(read, image)
    assert (mask[:, :5] == 1).all() and not mask[:, 5:].any()


def test_annotations_of_the_stored_pixels_are_a_fault(source, converted):
    picture(source / "a.jpg", (30, 20), exif=6)
    coco(source, [POLYGON], images=[{"id": 1, "file_name": "a.jpg", "height": 30, "width": 20}])
    with pytest.raises(
        DataError, match=r"30 x 20 .*, but the image is 20 x 30. .*EXIF orientation"
    ):
        converted()


def test_all_faults_are_named_at_once(source, out, converted):
    names = (
        "good.png",
        "missing.png",
        "pointer.png",
        "cut.jpg",
        "small.png",
        "html.png",
        "rle.png",
    )
    for name in names:
        picture(source / name)
    coco(source, [{**POLYGON, "image_id": n} for n in range(6)], images=named(*names))
    content = json.loads((source / "instances.json").read_text())
    content["annotations"].append(
        {
            "id": 99,
            "image_id": 6,
            "category_id": 5,
            "segmentation": {"size": [20, 30], "counts": [1]},
        }
    )
    (source / "instances.json").write_text(json.dumps(content))
    (source / "missing.png").unlink()
    (source / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    (source / "cut.jpg").write_bytes((source / "cut.jpg").read_bytes()[:-100])
    picture(source / "small.png", (10, 15))
    (source / "html.png").write_text("<html>")
    with pytest.raises(DataError) as error:
        converted()
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    for name, line in zip(names[1:], lines, strict=True):
        assert name in line
    for text in ("no such file", "git lfs pull", "10 x 15", "annotation 99"):
        assert text in str(error.value)
    assert not out.exists() and not list(out.parent.glob(".*"))
    made = converted(on_bad_file="skip")
    assert made.images == {"train": 1} and len(made.skipped) == 6
    assert record_of(out)["skipped"] == [str(fault) for fault in made.skipped]
    assert [path.name for path in (out / "masks/train").iterdir()] == ["good.png"]


def test_no_image_at_all_is_one_fault(source, tmp_path, converted):
    coco(source, [{**POLYGON, "image_id": n} for n in (0, 1)], images=named("a.png", "b.png"))
    (tmp_path / "elsewhere").mkdir()
    for name in ("a.png", "b.png"):
        (source / name).rename(tmp_path / "elsewhere" / name)
    with pytest.raises(
        DataError, match="none of the 2 images .* first is 'a.png'.*--images FOLDER"
    ):
        converted()
    assert converted(images=tmp_path / "elsewhere").images == {"train": 2}


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/secret.png", "..\\..\\secret.png"])
def test_names_do_not_lead_out(source, out, converted, name):
    picture(source.parent.parent / "secret.png")
    coco(source, [POLYGON], images=[{"id": 1, "file_name": name, "height": 20, "width": 30}])
    with pytest.raises(DataError, match="has no such file"):
        converted()
    picture(source / "x/secret.png")
    converted()
    assert (out / "masks/train/secret.png").exists()


def test_links_do_not_lead_out(source, tmp_path, converted):
    picture(tmp_path / "real/a.png")
    (source / "a.png").symlink_to(tmp_path / "real/a.png")
    coco(source, [POLYGON])
    with pytest.raises(DataError, match="a link that leads out .*--images FOLDER"):
        converted()
    assert converted(images=tmp_path / "real").images == {"train": 1}


def test_images_with_the_same_name(source, out, converted):
    images = named("a.png", "a.jpg", "A.png", "sub/a.png")
    coco(source, [{**POLYGON, "image_id": n} for n in range(4)], images=images)
    converted()
    assert {str(p.relative_to(out / "masks/train")) for p in out.rglob("masks/train/**/*.png")} == {
        "a.png",
        "a.jpg.png",
        "A.png.png",  # Some disks do not tell cases apart.
        "sub/a.png",
    }
    examples = pipelines.read(out / "data.yaml", "train"), pipelines.read(out / "data.yaml", "val")
    pairs = [(str(e.image), str(e.mask)) for split in examples for e in split.examples]
    assert (str(source / "a.jpg"), str(out / "masks/train/a.jpg.png")) in pairs


def test_an_image_annotated_twice(source, converted):
    labelme(source, [("a", "point", [[5, 5]])], name="1.json")
    labelme(source, [("a", "point", [[5, 5]])], name="2.json")
    with pytest.raises(DataError, match=r"2.json: annotates .*a.png, which .*1.json annotates too"):
        converted()


def test_several_files_fit(source, converted):
    for folder in ("x", "y"):
        picture(source / folder / "a.png")
    coco(source, [POLYGON], name="z/instances.json")
    (source / "z/a.png").unlink()
    with pytest.raises(DataError, match=r"several files fit: x/a.png, y/a.png.*--images"):
        converted()


@pytest.mark.parametrize("name", ["a\tb.png", "a\nb.png", " a.png"])
def test_names_that_a_list_cannot_hold(source, converted, name):
    coco(source, [POLYGON], images=[{"id": 1, "file_name": name, "height": 20, "width": 30}])
    with pytest.raises(DataError, match="control characters, or spaces around it. Rename"):
        converted()


def test_classes_can_be_merged_and_chosen(source, out, converted):
    other = {"segmentation": [[20, 2, 24, 2, 24, 6, 20, 6]], "category_id": 9}
    coco(source, [POLYGON, other])
    assert converted(merge="cat,dog=pet").class_names == ("background", "pet")
    assert np.count_nonzero(mask_of(out) == 1) == 116
    assert converted(keep=["dog"]).class_names == ("background", "dog")
    assert np.count_nonzero(mask_of(out)) == 16
    assert converted(merge="cat=lion;dog=wolf").class_names == ("background", "lion", "wolf")
    for options, message in (
        ({"keep": ["cow"]}, "--keep: .* has no class 'cow'; it has 'cat', 'dog'"),
        ({"merge": "cow=x"}, "--merge: .* has no class 'cow'"),
        ({"merge": "cow"}, 'must be like "crack,spall=damage"'),
        ({"format": "koko"}, "must be auto or one of .*coco, .*labelme"),
    ):
        with pytest.raises(DataError, match=message):
            converted(**options)


@pytest.mark.parametrize("other", ["Cat", "cat ", "c at", "CAT"])
def test_similar_class_names_are_a_fault(source, converted, other):
    labelme(source, [("cat", "point", [[5, 5]]), (other, "point", [[15, 5]])])
    with pytest.raises(DataError, match="differ only by case or spaces") as error:
        converted()
    rule = str(error.value).partition('--merge "')[2].partition('"')[0]
    assert len(converted(merge=rule).class_names) == 2


@pytest.mark.parametrize("name", ["background", "_background_", "Background"])
def test_a_background_class_is_the_background(source, out, converted, name):
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": name}]
    annotations = [{**POLYGON, "category_id": n} for n in (1, 2)]
    coco(source, annotations, categories=categories)
    assert converted(overlap="file").class_names == ("background", "cat")
    assert not mask_of(out).any()


def test_an_existing_output_is_kept(source, out, tmp_path, converted):
    coco(source, [POLYGON])
    out.mkdir()
    converted()  # Into an empty folder.
    converted()  # Over its own earlier output.
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds other files too: notes.txt"):
        converted()
    (out / "notes.txt").unlink()
    (out / "data.yaml").write_text((out / "data.yaml").read_text() + "# mine")
    with pytest.raises(DataError, match="was changed after the conversion"):
        converted()
    other = tmp_path / "other"
    coco(other, [POLYGON])
    with pytest.raises(DataError, match=f"is a conversion of {source}"):
        pipelines.annotations.convert(other, out)
    (out / "conversion.json").write_text("{}")
    with pytest.raises(DataError, match="is no conversion"):
        converted()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("source/out", "where nothing is written"),
        ("none/out", "does not exist"),
        ("file", "exists"),
    ],
)
def test_places_that_cannot_be_written(source, tmp_path, place, message):
    coco(source, [POLYGON])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=message):
        pipelines.annotations.convert(source, tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine" and not (source / "out").exists()


def test_a_failure_leaves_the_earlier_output(source, out, converted, monkeypatch):
    coco(source, [POLYGON])
    converted()
    before = files_of(out)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "write_record", fail)
    with pytest.raises(OSError, match="No space left"):
        converted()
    assert files_of(out) == before and not list(out.parent.glob(".*"))


def test_leftovers_of_killed_processes_are_removed(source, out, converted):
    coco(source, [POLYGON])
    left = out.parent / f".{out.name}.999999999.fcn-keras-tmp"
    running = out.parent / f".{out.name}.{os.getppid()}.fcn-keras-tmp"
    for folder in (left, running):
        folder.mkdir()
    converted()
    assert not left.exists() and running.exists()


def test_progress_is_shown_for_each_image(source, converted):
    coco(source, [POLYGON], images=named("a.png", "b.png")[:1] + named("x", "b.png")[1:])
    seen = []

    class Bar:
        def __init__(self, text, total):
            seen.append((text, total))

        def __enter__(self):
            return lambda: seen.append("advanced")

        def __exit__(self, *error):
            pass

    converted(watch=Bar, on_bad_file="skip")
    assert seen == [("converting 2 images", 2), "advanced", "advanced"]


def test_colours_are_distinct_and_in_the_masks(source, out, converted):
    labelme(source, [(f"c{n}", "point", [[n, 5]]) for n in range(8)])
    converted()
    classes = yaml.safe_load((out / "data.yaml").read_text())["classes"]
    colours = [tuple(one["colour"]) for one in classes]
    assert len(set(colours)) == 9
    with Image.open(out / "masks/train/a.png") as mask:
        assert list(zip(*[iter(mask.getpalette()[:27])] * 3, strict=True)) == colours


def test_several_formats_are_an_error_that_names_the_option(source, converted):
    coco(source, [POLYGON])
    labelme(source, [("a", "point", [[5, 5]])])
    with pytest.raises(DataError, match="coco: instances.json .*labelme: a.json .*--format coco"):
        converted()
    assert converted(format="labelme").format == "labelme"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "no annotations in a known format"),
        ('{"images": [], "annotations": []}', "no annotations in a known format"),
        ("version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_unknown_formats(source, converted, content, message):
    (source / "instances_train.json").write_text(content)
    with pytest.raises(DataError, match=message):
        converted()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_are_recognised(source, converted, encoding):
    coco(source, [POLYGON])
    text = (source / "instances.json").read_text()
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (source / "renamed.json").write_bytes((mark + text + " " * 300_000).encode(encoding))
    (source / "instances.json").unlink()
    assert converted().images == {"train": 1}


def test_a_file_can_be_the_source(source, out):
    coco(source, [POLYGON])
    labelme(source, [("a", "point", [[5, 5]])])
    assert pipelines.annotations.convert(source / "instances.json", out).format == "coco"
    assert len(pipelines.read(out / "data.yaml", "train")) == 1


@pytest.mark.parametrize("format", ["coco", "labelme"])
def test_the_wrong_format(source, converted, format):
    if format == "labelme":
        coco(source, [POLYGON])
    else:
        labelme(source, [("a", "point", [[5, 5]])])
    with pytest.raises(DataError, match=f"holds no images in the format {format}"):
        converted(format=format)


@pytest.mark.parametrize(
    "name", ["é", "\U0001f600", "a\u200cb", "yes", "1", "a: b #c", '"', "a\u2028b"]
)
def test_any_class_name_survives_yaml(source, out, converted, name):
    labelme(source, [(name, "point", [[5, 5]])])
    converted()
    split = pipelines.read(out / "data.yaml", "train")
    assert split.class_names == ("background", " ".join(name.split()))
