import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from fcn_keras.distribution.devices import count, strategy_for
from fcn_keras.errors import ConfigError
from fcn_keras.optimizers import LossScaling
from fcn_keras.runs.config import TrainConfig
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import compiling


def run_on(devices, *arguments):
    """Runs the tests of `on_devices.py` with this number of logical CPU devices."""
    machine = {"LOGICAL_CPUS": str(devices), "CUDA_VISIBLE_DEVICES": "-1"}
    file = Path(__file__).parents[1] / "helpers" / "on_devices.py"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", "-p", "no:cacheprovider", file]
        + list(arguments),
        cwd=file.parents[1],
        env={**os.environ, "PYTEST_ADDOPTS": "", **machine},
        capture_output=True,
        text=True,
    )


QUICK = "mean-weights1 or uneven or confusion or counted or several_machines or tiles"


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        (2, ("-k", QUICK)),
        pytest.param(2, (), marks=pytest.mark.soak),
        pytest.param(4, ("-k", "one_device and not float16"), marks=pytest.mark.soak),
    ],
)
def test_several_devices_match_one(devices, chosen):
    done = run_on(devices, *chosen)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_device_needs_no_strategy():
    assert count(1, 7) == 1
    assert strategy_for(1) is tf.distribute.get_strategy()
    with pytest.raises(ConfigError, match="devices=1000: this machine has"):
        count(1000, 1000)


@pytest.mark.parametrize("given", [2, "2", "all", "auto"])
def test_valid_devices(given):
    config = resolve("default", {"data": "none", "devices": given})
    assert config.devices == (2 if given == "2" else given)
    assert TrainConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize("given", [0, -1, "none", 1.5, True])
def test_invalid_devices_are_an_error(given):
    with pytest.raises(ConfigError, match=f"devices={given!r}: must be a number of at least 1"):
        resolve("default", {"data": "none", "devices": given})


def test_float16_scales_the_loss():
    tiny = {"data": "none", "backbone": "tiny", "head_width": 16, "precision": "mixed_float16"}
    config = resolve("heavy", {**tiny, "accumulate": 2})
    model = compiling.build_model(config, 3)
    compiling.compile_model(model, config, steps_per_epoch=10)
    assert isinstance(model.optimizer, LossScaling)
    assert model.optimizer.inner_optimizer.accumulate == 2
    assert not model.jit_compile
