"""Annotation files that are cut off, empty or not fetched, beside good ones."""

import pytest
from exports import coco, labelme

import pipelines
from pipelines.errors import DataError

SQUARE = [("cat", "polygon", [[2, 2], [20, 2], [20, 12]])]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    for name in "ab":
        labelme(folder, SQUARE, name=f"{name}.json", image=f"{name}.png")
    return folder


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"version": "5.4.1", "fla', "is cut off"),
        (b"", "is empty"),
        (b" " * 10_000, "is empty"),
        (POINTER, "a Git LFS pointer"),
        ('{"version": "5.4.1", "fla'.encode("utf-16"), "is cut off"),
    ],
)
def test_no_file_is_passed_over_in_silence(source, tmp_path, content, fault):
    (source / "c.json").write_bytes(content)
    with pytest.raises(DataError, match=f"c.json: {fault}"):
        pipelines.annotations.convert(source, tmp_path / "out")
    made = pipelines.annotations.convert(source, tmp_path / "out", on_bad_file="skip")
    assert made.images.total() == 2 and len(made.skipped) == 1


def test_other_files_may_be_pointers_too(source, tmp_path):
    (source / "classes.txt").write_bytes(POINTER)
    with pytest.raises(DataError, match=r"classes.txt: a Git LFS pointer"):
        pipelines.annotations.convert(source, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.xml", "a.json", "a.geojson"])
def test_a_single_file_is_named(tmp_path, name):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_text('<annotations><image name="' if ".x" in name else "{")
    with pytest.raises(DataError, match=f"{name}: (is cut off|not readable as XML)"):
        pipelines.annotations.convert(tmp_path / "source", tmp_path / "out")


def test_other_whole_files_are_no_fault(source, tmp_path):
    (source / "version.json").write_text('"1.0"\n')
    (source / "list.json").write_bytes("[1]\n".encode("utf-16") + b"\n\0" * 3000)
    assert not pipelines.annotations.convert(source, tmp_path / "out").skipped


def test_a_file_without_shapes_is_a_fault(source, tmp_path):
    (source / "c.json").write_text('{"version": "5", "imagePath": "c.png", "imageData": null}')
    with pytest.raises(DataError, match="c.json: has no list `shapes`"):
        pipelines.annotations.convert(source, tmp_path / "out")


def test_images_without_annotations_are_counted(source, tmp_path):
    (source / "b.json").unlink()
    notes = pipelines.annotations.convert(source, tmp_path / "out").notes
    assert any("left out 1 image that no annotation names, such as" in note for note in notes)


def test_a_changed_mask_is_not_overwritten(source, tmp_path):
    out = tmp_path / "out"
    pipelines.annotations.convert(source, out)
    pipelines.annotations.convert(source, out)
    mask = next((out / "masks").rglob("*.png"))
    mask.write_bytes(mask.read_bytes() + b"\0")
    with pytest.raises(DataError, match="has masks that were changed after the conversion"):
        pipelines.annotations.convert(source, out)


def test_nothing_drawn_is_told(tmp_path):
    labelme(tmp_path / "source", [("cat", "line", [[2, 2], [20, 2]])])
    made = pipelines.annotations.convert(tmp_path / "source", tmp_path / "out", lines=0)
    assert "no shape of any class was drawn; there is nothing to learn" in made.notes


def test_options_of_other_formats_are_refused(source, tmp_path):
    for option in ("attribute", "annotator"):
        with pytest.raises(DataError, match=f"--{option} x: only .* have it, and this is labelme"):
            pipelines.annotations.convert(source, tmp_path / "out", **{option: "x"})


def test_names_with_commas_get_no_merge_to_paste(tmp_path):
    labelme(tmp_path / "source", [("car,red", *SQUARE[0][1:]), (" car,red", *SQUARE[0][1:])])
    with pytest.raises(DataError, match=r"'car,red'. Correct the annotations\.$"):
        pipelines.annotations.convert(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("ring", [[[[]], 0, 9, 0, 9, 9], [[1, 1], 5, [9, 9]]])
def test_mixed_lists_are_a_fault(tmp_path, ring):
    coco(tmp_path / "source", [{"segmentation": [ring]}])
    with pytest.raises(DataError, match="list of numbers|x and y must alternate"):
        pipelines.annotations.convert(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("segment", [None, {"id": 1, "category_id": {}}, {"id": [[]]}])
def test_segments_of_the_wrong_type_are_a_fault(tmp_path, segment):
    coco(tmp_path / "source", [{"segments_info": [segment], "file_name": "a.png"}])
    with pytest.raises(DataError, match="segment|category_id"):
        pipelines.annotations.convert(tmp_path / "source", tmp_path / "out")
