"""Records a run's environment in `RUN/environment.json`.

Each start of the run, including each resume, adds an entry with command, versions and machine.
"""

import json
import os
import platform
import shlex
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

from fcn_keras import outputs
from fcn_keras._version import __version__
from fcn_keras.distribution import processor

FILE = "environment.json"
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy")


def note_start(out: str | Path, **facts: Any) -> None:
    """Adds this start to `out/environment.json`.

    Args:
        out: The run's folder.
        **facts: Further JSON values, such as `epochs` and `steps`.
    """
    path = Path(out) / FILE
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError, TypeError):
        starts = []
    outputs.write_json(path, {"starts": [*starts, {**describe(), **facts}]})


def describe() -> dict[str, Any]:
    """Returns command, time, versions and machine, ready for JSON."""
    return {
        "command": _command(),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": _versions(),
        "platform": platform.platform(),
        "processor": processor.name(),
        "cores": _cores(),
        "gpus": [_gpu_name(gpu) for gpu in tf.config.list_physical_devices("GPU")],
    }


def _command() -> str:
    """Returns the command line, without the folders of interpreter and script."""
    program = "fcn-keras" if Path(sys.argv[0]).name == "__main__.py" else Path(sys.argv[0]).name
    return shlex.join([program or "python", *sys.argv[1:]])


def _versions() -> dict[str, str]:
    found = {"fcn_keras": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cores() -> int | None:
    """Returns the number of cores this process may use, or all cores if that is unknown."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _gpu_name(gpu: tf.config.PhysicalDevice) -> str:
    details = tf.config.experimental.get_device_details(gpu)
    return details.get("device_name", gpu.name)
