"""Wrong types in a run's files, as after an edit by hand, never end in a Python error."""

import copy
import json

import pytest
import yaml

from fcn_keras.errors import ConfigError
from fcn_keras.evaluation.results import Evaluation
from fcn_keras.reporting import run_report
from fcn_keras.runs import reading, run_folder
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.json_files import Environment, read_json
from fcn_keras.training.environment import note_start

SPLIT = {
    "name": "mine",
    "classes": ["a", "b"],
    "pixels": [3, 1],
    "examples": {"0": ["ff", "3"], "1": ["0a", "1"]},
}
METRICS = {
    "pixel_accuracy": 0.75,
    "mean_accuracy": 0.5,
    "mean_iou": 0.375,
    "frequency_weighted_iou": 0.5625,
    "per_class": [
        {"name": "a", "iou": 0.75, "accuracy": 1, "pixels": 3},
        {"name": "b", "iou": None, "accuracy": 0.0, "pixels": 1},
    ],
    "confusion": [[3, 0], [1, 0]],
    "epoch": 1,
}
START = {
    "command": "fcn-keras train",
    "started": "2026-11-27T22:26:15+00:00",
    "versions": {"keras": "3.15.1"},
    "platform": "Linux",
    "processor": "AMD",
    "cores": 2,
    "gpus": ["H100"],
    "epochs": 1,
    "steps": 4,
}
FILES = {
    "metrics.json": METRICS,
    "environment.json": {"starts": [START]},
    "data.json": {"train": SPLIT, "val": SPLIT},
}
WRONG = (None, float("nan"), 2**70, "text", [1], {"a": [1]})
DEEP = (100_000 * "[", 100_000 * '{"a":', 5000 * "9", '{"starts": ' + 5000 * "9" + "}")


@pytest.fixture
def run(tmp_path):
    classes = [{"name": "a", "colour": [0, 0, 0]}, {"name": "b", "colour": [9, 9, 9]}]
    content = {"options": TrainConfig(data="x.yaml").model_dump(mode="json"), "classes": classes}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "history.csv").write_text("epoch,loss,mean_iou\n1,1e308,0.5\n2,-1e308,0.5\n")
    for name, value in FILES.items():
        (tmp_path / name).write_text(json.dumps(value))
    return tmp_path


def places(node, at=()):
    """The path of each value in nested dicts and lists."""
    yield at
    items = (
        node.items() if isinstance(node, dict) else enumerate(node) if type(node) is list else ()
    )
    for key, value in items:
        yield from places(value, (*at, key))


def changed(content, at, value):
    if not at:
        return value
    content = copy.deepcopy(content)
    node = content
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = value
    return content


def use(run):
    """Everything that reads the files."""
    found = reading.read(run)
    run_report.render([found])
    if found.metrics:
        str(Evaluation.from_dict(found.metrics))
    config, _ = run_folder.read_config(run)
    for attempt in (
        lambda: run_folder.best_report(run),
        lambda: run_folder.check_unchanged(run, config, {"train": SPLIT, "val": SPLIT}),
    ):
        try:
            attempt()
        except ConfigError as error:
            assert "\n" not in str(error) and len(str(error)) < 500
    note_start(run, epochs=1)
    return found.notes


def test_intact_files_are_read(run):
    assert use(run) == ["no pictures: validation images are measured at the end of training, or by "
                        "`fcn-keras report --pictures`, which needs the data."]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_wrong_types_in_a_runs_files_are_told(run, name):
    for at in places(FILES[name]):
        for value in WRONG:
            (run / name).write_text(json.dumps(changed(FILES[name], at, value)))
            use(run)
    for text in DEEP:
        (run / name).write_text(text)
        assert any(note.startswith(f"{name} cannot be read: ") for note in use(run))


def test_the_wrong_value_is_named(run):
    content = changed(FILES["environment.json"], ("starts", 0, "gpus"), 5)
    (run / "environment.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="starts: 0: gpus: Input should be a valid list, found 5"):
        read_json(run / "environment.json", Environment)


@pytest.mark.parametrize("text", ["a: " + 5000 * "[", "\0"])
def test_nested_config_is_one_line(run, text):
    (run / "config.yaml").write_text(text)
    for read in (reading.read, run_folder.read_config):
        with pytest.raises(ConfigError, match=r"config\.yaml: ") as raised:
            read(run)
        assert "\n" not in str(raised.value)
