"""The beginning and the end of a run in its folder."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcn_keras import outputs
from fcn_keras.errors import WorkerLost
from fcn_keras.runs import run_folder

if TYPE_CHECKING:
    import keras


@contextlib.contextmanager
def removed_if_untrained(
    out: Path, created: Sequence[Path], is_trained: Callable[[], bool]
) -> Iterator[None]:
    """Removes a new run if the block fails before any training.

    So the same command, without its mistake, starts the run. A run that lost another worker stays,
    because it can resume. Use this while `out` is locked.

    Args:
        out: The run's folder, which `run_folder.check_new` has accepted.
        created: Folders to remove if they are empty then, from `outputs.make_folder`.
        is_trained: Tells whether there is something to keep.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, WorkerLost) and not is_trained():
            for name in (*run_folder.WRITTEN, "data.json", ".lock"):
                _remove(out / name)
            for folder in created:
                with contextlib.suppress(OSError):  # It holds other files, or is gone.
                    folder.rmdir()
        raise


def finish(out: Path, model: keras.Model, epochs: int, best_epoch: int) -> None:
    """Marks the run as finished and removes its checkpoints."""
    content = {
        "epochs": epochs,
        "updates": int(model.optimizer.iterations.numpy()),
        "best_epoch": best_epoch,
        "weights_sha256": weights_sha256(model),
    }
    outputs.write_json(out / "finished.json", content)
    clean_up(out)


def clean_up(out: str | Path) -> None:
    """Removes the checkpoints of a finished run, and files that a kill at its end has left."""
    _remove(Path(out) / run_folder.CHECKPOINTS)
    outputs.remove_unfinished(out)


def weights_sha256(model: keras.Model) -> str:
    """Hashes a model's weights, to compare two runs bit by bit."""
    sha = hashlib.sha256()
    for weight in model.get_weights():
        # NumPy declares arrays as buffers only from Python 3.12 on.
        sha.update(np.ascontiguousarray(weight))  # type: ignore[arg-type]
    return sha.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
