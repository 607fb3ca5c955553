"""Examples with several images or masks, as the NYUDv2 and SIFT Flow models take them."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.io import savemat

import fcn_keras
import pipelines
from fcn_keras import FCN32s, Modality
from pipelines import DataError, joint_dataset
from pipelines.datasets import nyudv2

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "several-inputs-and-tasks.md").read_text("utf-8")
TINY = {"backbone": "tiny", "weights": None, "head_width": 8}
SIZES = ((40, 56), (33, 48), (64, 32))  # Sizes of the three examples.
SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    with Image.open(path) as image:  # JPEG changes the pixels.
        return np.array(image)


def labels(path, name, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: values}, do_compression=True)
    return values


@pytest.fixture
def nyud(tmp_path, rng):
    """The folder, and the content of its files as a list of dicts."""
    root, content = tmp_path / "nyud", []
    for number, size in enumerate(SIZES):
        name = f"img_{5001 + number}"
        depth = rng.integers(500, 9000, size).astype("uint16")
        depth[:3] = 0
        mask = rng.integers(0, 41, size).astype("uint8")
        content.append(
            {
                kind: picture(
                    root / "data" / kind / f"{name}.png", rng.integers(0, 256, (*size, 3), "uint8")
                )
                for kind in ("images", "hha")
            }
            | {
                "depth": picture(root / "data" / "depth" / f"{name}.png", depth),
                "mask": labels(root / "segmentation" / f"{name}.mat", "segmentation", mask),
            }
        )
    for split, numbers in (("trainval", (5001, 5002, 5003)), ("test", (5002, 5001))):
        (root / f"{split}.txt").write_text("".join(f"{n}\n" for n in numbers))
    return root, content


@pytest.fixture
def sift_flow(tmp_path, rng):
    root, content = tmp_path / "SiftFlowDataset", []
    for number, size in enumerate(SIZES):
        name = f"coast_{number}"
        image = rng.integers(0, 256, (*size, 3), "uint8")
        places = {
            kind: root / kind / SCENES / f"{name}.mat" for kind in ("SemanticLabels", "GeoLabels")
        }
        semantic = rng.integers(0, 34, size).astype("uint8")
        geometric = rng.integers(-1, 4, size).astype("int16")
        content.append(
            {
                "image": picture(root / "Images" / SCENES / f"{name}.jpg", image),
                "semantic": labels(places["SemanticLabels"], "S", semantic),
                "geometric": labels(places["GeoLabels"], "S", geometric),
            }
        )
    (root / "trainval.txt").write_text("coast_0\ncoast_1\ncoast_2\n")
    (root / "test.txt").write_text("coast_1\n")
    return root, content


def read(root, split="trainval"):
    return [pipelines.read(data, split, root) for data in ("nyudv2", "nyudv2-hha")]


def from_1(values):
    """Class ids from 0 for a file with ids from 1 and void below."""
    return np.where(values <= 0, 255, values - 1)


def fit(model, data, heads=("",)):
    """Trains for two steps and returns the losses."""
    loss = {head: fcn_keras.MaskedCrossentropy() for head in heads}
    model.compile("sgd", loss=loss if heads != ("",) else loss[""])
    log = model.fit(data.take(2), epochs=1, shuffle=False, verbose=0).history
    return log["loss"]


def test_late_fusion_gets_both_images_and_one_mask(nyud):
    root, content = nyud
    color, hha = read(root)
    data = joint_dataset({"color": color, "hha": hha}, color)
    assert int(data.cardinality()) == 3
    spec = tf.TensorSpec((1, None, None, 3), tf.uint8)
    mask_spec = tf.TensorSpec((1, None, None), tf.uint8)
    assert data.element_spec == ({"color": spec, "hha": spec}, mask_spec)
    for (images, masks), files in zip(data, content, strict=True):
        np.testing.assert_array_equal(images["color"][0], files["images"])
        np.testing.assert_array_equal(images["hha"][0], files["hha"])
        np.testing.assert_array_equal(masks[0], from_1(files["mask"].astype(int)))
    model = FCN32s(40, inputs={"color": Modality(), "hha": Modality()}, **TINY)
    assert np.isfinite(fit(model, data)).all()


def test_early_fusion_gets_depth_as_the_fourth_channel(nyud):
    root, content = nyud
    split = nyudv2.with_depth(read(root)[0])
    data = joint_dataset(split, split)
    assert data.element_spec[0] == tf.TensorSpec((1, None, None, 4), tf.float32)
    # The input of conv1_1: BGR minus the mean, and the log of the file's depth minus its mean.
    stream = Modality(4, mean=fcn_keras.MEANS["nyudv2"])
    vgg16 = FCN32s(40, weights=None, head_width=2, inputs={"rgbd": stream})
    prepare = vgg16.get_layer("preprocessing")
    for (image, masks), files in zip(data, content, strict=True):
        bgr, depth = files["images"][..., ::-1].astype("float64"), files["depth"].astype("float64")
        seen = np.asarray(prepare(image))[0]
        np.testing.assert_allclose(seen[..., :3], bgr - (116.190, 97.203, 92.318), atol=1e-4)
        np.testing.assert_allclose(seen[3:, :, 3], np.log(depth[3:]) - 7.844, atol=1e-5)
        assert (seen[:3, :, 3] == 0).all()  # Not measured.
        np.testing.assert_array_equal(masks[0], from_1(files["mask"].astype(int)))
    model = FCN32s(40, inputs={"rgbd": Modality(4)}, **TINY)
    assert np.isfinite(fit(model, data)).all()


def test_two_heads_get_two_masks_of_one_image(sift_flow):
    root, content = sift_flow
    tasks = {"semantic": "siftflow", "geometric": "siftflow-geometric"}
    masks = {task: pipelines.read(data, "trainval", root) for task, data in tasks.items()}
    data = joint_dataset(masks["semantic"], masks)
    for (image, found), files in zip(data, content, strict=True):
        np.testing.assert_array_equal(image[0], files["image"])
        for task in tasks:
            np.testing.assert_array_equal(found[task][0], from_1(files[task].astype(int)))
    model = FCN32s({"semantic": 33, "geometric": 3}, **TINY)
    (loss,) = fit(model, data, heads=tuple(tasks))
    assert loss == pytest.approx(np.log(33) + np.log(3), rel=0.2)  # The sum of both.


def test_images_and_masks_are_mirrored_alike(nyud):
    root, _ = nyud
    color, hha = read(root)
    color = nyudv2.with_depth(color)
    arguments = {"color": color, "hha": hha}, {"a": color, "b": hha}
    plain, mirrored = (joint_dataset(*arguments, mirror=m) for m in (False, True))
    turned = []
    for _ in range(4):
        for one, other in zip(plain, mirrored, strict=True):
            pairs = [
                (np.array(a), np.array(b))
                for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
            ]
            alike = {np.array_equal(a, b) for a, b in pairs}
            assert len(alike) == 1
            assert alike == {True} or all(np.array_equal(a[:, :, ::-1], b) for a, b in pairs)
            turned.append(alike == {False})
    assert 0 < sum(turned) < len(turned) == 12


def test_order_depends_on_seed_and_epoch(nyud):
    root, content = nyud
    color, hha = read(root)

    def orders(seed, epochs=8):
        data = joint_dataset({"c": color, "h": hha}, hha, shuffle=True, seed=seed, mirror=True)
        return [[images["c"].numpy().tobytes() for images, _ in data] for _ in range(epochs)]

    reference = orders(1)
    tf.random.set_seed(99)  # TensorFlow's own seed has no effect.
    assert orders(1) == reference != orders(2)
    assert len({tuple(map(len, epoch)) for epoch in reference}) > 1
    assert all(sorted(map(len, e)) == sorted(3 * h * w for h, w in SIZES) for e in reference)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "must be a split .* or a dict of at least one by name, found a dict of 0"),
        (None, "must be a split .* found NoneType"),
        ("nyudv2", "must be a split .* found str"),
        ({"color": "nyudv2"}, "must be a split .* found a dict of 1"),
    ],
)
def test_what_is_no_split_is_an_error(given, message):
    split = pipelines.read("synthetic", "val")
    for images, masks, name in ((given, split, "images"), (split, given, "masks")):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            joint_dataset(images, masks)


def test_splits_with_different_examples_are_rejected(nyud):
    color, hha = read(nyud[0])
    with pytest.raises(DataError) as error:
        joint_dataset({"color": color, "hha": read(nyud[0], "test")[1]}, color)
    assert str(error.value) == (
        "nyudv2 trainval and nyudv2-hha test: example 1 is 'img_5001' in the first and 'img_5002' "
        "in the second. Give splits with the same examples in the same order."
    )
    with pytest.raises(DataError, match="example 3 is 'img_5003' in the first and missing in the"):
        joint_dataset({"color": color, "hha": replace(hha, examples=hha.examples[:2])}, color)


def test_different_image_sizes_are_rejected(nyud):
    root, _ = nyud
    picture(root / "data" / "hha" / "img_5001.png", np.zeros((9, 9, 3), "uint8"))
    color, hha = read(root)
    with pytest.raises(
        DataError, match=r"5001.mat: the mask is 40 x 56 .*, but its image .*hha.* is 9"
    ):
        joint_dataset({"color": color, "hha": hha}, color)


def test_empty_split_is_rejected(nyud):
    color, _ = read(nyud[0])
    empty = replace(color, examples=())
    with pytest.raises(DataError, match="nyudv2 trainval: the split is empty"):
        joint_dataset(empty, empty)


@pytest.mark.slow
def test_documented_scripts_run(nyud, sift_flow, monkeypatch):
    """Runs the page's scripts with small untrained models and one epoch."""
    monkeypatch.chdir(nyud[0].parent)
    small = {"weights": None, "head_width": 2}
    for build in ("FCN32s", "FCN16s"):
        monkeypatch.setattr(fcn_keras, build, partial(getattr(fcn_keras, build), **small))
    for name in ("color", "hha"):  # In place of two training runs.
        Path("runs", name).mkdir(parents=True)
        fcn_keras.FCN32s(40, geometry="reference").save(f"runs/{name}/model.keras")
    scripts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scripts = [script for script in scripts if "joint_dataset" in script]
    assert len(scripts) == 3
    for script in scripts:
        exec(re.sub(r"epochs=\d+", "epochs=1", script), {})
    late, tasks = (keras.models.load_model(f"{name}.keras") for name in ("late", "siftflow"))
    assert set(late.input) == {"color", "hha"} and set(tasks.output) == {"semantic", "geometric"}


def test_eval_dataset_rejects_four_channels(nyud):
    split = nyudv2.with_depth(read(nyud[0])[0])
    with pytest.raises(pipelines.DataError, match="Use pipelines.joint_dataset"):
        pipelines.eval_dataset(split)
