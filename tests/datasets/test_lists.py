"""Lists of examples, and the files that they name."""

import pytest
from PIL import Image

from pipelines import DataError, Example
from pipelines.datasets.lists import existing, paired


@pytest.fixture
def root(tmp_path):
    for name in ("root/a.jpg", "root/a.png", "root/b.jpg", "root/b.png", "secret.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / name)
    (tmp_path / "root/link.png").symlink_to(tmp_path / "secret.png")
    return tmp_path / "root"


def example(root, name, mask=None):
    return Example(name, root / f"{name}.jpg", root / (mask or f"{name}.png"))


def test_an_example_that_is_listed_twice_is_used_once(root):
    listing = root / "list.txt"
    good, (fault,) = existing([example(root, name) for name in "aba"], root, listing)
    assert [one.id for one in good] == ["a", "b"]
    assert str(fault) == f"{listing}: lists 'a' twice. Remove one line."
    assert (fault.kind, fault.file, fault.value) == ("listed twice", listing, "a")


@pytest.mark.parametrize(
    ("mask", "kind", "message"),
    [
        ("none.png", "missing file", "which is missing."),
        ("link.png", "outside the folder", "which is outside "),
        ("../secret.png", "outside the folder", "which is outside "),
    ],
)
def test_a_file_that_cannot_be_used_is_a_fault(root, mask, kind, message):
    listing = root / "list.txt"
    good, (fault,) = existing([example(root, "a", mask), example(root, "b")], root, listing)
    assert [one.id for one in good] == ["b"]
    assert (fault.kind, fault.file) == (kind, root / mask)
    assert str(fault).startswith(f"{listing}: lists {root / mask}, {message}")


@pytest.mark.parametrize(("where", "end"), [("", ""), ("Download it.", " Download it.")])
def test_lists_and_folders_without_a_usable_example_are_errors(root, where, end):
    listing = root / "list.txt"
    with pytest.raises(DataError) as error:
        existing([example(root, "x"), example(root, "y")], root, listing, where)
    text = "no listed example has all its files; the first missing file is"
    assert str(error.value) == f"{listing}: {text} {root}/x.jpg.{end}"
    assert (error.value.kind, error.value.file) == ("missing file", listing)
    with pytest.raises(DataError) as error:
        paired({"a": root / "a.jpg"}, {"b": root / "b.png", "c": root / "a.png"}, root, where)
    text = "found 1 images and 2 masks of the split, but no pair."
    assert str(error.value) == f"{root}: {text}{end}"
    assert (error.value.kind, error.value.file) == ("missing file", root)


def test_files_without_a_partner_are_faults(root):
    images = {"a": root / "a.jpg", "b": root / "b.jpg", "l": root / "b.jpg"}
    masks = {"a": root / "a.png", "c": root / "b.png", "l": root / "link.png"}
    good, faults = paired(images, masks, root)
    assert [one.id for one in good] == ["a"]
    assert [(fault.kind, fault.file) for fault in faults] == [
        ("unpaired", root / "b.jpg"),
        ("unpaired", root / "b.png"),
        ("outside the folder", root / "link.png"),
    ]
    assert str(faults[0]) == f"{root}/b.jpg: has no mask. Add it, or remove this file."
    assert str(faults[1]) == f"{root}/b.png: has no image. Add it, or remove this file."
    assert str(faults[2]).startswith(f"{root}: lists {root}/link.png, which is outside {root}.")
