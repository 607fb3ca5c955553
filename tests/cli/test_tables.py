"""The tables of metrics that commands print."""

import json
from dataclasses import replace

import numpy as np
import pytest

import fcn_keras
import pipelines
from fcn_keras.cli.tables import show_evaluation

# Class "moon" is predicted, but not in the ground truth: the IUs are 6 / 8, 0 and 4 / 4.
MOON = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 4]])


@pytest.mark.parametrize(
    ("skip_absent", "first", "other"), [(False, "0.583", "0.875"), (True, "0.875", "0.583")]
)
def test_both_mean_ius_are_printed_where_they_differ(capsys, skip_absent, first, other):
    show_evaluation(fcn_keras.Evaluation(MOON, ("sky", "moon", "sea"), skip_absent), "mine")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mean IU "))
    assert line.startswith(f"mean IU {first} ") and line.endswith(f" {other}.")
    show_evaluation(fcn_keras.Evaluation(MOON[::2, ::2], ("sky", "sea")), "mine")
    assert "the masks lack" not in capsys.readouterr().out


def test_evaluate_follows_the_data_sets_rule(fcn_keras_cli, tmp_path, monkeypatch):
    read = pipelines.DATASETS["synthetic"]
    monkeypatch.setitem(
        pipelines.DATASETS, "synthetic", lambda *args: replace(read(*args), skip_absent=True)
    )
    net = tmp_path / "net.keras"
    fcn_keras.FCN32s(5, backbone="tiny", weights=None, head_width=8).save(net)
    figures = tmp_path / "figures.json"
    status, _, err = fcn_keras_cli("evaluate", net, "--data", "synthetic", "--json", figures)
    assert status == 0, err
    assert json.loads(figures.read_text())["skip_absent"] is True
