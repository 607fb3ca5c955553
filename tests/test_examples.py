"""The scripts in `examples/`, run as a user would."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

import fcn_keras  # noqa: F401 (registers the layers)

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_fit_trains_and_saves_a_model(tmp_path):
    result = subprocess.run(
        [sys.executable, EXAMPLES / "fit.py", tmp_path / "run", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "mean_iou" in result.stdout
    assert "classes in the first image: ['background'" in result.stdout
    assert keras.models.load_model(tmp_path / "run" / "model.keras").output_shape[-1] == 5
    assert list((tmp_path / "run" / "tensorboard" / "validation").iterdir())


@pytest.mark.slow
def test_convolutionalize_matches_the_classifier():
    result = subprocess.run(
        [sys.executable, EXAMPLES / "convolutionalize.py"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "scores (1, 17, 33, 10): windows of 32 x 32 pixels, 4 pixels apart" in result.stdout
    assert float(result.stdout.split()[-1]) < 1e-5
