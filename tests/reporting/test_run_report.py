"""The page of a run: what it says, that it stands alone, and that a browser shows it."""

import csv
import functools
import html
import html.parser
import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import fcn_keras
import pipelines
from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.ranking import chosen
from fcn_keras.metrics import FIGURES
from fcn_keras.reporting import run_report, tables
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import environment, fitting, run_log
from fcn_keras.training.run_reports import after_training
from fcn_keras.training.watching import Watch

EVIL = "<script>alert(1)</script>"
ABSENT = "never there"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four training and eleven validation images of four classes, of which one never occurs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 11)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = rng.integers(0, 3, (5, 7), "uint8").repeat(8, axis=0).repeat(8, axis=1)
            image = np.repeat(mask[..., None] * 80, 3, axis=-1)
            mask[0] = 255
            if split == "val" and number == 10:
                mask[:] = 255  # Without a mean IU.
            Image.fromarray(image).save(root / split / "images" / f"a&{number:02d}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"a&{number:02d}.png")
    (root / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks}\n"
        "val: {images: val/images, masks: val/masks}\n"
        f"classes: ['{EVIL}', {{name: road, colour: [128, 64, 128]}}, car, {ABSENT}]\n"
    )
    return root / "data.yaml"


@pytest.fixture(scope="module")
def finished(data, run_command):
    """A finished run of 24 steps, which the tests must not change."""
    run = data.parent / "run"
    arguments = (
        *("train", "--data", data, "--out", run, "--backbone", "tiny", "--weights", "none"),
        *("--head-width", 16, "--batch-size", 2, "--crop", "32x48", "--learning-rate", 0.01),
        *("--epochs", 12, "--validate-every", 4, "--warmup-steps", 0),
    )
    assert run_command(*arguments) == 0
    return run


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


class Page(html.parser.HTMLParser):
    """A page's tags, the texts of its tables' rows, and all its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.text, self.open = [], [], "", []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += text
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += text

    def row(self, name):
        return next(row for row in self.rows if row and row[0].strip() == name)


def test_the_page_says_what_was_run_and_what_came_out(finished):
    page, metrics = (
        Page(finished / "report.html"),
        json.loads((finished / "metrics.json").read_text()),
    )
    for key in FIGURES:
        name = key.replace("_", " ").replace("iou", "IU")
        assert page.row(name)[1] == f"{metrics[key]:.3f}"
    for entry in metrics["per_class"][:3]:
        row = page.row(entry["name"])
        assert row[2:] == [
            f"{entry['iou']:.3f}",
            f"{entry['accuracy']:.3f}",
            f"{entry['pixels']:,}",
        ]
    assert page.row(ABSENT)[2:] == ["n/a", "n/a", "0"]
    start = json.loads((finished / "environment.json").read_text())["starts"][0]
    for fact in (start["command"], start["started"], start["processor"], start["platform"]):
        assert fact in page.text
    assert start["command"].startswith("fcn-keras train --data")
    assert "12 of 12 epochs, 24 steps in all" in page.text
    assert f"keras {start['versions']['keras']}" in page.text
    assert re.search(r"data.yaml val: 11 images, SHA-256 [0-9a-f]{16}\.\.\.", page.text)
    assert "head_width" in page.text and "not finished" not in page.text


def test_the_page_stands_alone_and_escapes_names(finished):
    page = Page(finished / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert EVIL in page.text and page.row(EVIL)
    content = (finished / "report.html").read_text("utf-8")
    assert EVIL not in content and "alert(1)&lt;/script&gt;" in content
    assert "http" not in content.replace("http-equiv", "")
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag in ("input", "button"):
            assert attributes["aria-label"].startswith("a&")


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
    assert "worst of 10 images" in page.text


def test_of_a_large_split_images_from_all_over_are_measured():
    assert chosen(3) == [0, 1, 2]
    some = chosen(2001, limit=5)
    assert some == [0, 500, 1000, 1500, 2000]


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


def test_runs_side_by_side_show_what_differs(fcn_keras_cli, run):
    other = shutil.copytree(run, run.with_name("other"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("dropout: 0.5", "dropout: 0.25"))
    metrics = json.loads((other / "metrics.json").read_text())
    metrics["mean_iou"] += 0.125
    (other / "metrics.json").write_text(json.dumps(metrics))
    status, out, err = fcn_keras_cli("report", run, other)
    assert (status, err) == (0, "")
    page = Page(run.parent / "report.html")
    assert page.row("option") == ["option", "run", "other"]
    assert page.row("dropout") == ["dropout", "0.5", "0.25"]
    assert "head_width" not in page.text
    assert page.row("mean IU")[2] == f"{metrics['mean_iou']:.3f} (+0.125)"
    assert page.row("pixel accuracy")[2].endswith("(+0.000)")
    assert "cannot be compared" not in page.text
    content = json.loads((other / "data.json").read_text())
    content["val"]["pixels"][0] += 1
    (other / "data.json").write_text(json.dumps(content))
    assert fcn_keras_cli("report", run, other)[0] == 0
    assert "cannot be compared" in Page(run.parent / "report.html").text
    (other / "data.json").unlink()  # Of an older run: nobody knows.
    assert fcn_keras_cli("report", run, other)[0] == 0
    assert "cannot be compared" not in Page(run.parent / "report.html").text


def test_a_staged_run_shows_its_stages(fcn_keras_cli, run):
    for stage in ("16s", "8s"):
        shutil.copytree(run, run.with_name("staged") / stage)
    status, _, err = fcn_keras_cli("report", run.with_name("staged"))
    assert (status, err) == (0, "")
    assert "2 runs side by side: 16s, 8s" in Page(run.parent / "staged" / "report.html").text


def test_an_unfinished_run_says_so(fcn_keras_cli, run):
    lines = (run / "history.csv").read_text().splitlines(keepends=True)
    (run / "history.csv").write_text("".join(lines[:6]) + lines[6][:9])  # Broken off in writing.
    (run / "finished.json").unlink()
    shutil.rmtree(run / "examples")
    status, _, err = fcn_keras_cli("report", run)
    assert status == 0
    assert "not finished: " in err and "of 12 epochs have ended" in err
    assert f"fcn-keras train --resume {run}" in err
    for name in (
        "metrics.json",
        "history.csv",
        "validation.csv",
        "environment.json",
        "data.json",
    ):
        (run / name).unlink()
        assert fcn_keras_cli("report", run)[0] == 0
    page = Page(run / "report.html")
    assert "no epoch has ended yet" in page.text and "not validated yet" in page.text
    (run / "metrics.json").write_text("{")
    assert "metrics.json cannot be read" in fcn_keras_cli("report", run)[2]
    (run / "metrics.json").write_text("{}")
    assert "metrics.json has no figures of 4 classes" in fcn_keras_cli("report", run)[2]


def test_a_resumed_run_has_several_starts(run):
    environment.note_start(run, epochs=12, steps=24, replicas=2)
    lines = (run / "history.csv").read_text().splitlines()
    again = lines[2].split(",")
    again[1] = "77.5"  # The loss of an epoch that was done once more.
    (run / "history.csv").write_text("\n".join([*lines, ",".join(again)]) + "\n")
    (read,) = run_report.find([run])
    assert [row["epoch"] for row in read.history] == list(range(1, 13))
    assert read.history[1]["loss"] == 77.5 and read.is_finished
    (run / "page.html").write_text(run_report.render([read]), encoding="utf-8")
    text = Page(run / "page.html").text
    assert "command 1" in text and "started 2" in text
    assert re.search(r"replicas\s*2", text)


def test_mistakes_get_one_line(fcn_keras_cli, run, tmp_path):
    foreign = tmp_path / "mine.html"
    foreign.write_text("<p>mine</p>")
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, message in (
        ([empty], "empty: no run there: a run's folder holds config.yaml"),
        ([tmp_path / "nothing"], "no such folder"),
        ([run, "--html", foreign], "mine.html: is there already, and fcn-keras did not write it"),
        ([run, "--html", tmp_path / "page.txt"], "must be a file whose name ends in .html"),
        ([run, "--html", tmp_path / "no" / "page.html"], "there is no folder"),
        ([run] * 9, "9 runs: a report shows 8 at most"),
    ):
        status, _, err = fcn_keras_cli("report", *arguments)
        assert status == 2 and message in err and err.count("\n") == 1
    assert foreign.read_text() == "<p>mine</p>"
    for content in ("options: [", "classes: 3", "options: {}\nclasses: [{name: a, colour: [1]}]"):
        (run / "config.yaml").write_text(content)
        with pytest.raises(ConfigError, match="config.yaml: not the configuration of a run"):
            run_report.find([run])


def test_a_report_that_fails_fails_no_training(run, data, capsys):
    (run / "model.keras").write_bytes(b"")
    for name in ("report.html", "validation.csv"):
        (run / name).unlink()
    after_training(run, [run], pipelines.read(data, "val"), Watch())
    assert capsys.readouterr().err.startswith("warning: no report: ")


def test_many_classes_get_a_list_instead_of_a_matrix(run):
    (read,) = run_report.find([run])
    count = tables.MATRIX + 1
    read.classes = [{"name": f"c{i}", "colour": "#000000"} for i in range(count)]
    confusion = np.zeros((count, count), int)
    confusion[3, 7] = 5
    entry = {"iou": None, "accuracy": None, "pixels": 0}
    read.metrics |= {
        "confusion": confusion.tolist(),
        "per_class": [{"name": named["name"], **entry} for named in read.classes],
    }
    (run / "page.html").write_text(run_report.render([read]), encoding="utf-8")
    page = Page(run / "page.html")
    assert ["c3", "c7", "100.0%", "5"] in page.rows
    assert not any(attributes.get("class") == "matrix" for _, attributes in page.tags)


def test_tensorboard_gets_curves_pictures_layers_and_options(finished):
    parts = {
        part: EventAccumulator(str(finished / "tensorboard" / part), {"tensors": 0}).Reload()
        for part in ("train", "validation")
    }
    train, validation = (set(parts[part].Tags()["tensors"]) for part in ("train", "validation"))
    assert {"epoch/loss", "epoch/mean_iou", "epoch/images_per_second", "step/loss"} <= train
    assert {"epoch/loss", "best/mean_iou", "iou/road", "confusion", "pictures/00"} <= validation
    assert f"iou/{ABSENT}" not in validation
    epochs = [event.step for event in parts["validation"].Tensors("epoch/mean_iou")]
    assert epochs == [4, 8, 12]
    (step,) = parts["train"].Tensors("step/learning_rate")
    assert step.step == 20

    width, height, picture = parts["validation"].Tensors("pictures/00")[0].tensor_proto.string_val
    assert (int(width), int(height)) == (2 * 56 + 4, 2 * 40 + 4) and picture.startswith(
        b"\xff\xd8\xff"
    )

    layers = {node.name: node for node in parts["train"].Graph().node}
    assert list(layers["fuse_pool3"].input) == ["upscore_pool4", "score_pool3"]
    options = parts["validation"].SummaryMetadata("_hparams_/session_start_info")
    plugin = plugin_data_pb2.HParamsPluginData.FromString(options.plugin_data.content)
    values = plugin.session_start_info.hparams
    assert values["learning_rate"].number_value == 0.01
    assert values["crop"].string_value == "32, 48"
    assert values["mirror"].bool_value is True


@pytest.mark.slow
def test_the_loss_by_steps_averages_to_the_epochs_and_goes_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(run_log, "STEP_EVERY", 2)
    train, val = (pipelines.read(data, split) for split in ("train", "val"))
    config = resolve(
        "default",
        {"backbone": "tiny", "weights": None, "head_width": 4, "data": "none", "epochs": 2}
        | {"batch_size": 1, "validate_every": 2},
    )
    batches = functools.partial(
        pipelines.train_dataset, train, batch_size=1, augmentation=pipelines.Augmentation((32, 32))
    )

    def run(name, **options):
        fitting.fit(
            config, batches, pipelines.eval_dataset(val), tmp_path / name, palette=train.palette,
            class_names=train.class_names, checkpoint_every=1, **options,
        )  # fmt: skip
        log = EventAccumulator(str(tmp_path / name / "tensorboard/train"), {"tensors": 0}).Reload()
        points = {e.step: tf.make_ndarray(e.tensor_proto) for e in log.Tensors("step/loss")}
        return {step: float(loss) for step, loss in points.items()}

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 5:
                raise KeyboardInterrupt

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", callbacks=[Break()])
    broken = run("broken", resume=True)
    history = list(csv.DictReader((tmp_path / "whole/history.csv").read_text().splitlines()))
    for row, points in zip(history, ((2, 4), (6, 8)), strict=True):
        mean = np.mean([whole[step] for step in points])
        assert mean == pytest.approx(float(row["loss"]), rel=1e-5)
    assert whole.keys() == {2, 4, 6, 8} and broken.keys() == {2, 4, 8}
    assert broken[4] == whole[4]
    assert broken[8] == pytest.approx((whole[6] + whole[8]) / 2, rel=1e-5)
    starts = json.loads((tmp_path / "broken/environment.json").read_text())["starts"]
    assert len(starts) == 2


@pytest.fixture
def browser(tmp_path):
    """Opens a page in headless Chromium: its DOM after the scripts ran, and what they log."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")

    def look(page):
        done = subprocess.run(
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                "--enable-logging=stderr", "--hide-scrollbars",
                f"--user-data-dir={tmp_path / 'profile'}", page.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return look


HOOK = """<script>
const [first, second] = document.querySelectorAll(".example");
const slider = first.querySelector("input");
slider.value = 150;
slider.dispatchEvent(new Event("input"));
second.querySelector("button").click();
const style = (element) => getComputedStyle(element);
document.body.dataset.found = JSON.stringify({
  prediction: style(first.querySelector(".prediction")).opacity,
  truth: style(first.querySelector(".truth")).opacity,
  error: style(first.querySelector(".error")).visibility,
  said: slider.getAttribute("aria-valuetext"),
  pressed: second.querySelector("button").getAttribute("aria-pressed"),
  shown: style(second.querySelector(".error")).visibility,
  hidden: style(second.querySelector(".prediction")).visibility,
  page: document.documentElement.scrollWidth,
  broken: [...document.images].filter((image) => !image.naturalWidth).length,
});
</script></body>"""
# A window cannot be made so narrow, but a frame can.
FRAME = """<meta charset="utf-8">
<body><iframe width="400" style="border: 0" srcdoc="CONTENT"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  document.body.dataset.found = frame.contentDocument.body.dataset.found;
});
</script>"""


@pytest.mark.parametrize("several", [False, True])
def test_a_browser_blends_the_masks_and_never_scrolls_sideways(
    finished, tmp_path, browser, several
):
    runs = run_report.find([finished])
    if several:
        name = "a_name_without_any_place_to_break_it_" * 3
        runs += run_report.find([shutil.copytree(finished, tmp_path / name)])
        runs[1].name = name
    page = tmp_path / "page.html"
    content = html.escape(run_report.render(runs).replace("</body>", HOOK))
    page.write_text(FRAME.replace("CONTENT", content), encoding="utf-8")
    dom, errors = browser(page)
    assert errors == []
    found = json.loads(re.search(r'data-found="([^"]*)"', dom)[1].replace("&quot;", '"'))
    assert found == {
        "prediction": "1",
        "truth": "0.5",
        "error": "hidden",
        "said": "truth 50 %",
        "pressed": "true",
        "shown": "visible",
        "hidden": "hidden",
        "page": 400,
        "broken": 0,
    }


def test_a_browser_would_tell_of_an_error(tmp_path, browser):
    (tmp_path / "page.html").write_text("<script>nothing()</script>")
    assert "ReferenceError" in browser(tmp_path / "page.html")[1][0]
