"""The example pictures of a run."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from html_page import Page
from nets import randomise_scores
from PIL import Image

import fcn_keras
import pipelines
from fcn_keras.evaluation.ranking import chosen, rank
from fcn_keras.prediction import predict_image


def test_images_are_ranked_by_their_own_mean_iu(finished, data):
    rows = list(csv.DictReader((finished / "validation.csv").read_text().splitlines()))
    split = pipelines.read(data, "val")
    model = fcn_keras.load(finished).model
    assert [row["image"] for row in rows] == [example.id for example in split.examples]
    for index, row in enumerate(rows):
        image, truth = pipelines.read_example(split, index)
        prediction = fcn_keras.predict(model, image)
        valid = truth != 255
        pairs = 4 * truth[valid].astype(int) + prediction[valid]
        own = fcn_keras.segmentation_metrics(np.bincount(pairs, minlength=16).reshape(4, 4))
        assert int(row["labelled_pixels"]) == valid.sum()
        if not valid.any():
            assert row["mean_iou"] == row["picture"] == ""
            continue
        assert float(row["mean_iou"]) == pytest.approx(own["mean_iou"], abs=1e-6)
        if row["picture"]:
            for name, mask in (("truth", truth), ("prediction", prediction)):
                with Image.open(finished / "examples" / f"{row['picture']}-{name}.png") as picture:
                    np.testing.assert_array_equal(np.asarray(picture), mask)
    scores = {row["picture"]: float(row["mean_iou"]) for row in rows if row["picture"]}
    assert len(scores) == 9
    assert scores["worst-1"] == min(float(row["mean_iou"]) for row in rows if row["mean_iou"])
    assert scores["best-1"] == max(float(row["mean_iou"]) for row in rows if row["mean_iou"])
    order = [f"{kind}-{n}" for kind, ns in (("worst", "123"), ("best", "321")) for n in ns]
    assert [scores[name] for name in order] == sorted(scores[name] for name in order)
    assert scores["worst-3"] <= scores["median-2"] <= scores["best-3"]
    page = Page(finished / "report.html")
    assert sum(tag == "img" for tag, _ in page.tags) == 4 * 9
    assert "Worst of 10 images" in page.text


def test_of_a_large_split_images_from_all_over_are_measured():
    assert chosen(3) == [0, 1, 2]
    some = chosen(2001, limit=5)
    assert some == [0, 500, 1000, 1500, 2000]


def test_large_images_are_ranked_in_tiles(tmp_path, rng, monkeypatch):
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_PIXELS", 100_000)
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_TILE", 320)
    split = pipelines.read("synthetic", "val")
    classes = split.num_classes
    model = fcn_keras.FCN8s(classes, backbone="tiny", weights=None, head_width=16)
    randomise_scores(model)
    image = rng.integers(0, 256, (391, 450, 3), "uint8")
    truth = rng.integers(0, classes, (391, 450), "uint8")
    example = pipelines.Example("one", tmp_path / "image.png", tmp_path / "mask.png")
    Image.fromarray(image).save(example.image)
    Image.fromarray(truth).save(example.mask)
    values = {value: value for value in range(classes)}
    split = replace(split, examples=(example,), mask_values=values, mask_colours={})
    sizes = []
    predict = predict_image._predict
    monkeypatch.setattr(
        predict_image,
        "_predict",
        lambda net, *rest: sizes.append(rest[0].shape) or predict(net, *rest),
    )
    rank(model, split, tmp_path)
    assert len(sizes) > 3 and max(max(size) for size in sizes) <= 320
    found = model(image[None], training=False).numpy()[0].argmax(axis=-1)
    (row,) = csv.DictReader((tmp_path / "validation.csv").read_text().splitlines())
    pairs = (classes * truth.astype(int) + found).ravel()
    counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    hits, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    assert float(row["mean_iou"]) == pytest.approx((hits / union).mean(), abs=1e-6)


def test_pictures_can_be_made_later(fcn_keras_cli, run):
    written = (run / "validation.csv").read_bytes()
    shutil.rmtree(run / "examples")
    (run / "validation.csv").unlink()
    status, out, err = fcn_keras_cli("report", run)
    assert status == 0 and "--pictures" in err
    assert "--pictures" in Page(run / "report.html").text
    status, out, err = fcn_keras_cli("report", run, "--pictures")
    assert (status, err) == (0, "")
    assert (run / "validation.csv").read_bytes() == written
    assert sum(tag == "img" for tag, _ in Page(run / "report.html").tags) == 4 * 9
