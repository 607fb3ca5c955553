"""Moments when a kill could corrupt a training run, each identified by a function call.

`python tests/helpers/kill_points.py "a validation runs" train ...` runs `fcn-keras train ...` and
kills it at that moment.
"""

import contextlib
import os
import pkgutil
import signal
import sys
from pathlib import Path
from unittest import mock

# A function and one of its calls: the call's number, or the file name in its last argument.
MOMENTS = {
    "a checkpoint is half saved": ("os.fsync", 19),  # Two per checkpoint; this is the tenth.
    "a checkpoint has no name yet": ("os.replace", "step-0000000012.ckpt"),
    "a validation runs": ("fcn_keras.training.checkpoint.ResumableCheckpoint.on_test_batch_end", 5),
    "the best model has no name yet": ("os.replace", "model.keras"),
    "the run is not marked as finished": ("os.replace", "finished.json"),
}


@contextlib.contextmanager
def at(moment, action):
    """Calls `action` when a training run in this process first reaches that moment."""
    name, wanted = MOMENTS[moment]
    owner, _, attribute = name.rpartition(".")
    owner, calls = pkgutil.resolve_name(owner), []
    real = getattr(owner, attribute)

    def watched(*args, **kwargs):
        calls.append(Path(args[-1]).name if isinstance(wanted, str) else len(calls) + 1)
        if calls[-1] == wanted and calls.count(wanted) == 1:
            action()
        return real(*args, **kwargs)

    with mock.patch.object(owner, attribute, watched):
        yield


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _, moment, *sys.argv[1:] = sys.argv
    from fcn_keras.cli import main as cli

    with at(moment, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        cli.main()
