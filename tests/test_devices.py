import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_on(devices, *arguments):
    """Runs the tests of `on_devices.py` where the CPU has so many logical devices."""
    file = Path(__file__).with_name("on_devices.py")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file, *arguments],
        cwd=file.parents[1],
        env={**os.environ, "LOGICAL_CPUS": str(devices)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_on_several_devices_all_is_as_on_one(devices):
    done = run_on(devices)
    assert done.returncode == 0, done.stdout + done.stderr
