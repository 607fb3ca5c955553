import csv
from dataclasses import replace

import numpy as np
from PIL import Image

import fcn_keras
import pipelines
from fcn_keras.evaluation import ranking


def test_only_the_pictures_that_are_shown_are_encoded(tmp_path, monkeypatch):
    split = pipelines.read("synthetic", "val")
    split = replace(split, examples=split.examples[:12])
    model = fcn_keras.FCN8s(split.num_classes, backbone="tiny", weights=None, head_width=16)
    encoded, save = [], Image.Image.save

    def counted(picture, *args, **kwargs):
        encoded.append(picture.size)
        return save(picture, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", counted)
    monkeypatch.setattr(ranking, "MAX_SIDE", 40)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "old-1.jpg").write_bytes(b"")
    ranking.rank(model, split, tmp_path)
    files = {path.name for path in (tmp_path / "examples").iterdir()}
    # Three of the best, median and worst images, each as photo, truth and prediction.
    assert len(encoded) == len(files) == 3 * 3 * 3
    assert {max(size) for size in encoded} == {40}
    rows = list(csv.DictReader((tmp_path / "validation.csv").read_text().splitlines()))
    assert len(rows) == 12
    for index, row in enumerate(rows):
        if not row["picture"]:
            continue
        image, truth = pipelines.read_example(split, index)
        for ending, mask in (("truth", truth), ("prediction", fcn_keras.predict(model, image))):
            with Image.open(tmp_path / "examples" / f"{row['picture']}-{ending}.png") as picture:
                small = Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST)
                np.testing.assert_array_equal(np.asarray(picture), np.asarray(small))
        with Image.open(tmp_path / "examples" / f"{row['picture']}.jpg") as photo:
            small = Image.fromarray(image).resize(photo.size, Image.Resampling.LANCZOS)
            difference = np.abs(np.asarray(photo, int) - np.asarray(small, int))
            assert difference.mean() < 12  # JPEG.
