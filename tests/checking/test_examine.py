import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pipelines
from pipelines.checking import cache, diagnosis
from pipelines.checking.examine import examine
from pipelines.checking.overlaps import overlaps


def tree(folder):
    """The names, contents and times of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files
    }


@pytest.fixture
def broken(two_folders):
    """Faults of four kinds in train, none in val; one image is in both splits."""
    masks, images = two_folders / "train" / "masks", two_folders / "train" / "images"
    Image.fromarray(np.full((40, 56), 34, "uint8")).save(masks / "0.png")
    (images / "1.jpg").write_bytes((images / "1.jpg").read_bytes()[:300])
    Image.fromarray(np.zeros((40, 57), "uint8")).save(masks / "1.png")
    Image.fromarray(np.zeros((40, 57), "uint8")).save(masks / "2.png")
    shutil.copy(images / "3.jpg", images / "lonely.jpg")
    shutil.copy(images / "3.jpg", two_folders / "val" / "images" / "0.jpg")
    return two_folders


def test_findings_match_the_files(two_folders):
    split = pipelines.read(two_folders / "data.yaml", "train")
    Image.fromarray(np.full((40, 56), 255, "uint8")).save(split.examples[1].mask)
    found = examine(split)
    masks = [pipelines.read_example(split, i)[1] for i in range(4)]
    np.testing.assert_array_equal(found.pixels, np.bincount(np.ravel(masks), minlength=256))
    assert found.images[:3].tolist() == [3, 3, 3] and found.images[255] == 4
    assert found.sizes == [(40, 56)] * 4 and found.void == [1] and found.bad == []
    assert found.present == [0b111, 0, 0b111, 0b111]
    assert found.void_share == pytest.approx((np.array(masks) == 255).mean())
    faults, warnings = found.of_the_split()
    assert not faults
    assert [str(w) for w in warnings] == [
        f"data.yaml train: nothing but void in 1 of 4 masks; the first is "
        f"{split.examples[1].mask}. Nothing can be learned or scored there."
    ]


def test_every_fault_of_every_file_is_found(broken):
    found = examine(pipelines.read(broken / "data.yaml", "train", keep_faults=True))
    kinds = [(error.kind, error.file.name) for error in found.faults]
    assert kinds == [
        ("unpaired", "lonely.jpg"),
        ("unknown value", "0.png"),
        ("damaged file", "1.jpg"),
        ("size mismatch", "2.png"),
    ]
    assert found.faults[1].value == [34] and found.faults[1].position == (0, 0)
    left = found.without_bad()
    assert [e.id for e in left.split.examples] == ["3"] and left.sizes == [(40, 56)]
    assert not left.faults and left.class_pixels.sum() == 39 * 56


def test_images_in_two_splits_are_found_by_content(broken):
    train, val = (
        pipelines.read(broken / "data.yaml", s, keep_faults=True) for s in ("train", "val")
    )
    (warning,) = overlaps([examine(train), examine(val)])
    assert warning.kind == "overlap of splits" and warning.value == [("3", "0")]
    assert "train and data.yaml val: share 1 image, such as" in str(warning)


def test_duplicate_in_another_format_is_found(two_folders):
    pixels = pipelines.read_image(two_folders / "train" / "images" / "0.jpg")
    Image.fromarray(pixels).save(two_folders / "train" / "images" / "9.png")
    shutil.copy(two_folders / "train/masks/0.png", two_folders / "train/masks/9.png")
    (warning,) = overlaps([examine(pipelines.read(two_folders / "data.yaml", "train"))])
    assert warning.kind == "duplicates" and warning.value == [("0", "9")]


def test_images_that_differ_in_one_pixel_are_not_duplicates(two_folders):
    folder = two_folders / "train"
    pixels = pipelines.read_image(folder / "images" / "0.jpg").copy()
    for row in (0, 39):
        pixels[row, 0, 0] ^= 1
        Image.fromarray(pixels).save(folder / "images" / f"1{row}.png")
        shutil.copy(folder / "masks" / "0.png", folder / "masks" / f"1{row}.png")
    assert overlaps([examine(pipelines.read(two_folders / "data.yaml", "train"))]) == []


def test_all_background_is_a_warning_with_pixel_counts(two_folders):
    for path in (two_folders / "train" / "masks").iterdir():
        Image.fromarray(np.zeros((40, 56), "uint8")).save(path)
    faults, warnings = examine(pipelines.read(two_folders / "data.yaml", "train")).of_the_split()
    assert not faults
    assert "every labelled pixel is 'ground'" in str(warnings[0])
    assert "ground 8,960, road 0, car 0" in str(warnings[0])


def test_findings_are_cached_until_something_changes(broken):
    read = lambda: pipelines.read(broken / "data.yaml", "train", keep_faults=True)  # noqa: E731
    seen = []
    first = cache.examine_once(read(), lambda: seen.append(1))
    assert len(seen) == 4
    again = cache.examine_once(read(), lambda: seen.append(1))
    assert len(seen) == 4
    for name in ("sizes", "checksums", "present", "void", "bad"):
        assert getattr(again, name) == getattr(first, name)
    np.testing.assert_array_equal(again.pixels, first.pixels)
    assert [str(e) for e in again.faults] == [str(e) for e in first.faults]
    assert [e.kind for e in again.faults] == [e.kind for e in first.faults]

    mask = broken / "train" / "masks" / "3.png"
    Image.fromarray(np.ones((40, 56), "uint8")).save(mask)
    changed = cache.examine_once(read(), lambda: seen.append(1))
    assert len(seen) == 8 and changed.class_pixels[1] == 40 * 56
    yaml = broken / "data.yaml"
    yaml.write_text(yaml.read_text() + "ignore: [255, 34]\n")
    assert "unknown value" not in {e.kind for e in cache.examine_once(read()).faults}


def test_damaged_or_unwritable_cache_is_ignored(two_folders, monkeypatch, tmp_path):
    split = pipelines.read(two_folders / "data.yaml", "train")
    cache.examine_once(split)
    (note,) = cache._folder().iterdir()
    note.write_text('{"state"')
    assert cache.examine_once(split).class_pixels.sum() > 0
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.examine_once(split).class_pixels.sum() > 0


def test_check_command_reports_everything_and_changes_no_file(
    broken, fcn_keras_cli, tmp_path_factory
):
    before, out = tree(broken), tmp_path_factory.mktemp("out")
    status, shown, err = fcn_keras_cli(
        "data", "check", broken / "data.yaml",
        "--json", out / "c.json", "--report", out / "c.html",
    )  # fmt: skip
    assert status == 2
    assert "train: pixels" in shown and "val: pixels" in shown and "road" in shown
    for text in (
        "unpaired: 1",
        "unknown value: 1",
        "0.png: label value 34",
        "4 faults.",
        "share 1",
    ):
        assert text in err
    content = json.loads((out / "c.json").read_text())
    assert sorted(e["kind"] for e in content["faults"]) == [
        "damaged file", "size mismatch", "unknown value", "unpaired",
    ]  # fmt: skip
    train = content["splits"]["data.yaml train"]
    assert train["examples"] == 4 and train["with_faults"] == ["0", "1", "2"]
    assert sum(c["pixels"] for c in train["classes"]) == 39 * 56
    page = (out / "c.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3 and "label value 34" in page
    assert tree(broken) == before


def test_good_data_set_has_no_faults(two_folders, fcn_keras_cli):
    status, out, err = fcn_keras_cli("data", "check", two_folders / "data.yaml")
    assert (status, err) == (0, "") and "no faults" in out


def test_missing_split_is_a_fault_only_if_requested(two_folders):
    def read(name):
        return pipelines.read(two_folders / "data.yaml", name, keep_faults=True)

    assert not diagnosis.diagnose(read, "mine").faults
    assert len(diagnosis.diagnose(read, "mine", splits=["val", "test"]).faults) == 1
    with pytest.raises(pipelines.DataError, match="no split 'test'"):
        diagnosis.diagnose(read, "mine", splits=["test"])


def test_checking_does_not_import_tensorflow(two_folders):
    code = (
        "import sys; from fcn_keras.cli.main import main\n"
        f"sys.argv = ['fcn-keras', 'data', 'check', {str(two_folders / 'data.yaml')!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_training_stops_at_faults_or_skips_them(broken, fcn_keras_cli):
    before = tree(broken / "train")
    command = (
        "train", "--data", broken / "data.yaml", "--recipe", "quickstart", "--epochs", "1",
        "--batch-size", "1", "--crop", "32x32", "--out",
    )  # fmt: skip
    bad = broken / "val" / "masks" / "1.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    status, _, err = fcn_keras_cli(*command, broken / "run")
    assert status == 2 and not (broken / "run").exists()
    for text in (  # Faults of folders and files, of train and val.
        "lonely.jpg has no mask",
        "0.png: label value 34",
        "1.jpg: damaged",
        f"{bad}: damaged",
        "--on-bad-file skip",
    ):
        assert text in err
    bad.write_bytes(good)

    status, out, err = fcn_keras_cli(*command, broken / "run", "--on-bad-file", "skip")
    assert status == 0, err
    assert "examples left out because of these faults:" in err
    assert "2.png: the mask is 40 x 57 (height x width)" in err
    assert "share 1 image" in err
    assert (broken / "run" / "model.keras").exists()
    assert tree(broken / "train") == before


def test_run_configuration_is_a_recipe(two_folders, fcn_keras_cli):
    recipe = two_folders / "mine.yaml"
    recipe.write_text(
        "backbone: tiny\nweights: none\nhead_width: 8\ncrop: [32, 32]\nbatch_size: 2\nepochs: 1\n"
    )
    data = ("--data", two_folders / "data.yaml")
    status, _, err = fcn_keras_cli("train", *data, "--recipe", recipe, "--out", two_folders / "a")
    assert status == 0, err
    again = two_folders / "a" / "config.yaml"
    status, _, err = fcn_keras_cli(
        "train", *data, "--recipe", again, "--cache", "--out", two_folders / "b"
    )
    assert status == 0, err
    one, other = ((two_folders / run / "metrics.json").read_text() for run in "ab")
    assert one == other
    recipe.write_text("batchsize: 2\n")
    status, _, err = fcn_keras_cli("train", *data, "--recipe", recipe, "--out", two_folders / "c")
    assert status == 2 and "batchsize" in err


def test_file_deleted_during_an_epoch_is_named(two_folders, fcn_keras_cli, monkeypatch):
    split = pipelines.read(two_folders / "data.yaml", "train")
    crops = pipelines.Augmentation((16, 16))
    ds = pipelines.train_dataset(split, batch_size=2, augmentation=crops)
    split.examples[2].image.unlink()
    monkeypatch.setattr("fcn_keras.cli.main.app", lambda: list(ds))
    status, _, err = fcn_keras_cli("train")
    assert (status, err) == (
        2,
        f"error: {split.examples[2].image}: no such file. Check the path.\n",
    )


def test_masks_of_0_and_255_among_others_give_a_warning(two_folders):
    masks = two_folders / "train" / "masks"
    half = Image.new("L", (56, 40))
    half.paste(255, (0, 0, 56, 20))
    half.save(masks / "1.png")
    half.convert("1").save(masks / "2.png")
    found = examine(pipelines.read(two_folders / "data.yaml", "train"))
    assert [(e.kind, e.file.name) for e in found.faults] == [("mask of one bit", "2.png")]
    (warning,) = found.of_the_split()[1]
    text = f"only one class and 255, which is void here, in 1 of 4 masks; the first is {masks}"
    assert text in str(warning)


def test_1_bit_masks_have_two_classes_if_255_is_one(two_folders):
    for path in two_folders.glob("*/masks/*.png"):
        Image.fromarray(np.eye(40, 56) > 0).save(path)
    yaml = two_folders / "data.yaml"
    head = yaml.read_text().split("classes")[0]
    yaml.write_text(f"{head}classes: [ground, {{name: line, value: 255}}]\n")
    found = examine(pipelines.read(yaml, "train"))
    assert not found.faults
    assert found.class_pixels.tolist() == [4 * (40 * 56 - 40), 4 * 40]


def test_circular_links_are_faults(two_folders, fcn_keras_cli):
    for folder in ("images", "masks"):
        loop = two_folders / "train" / folder / f"loop{'.jpg' if folder == 'images' else '.png'}"
        loop.symlink_to(loop.name)
    status, _, err = fcn_keras_cli("data", "check", two_folders / "data.yaml")
    assert status == 2 and "loop.jpg: cannot be read" in err and "loop.png: cannot be read" in err
    (two_folders / "round").symlink_to("round")
    status, _, err = fcn_keras_cli("data", "init", two_folders / "round")
    assert (status, err) == (2, f"error: {two_folders / 'round'}: no such folder.\n")


def test_results_only_replace_results(two_folders, fcn_keras_cli):
    json_file, page = two_folders / "mine.json", two_folders / "mine.html"
    for path in (json_file, page):
        path.write_text('{"mine": 1}')
    command = ("data", "check", two_folders / "data.yaml")
    for option, path in (("--json", json_file), ("--report", page)):
        status, _, err = fcn_keras_cli(*command, option, path)
        assert status == 2 and "was not written by fcn-keras" in err
        assert path.read_text() == '{"mine": 1}'
        path.unlink()
        for _ in range(2):
            assert fcn_keras_cli(*command, option, path)[0] == 0


def test_duplicate_key_is_an_error(two_folders):
    yaml = two_folders / "data.yaml"
    yaml.write_text(yaml.read_text() + "classes: [a, b]\n")
    with pytest.raises(pipelines.DataError, match="the key `classes` appears twice"):
        pipelines.read(yaml, "train")


def test_list_without_a_good_line_shows_each_fault(two_folders, fcn_keras_cli):
    (two_folders / "list.txt").write_text("images/0.jpg masks/0.png\nimages/1.jpg masks/1.png\n")
    yaml = two_folders / "data.yaml"
    yaml.write_text(yaml.read_text().replace("train/masks}", "train/masks, list: list.txt}"))
    status, _, err = fcn_keras_cli("data", "check", yaml)
    assert status == 2 and "missing file: 2" in err and "the mask is found by that name" in err
    with pytest.raises(pipelines.DataError, match="the mask is found by that name"):
        pipelines.read(yaml, "train")


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("which", ["image", "mask", "both"])
def test_arrays_without_pixels_are_faults(shape, which):
    image, mask = np.zeros((4, 6, 3), "uint8"), np.zeros((4, 6), "uint8")
    image = image if which == "mask" else np.zeros((*shape, 3), "uint8")
    mask = mask if which == "image" else np.zeros(shape, "uint8")
    examples = (pipelines.Example("a", image, mask),)
    palette = pipelines.distinct_palette(2)
    split = pipelines.Split("mine", examples, ("a", "b"), palette, {0: 0, 1: 1})
    for read in (pipelines.check, lambda split: pipelines.read_example(split, 0)):
        with pytest.raises(
            pipelines.DataError, match=rf"{shape[0]} x {shape[1]} .*no pixels. Remove it"
        ):
            read(split)
