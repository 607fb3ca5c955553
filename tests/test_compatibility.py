"""Files written by version 0.1.0 still open: a complete run folder."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.prediction.pictures import colour_mask
from fcn_keras.prediction.readers import savedmodel
from fcn_keras.runs import run_folder

GAP = 4  # White pixels between the parts of a picture.


@pytest.fixture(scope="module")
def run(shared):
    folder = shared / "data" / "compat" / "quickstart-0.1"
    if not folder.is_dir():
        pytest.skip(f"no run of 0.1.0 at {folder}")
    return folder


def shown(run):
    """Yields image and coloured prediction of each picture drawn by 0.1.0."""
    for path in sorted((run / "pictures").glob("*.png")):
        picture = np.asarray(Image.open(path))
        width = (picture.shape[1] - 3 * GAP) // 4
        yield picture[:, :width], picture[:, 2 * (width + GAP) :][:, :width]


def agreement(one, other):
    """Returns the fraction of equal pixels; processors may round scores differently."""
    return (one == other).all(axis=-1).mean()


def test_model_predicts_what_its_pictures_show(run):
    opened = fcn_keras.load(run)
    assert opened.classes[:2] == ("background", "disc")
    pictures = list(shown(run))
    assert len(pictures) == 8
    for image, prediction in pictures:
        mask = fcn_keras.predict(opened.model, image)
        assert agreement(colour_mask(mask, opened.palette), prediction) > 0.999


def test_keras_opens_the_model(run):
    alone, ours = keras.models.load_model(run / "model.keras"), fcn_keras.load(run).model
    image, _ = next(shown(run))
    assert np.array_equal(alone(image[None]), ours(image[None], training=False))


def test_configuration_is_read(run):
    config, stages = run_folder.read_config(run)
    assert (config.data, config.backbone, config.crop, stages) == (
        "synthetic", "tiny", (128, 160), None,
    )  # fmt: skip
    assert config.epochs == 40 and config.learning_rate == 0.003


def test_evaluation_gives_the_same_metrics(run, tmp_path, fcn_keras_cli):
    page = tmp_path / "metrics.json"
    status, _, err = fcn_keras_cli(
        *("evaluate", run, "--data", "synthetic", "--split", "val", "--json", page)
    )
    assert status == 0, err
    before = json.loads((run / "metrics.json").read_text())
    assert json.loads(page.read_text())["mean_iou"] == pytest.approx(before["mean_iou"], abs=1e-3)


def test_run_opens_in_python(run, tmp_path):
    opened = fcn_keras.Run.open(run)
    assert opened.is_finished and len(opened.history) == 40 and opened.stages == []
    metrics = json.loads((run / "metrics.json").read_text())
    assert opened.best_epoch == metrics["epoch"] and opened.config.head_width == 64
    assert opened.evaluation.mean_iou == pytest.approx(metrics["mean_iou"])
    assert opened.model.classes == opened.evaluation.class_names
    page = opened.report(tmp_path / "page.html")
    assert f"{metrics['mean_iou']:.3f}" in page.read_text()
    with pytest.raises(ConfigError, match="not a run"):
        fcn_keras.Run.open(tmp_path)


def test_run_can_be_reported_again(run, tmp_path, fcn_keras_cli):
    page = tmp_path / "report.html"
    status, _, err = fcn_keras_cli("report", run, "--html", page)
    assert status == 0 and not err
    mean_iou = json.loads((run / "metrics.json").read_text())["mean_iou"]
    assert f"{mean_iou:.3f}" in page.read_text()


def test_finished_run_is_not_trained_again(run, tmp_path, fcn_keras_cli):
    copy = shutil.copytree(run, tmp_path / "run")
    status, out, err = fcn_keras_cli("train", "--resume", copy)
    assert status == 0, err
    assert f"{copy} is finished; its metrics:" in out
    assert (copy / "model.keras").read_bytes() == (run / "model.keras").read_bytes()


def test_saved_model_serves(run):
    palette = fcn_keras.load(run).palette
    with savedmodel.open_signature(run / "saved_model" / "1", "serving_default") as serve:
        for image, prediction in shown(run):
            (mask,) = serve(image=image[None])["mask"]
            assert agreement(colour_mask(mask, palette), prediction) > 0.999
    opened = fcn_keras.load(run / "saved_model")
    assert opened.classes == fcn_keras.load(run).classes
    for image, prediction in shown(run):
        assert agreement(colour_mask(opened.predict(image), opened.palette), prediction) > 0.999


def test_model_can_be_exported_again(run, tmp_path, fcn_keras_cli):
    status, _, err = fcn_keras_cli("export", run, "--out", tmp_path / "models")
    assert status == 0, err
    assert (tmp_path / "models" / "1" / "saved_model.pb").is_file()


def of_0_1(module, name, **config):
    """Returns a Keras object as it is stored in a model file of 0.1."""
    return {
        "module": f"fcn_keras.{module}",
        "class_name": name,
        "registered_name": f"fcn_keras>{name}",
        "config": config,
    }


def test_optimizers_and_losses_of_0_1_load():
    found = keras.saving.deserialize_keras_object(
        of_0_1("optimizers", "AdamW", learning_rate=0.25, weight_decay=0.5, accumulate=3)
    )
    assert isinstance(found, fcn_keras.FusedAdamW)
    assert found.get_config()["gradient_accumulation_steps"] == 3 and found.weight_decay == 0.5
    found = keras.saving.deserialize_keras_object(of_0_1("optimizers", "CaffeSGD", accumulate=20))
    assert found.get_config()["gradient_accumulation_steps"] == 20
    found = keras.saving.deserialize_keras_object(of_0_1("losses", "MaskedCrossentropy", keep=0.25))
    assert found.sample_rate == 0.25


def test_options_of_0_1_get_their_new_names():
    assert fcn_keras.TrainConfig(data="synthetic", keep=0.25).sample_rate == 0.25
