"""What the page of a run says, and that it needs no other file."""

import json
import re
import shutil

import numpy as np
import pytest
from html_page import Page

import pipelines
from fcn_keras.errors import ConfigError
from fcn_keras.reporting import run_report, tables
from fcn_keras.training import environment
from fcn_keras.training.run_reports import after_training
from fcn_keras.training.watching import Watch

NAMES = {
    "mean IU": "mean_iou",
    "pixel accuracy": "pixel_accuracy",
    "mean accuracy": "mean_accuracy",
    "frequency-weighted IU": "frequency_weighted_iou",
}


def rendered(runs, folder):
    """The page of some runs, as text and taken apart."""
    page = folder / "page.html"
    page.write_text(run_report.render(runs), encoding="utf-8")
    return page.read_text("utf-8"), Page(page)


def test_metrics_come_first_and_options_last(finished):
    page = Page(finished / "report.html")
    assert page.headings == [
        "Result", "Example pictures", "Curves", "Classes", "Confusion matrix", "Data",
        "Environment and options",
    ]  # fmt: skip
    metrics = json.loads((finished / "metrics.json").read_text())
    assert list(page.terms)[:5] == [*NAMES, "best epoch"]
    for name, key in NAMES.items():
        assert page.terms[name] == f"{metrics[key]:.3f}"
    assert page.terms["best epoch"] == f"{metrics['epoch']} of 12"
    folded = [attributes for tag, attributes in page.tags if tag == "details"]
    assert folded == [{}, {}]  # Environment and options.


def test_the_page_shows_classes_data_and_environment(finished, class_names):
    page = Page(finished / "report.html")
    metrics = json.loads((finished / "metrics.json").read_text())
    for entry in metrics["per_class"][:3]:
        iou, accuracy = f"{entry['iou']:.3f}", f"{entry['accuracy']:.3f}"
        assert page.row(entry["name"])[1:] == [iou, "", accuracy, f"{entry['pixels']:,}"]
    assert page.row(class_names[3])[1:] == ["n/a", "", "n/a", "0"]
    start = json.loads((finished / "environment.json").read_text())["starts"][0]
    assert page.terms["command"] == start["command"]
    assert start["command"].startswith("fcn-keras train --data")
    assert page.terms["system"] == start["platform"] and start["processor"] in page.text
    assert f"keras {start['versions']['keras']}" in page.terms["versions"]
    assert page.terms["length"] == "12 of 12 epochs, 24 steps"
    _, name, images, digest = page.row("val")
    assert (name, images) == ("data.yaml val", "11")
    assert re.fullmatch(r"[0-9a-f]{16}\.\.\.", digest)
    assert page.row("head_width")[1] == "16" and "not finished" not in page.text


def test_both_mean_ius_are_named_where_they_differ(run):
    content, page = rendered(run_report.find([run]), run)
    assert "the masks lack" not in page.text
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics |= {"mean_iou": 0.374, "skip_absent": True}
    metrics |= {"mean_iou_absent_counted": 0.351, "mean_iou_absent_skipped": 0.374}
    path.write_text(json.dumps(metrics))
    _, page = rendered(run_report.find([run]), run)
    assert page.terms["mean IU"] == "0.374"
    assert "counted as 0 where they are predicted, it is 0.351." in " ".join(page.text.split())


def test_dates_are_written_for_people(run):
    path = run / "environment.json"
    content = json.loads(path.read_text())
    content["starts"][0]["started"] = "2026-11-27T20:43:05+00:00"
    path.write_text(json.dumps(content))
    _, page = rendered(run_report.find([run]), run)
    assert " · 27 November 2026, 20:43 · took " in page.text
    assert page.terms["started"] == "27 November 2026, 20:43 (UTC)"
    assert "2026-11-27" not in page.text


def test_curves_mark_the_best_epoch(run):
    best = json.loads((run / "metrics.json").read_text())["epoch"]
    content, _ = rendered(run_report.find([run]), run)
    assert content.count(f">best epoch {best}</text>") == 4
    assert 'class="ringed"' not in content
    content, _ = rendered(run_report.find([run, run]), run)
    assert 'class="best"' not in content
    assert content.count('class="ringed"') == 3 * 2  # No validation has a learning rate.


def test_the_page_stands_alone_and_escapes_names(finished, class_names):
    page, evil = Page(finished / "report.html"), class_names[0]
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
        if tag == "img":
            assert attributes["alt"]
        if tag == "input" or (tag == "button" and "data-view" not in attributes):
            assert attributes["aria-label"].startswith("a&")
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert evil in page.text and page.row(evil)
    content = (finished / "report.html").read_text("utf-8")
    assert evil not in content and "alert(1)&lt;/script&gt;" in content
    assert "http" not in content.replace("http-equiv", "")


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
    assert page.headings[:3] == ["Result", "Options that differ", "Example pictures"]
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
    page = Page(run.parent / "staged" / "report.html")
    assert "2 runs side by side" in page.text
    assert page.row("best epoch")[1:] == [page.row("best epoch")[1]] * 2
    assert ["class", "IU, 16s", "IU, 8s", "pixels"] in page.rows


def test_an_unfinished_run_says_so(fcn_keras_cli, run):
    lines = (run / "history.csv").read_text().splitlines(keepends=True)
    (run / "history.csv").write_text("".join(lines[:6]) + lines[6][:9])  # Broken off in writing.
    (run / "finished.json").unlink()
    shutil.rmtree(run / "examples")
    status, _, err = fcn_keras_cli("report", run)
    assert status == 0
    assert "not finished: " in err and "of 12 epochs are done" in err
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
    assert "no epoch has finished yet" in page.text and "not been validated yet" in page.text
    (run / "metrics.json").write_text("{")
    assert "metrics.json cannot be read" in fcn_keras_cli("report", run)[2]
    names = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
    metrics = {**dict.fromkeys(names, 0.5), "per_class": [], "confusion": []}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert "metrics.json has no metrics for 4 classes" in fcn_keras_cli("report", run)[2]


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
        ([empty], "empty: not a run: config.yaml is missing"),
        ([tmp_path / "nothing"], "no such folder"),
        ([run, "--html", foreign], "mine.html: exists already and was not written by fcn-keras"),
        ([run, "--html", tmp_path / "page.txt"], "must be a file name that ends in .html"),
        ([run, "--html", tmp_path / "no" / "page.html"], "does not exist. Create it first"),
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


def test_measurements_of_an_earlier_model_are_not_shown(run, fcn_keras_cli):
    (read,) = run_report.find([run])
    assert read.images
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "weights_sha256": "0" * 64}))
    (read,) = run_report.find([run])
    assert read.images == []
    assert any("an earlier model was measured" in note for note in read.notes)
    del metrics["weights_sha256"]  # As version 0.1 wrote it: nobody knows.
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert run_report.find([run])[0].images


def test_many_classes_get_a_list_instead_of_a_matrix(run):
    (read,) = run_report.find([run])
    count = tables.MOST_CLASSES + 1
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
    assert not any("matrix" in attributes.get("class", "") for _, attributes in page.tags)
