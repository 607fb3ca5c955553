"""Real exports of labelling tools, against masks made by the tools themselves."""

import json

import numpy as np
import pytest
from exports import record_of
from PIL import Image

from pipelines.annotations.conversion import convert

ROBOFLOW = "coco_roboflow/DEDfreak+AlignTogether-PlantVeinDetection"
LABELME, DATUMARO = "labelme/wkentaro+labelme", "coco_rle/openvinotoolkit+datumaro"
# Sample -> options. What the annotations name but the sample lacks is skipped.
SAMPLES = {
    ROBOFLOW: {"overlap": "file"},
    f"{ROBOFLOW} large_first": {},
    "coco/wkentaro+labelme": {"overlap": "file"},
    "coco/wkentaro+labelme large_first": {},
    "coco/Kseniagg+image-annotation-portfolio": {},
    "coco_rle/derived_compressed": {"overlap": "file"},
    DATUMARO: {},
    "labelme/ykszk+labelme-rs": {},
    "labelme/ykszk+labelme-rs areas_only": {"lines": 0},
    "labelme/guanyichen+labelme2voc": {"format": "labelme"},
    LABELME: {"format": "labelme"},
}


def expected_of(sample, kind):
    """Yields (image, {class name: value}, mask) of the reference masks of one kind."""
    for name, about in json.loads((sample / "expected/expected.json").read_text()).items():
        extra = "large_first" in name, "areas_only" in name
        if extra == (kind == "large_first", kind == "areas_only"):
            with Image.open(sample / f"expected/{name}.png") as mask:
                values = {label: int(value) for value, label in about["classes"].items()}
                image = name.removeprefix("areas_only__").removesuffix(".large_first")
                yield image, values, np.array(mask)


def found_in(record, image):
    """The only image of a conversion that a reference mask belongs to."""
    short = image.rpartition("__")[2]
    (found,) = (
        one for one in record["images"] if one["image"].rpartition("/")[2].startswith(f"{short}.")
    )
    return found


def id_of(made, label):
    """The class id that a conversion gives a label; None if it has no such class."""
    if label.startswith("__ignore__"):
        return 255
    return made.class_names.index(label) if label in made.class_names else None


@pytest.mark.parametrize("sample", SAMPLES)
def test_masks_are_those_of_the_tool(samples, out, sample):
    folder, _, kind = sample.partition(" ")
    made = convert(samples / folder, out, on_bad_file="skip", **SAMPLES[sample])
    record = record_of(out)
    count = 0
    for image, values, want in expected_of(samples / folder, kind):
        with Image.open(out / found_in(record, image)["mask"]) as mask:
            got = np.array(mask)
        for label, value in values.items():
            if label != "_background_":
                # Pillow rounds by the place in the image (`test_edges`): 1 pixel of 187500 differs.
                differ = (got == id_of(made, label)) != (want == value)
                assert np.count_nonzero(differ) <= 1, label
        count += 1
    assert count


def test_a_wrong_entry_is_refused_and_not_turned(samples, out):
    made = convert(samples / DATUMARO, out, on_bad_file="skip")
    (fault,) = made.skipped
    assert "b.json: image 'b.jpg': annotation 1: its RLE has the size [5, 10]" in str(fault)
    assert "the image is [10, 5]" in str(fault)


def test_roboflows_root_category_is_dropped(samples, out):
    made = convert(samples / ROBOFLOW, out)
    assert made.class_names == ("background", "midrib", "vein")
    assert made.images == {"train": 2, "val": 2, "test": 2}
    assert "'vein' (id 0)" in made.notes[0]


def test_an_image_inside_the_annotations_is_written(samples, out, tmp_path):
    content = json.loads((samples / LABELME / "examples/tutorial/apc2016_obj3.json").read_text())
    (tmp_path / "source").mkdir()
    (tmp_path / "source/alone.json").write_text(json.dumps(content))
    convert(tmp_path / "source", out)
    with Image.open(out / "images/train/alone.jpg") as image:
        assert image.size == (1210, 907)


# Sample -> options, and the least IoU: edges of polygons may differ.
PIXELS = {
    "yolo_seg/rmatien+YOLO-Segmentation": ({}, 0.97),
    "voc_labelmap/Hungcui+SegmentImg": ({"on_bad_file": "skip"}, 1),
    "voc_labelmap/guimoll+processamento_imagems": ({}, 1),
    "binary_masks_suffix/mipple1986+data": (
        {"annotator": "1stHO", "merge": "object=vessel"},
        1,
    ),
}


@pytest.mark.parametrize("sample", PIXELS)
def test_masks_of_other_formats(samples, out, sample):
    options, least = PIXELS[sample]
    made = convert(samples / sample, out, **options)
    record = record_of(out)
    for image, values, want in expected_of(samples / sample, ""):
        with Image.open(out / found_in(record, image)["mask"]) as mask:
            got = np.array(mask)
        for label, value in values.items():
            a, b = got == id_of(made, label), want == value
            if b.any():
                assert np.count_nonzero(a & b) >= least * np.count_nonzero(a | b), label


def test_numbers_of_cells_are_not_classes(samples, out):
    made = convert(samples / "tiff/stardist+stardist", out)
    assert made.class_names == ("background", "object")
    with Image.open(samples / "tiff/stardist+stardist/tests/data/mask2d.tif") as mask:
        assert made.pixels["object"] == np.count_nonzero(np.array(mask))
