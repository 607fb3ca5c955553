"""Real exports of CVAT, VIA and Datumaro, against reference masks."""

import json

import numpy as np
import pytest
from exports import record_of
from PIL import Image

from pipelines import DataError
from pipelines.annotations.conversion import convert

MASKS, RICE = (
    "cvat_images/ashesh-12+Annotation_Conversion",
    "via1/tzelalouzeir+rice_leaf_diseases_ds",
)
CELLS, BOARD = "via1/min20120907+MaskRCNN-w-cell", "via2/shiibashi+board_ocr"
# Sample -> options, and the ending of images that the sample lacks.
SAMPLES = {
    MASKS: ({}, ".jpg"),
    "cvat_images/cvat-ai+datumaro": ({"boxes": "skip"}, None),
    RICE: ({}, None),
    "via1/cocobar+EyeIrPupilImgData": ({}, None),
    "via1/KhiemPhi+AnnotationTool": ({}, ".png"),
    BOARD: ({}, None),
}
NAMED = {"10": "OVER", "11": "UNDER", "12": "null"}  # The options of `BOARD` by their ids.
# The reference polygons of CVAT are OpenCV's; CVAT itself exports masks of pycocotools.
LEAST = {MASKS: 0.98}


def blanks(folder, sizes, ending):
    folder.mkdir()
    for name, (height, width) in sizes.items():
        Image.new("L", (width, height)).save(folder / f"{name}{ending}")
    return folder


@pytest.mark.parametrize("sample", SAMPLES)
def test_masks_are_those_of_the_reference(samples, tmp_path, out, sample):
    options, ending = SAMPLES[sample]
    expected = samples / sample / "expected"
    about = json.loads((expected / "expected.json").read_text())
    if ending:
        sizes = {name: entry["size_hw"] for name, entry in about.items()}
        options = {**options, "images": blanks(tmp_path / "images", sizes, ending)}
    made = convert(samples / sample, out, on_bad_file="skip", **options)
    masks = {one["image"].rpartition(".")[0]: one["mask"] for one in record_of(out)["images"]}
    for name, entry in about.items():
        with Image.open(expected / f"{name}.png") as image:
            want = np.array(image)
        with Image.open(out / masks[name.rpartition("__")[2]]) as image:
            got = np.array(image)
        for value, label in entry["classes"].items():
            label = NAMED.get(label, label) if sample == BOARD else label
            if label in made.class_names:
                is_it, should_be = got == made.class_names.index(label), want == int(value)
                union = np.count_nonzero(is_it | should_be)
                iou = np.count_nonzero(is_it & should_be) / union if union else 1
                assert iou >= LEAST.get(sample, 1), (name, label)
            else:
                assert not (want == int(value)).any(), (name, label)


def test_regions_without_a_value_are_counted(samples, out):
    made = convert(samples / RICE, out, on_bad_file="skip")
    assert made.left_out == {"region with no value for 'class_id'": 2}
    assert made.images == {"train": 3, "val": 3}


def test_a_rare_name_is_told(samples, out, tmp_path):
    names = [
        entry["filename"].removesuffix(".png")
        for entry in json.loads((samples / CELLS / "via_region_data.json").read_text()).values()
    ]
    images = blanks(tmp_path / "images", dict.fromkeys(names, (2000, 2000)), ".png")
    made = convert(samples / CELLS, out, images=images)
    assert made.class_names == ("background", "cel", "cell")
    assert any('--merge "cel=cell"' in note for note in made.notes)
    assert made.left_out["region with no value for 'name'"] == 1


def test_masks_of_another_size_are_refused(samples, out):
    source = samples / "datumaro/cvat-ai+datumaro/tests/assets/datumaro_dataset/diverse"
    with pytest.raises(DataError) as error:
        convert(source, out)
    assert "'default/43.qq'" in str(error.value)
    assert "item '100': annotation 6 (mask): its RLE has the size [2, 3]" in str(error.value)
