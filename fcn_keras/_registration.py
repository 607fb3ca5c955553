"""Registers the package's layers, losses, metrics and optimizers once Keras is imported.

`import fcn_keras, keras; keras.models.load_model(...)` must find the custom layers, and Keras only
finds registered classes. Importing Keras here would also work, but it would slow down `--help` by
seconds.
"""

import importlib
import os
import pkgutil
from types import ModuleType

from wrapt import when_imported


def check_backend(backend: str | None = None) -> None:
    """Checks that Keras runs on TensorFlow.

    Args:
        backend: Keras's backend; by default what `KERAS_BACKEND` says, before Keras is imported.

    Raises:
        ImportError: It is another one.
    """
    backend = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        raise ImportError(
            f"KERAS_BACKEND={backend}: fcn_keras needs Keras on TensorFlow. Set "
            "KERAS_BACKEND=tensorflow before Python starts.",
            name="keras",
        )


@when_imported("keras")  # At once if Keras is imported already.
def register(keras: ModuleType) -> None:
    """Imports every module that registers classes with Keras."""
    check_backend(keras.backend.backend())
    layers = importlib.import_module("fcn_keras.layers")
    names = [f"layers.{module.name}" for module in pkgutil.iter_modules(layers.__path__)]
    for name in (*names, "losses", "metrics", "optimizers"):
        importlib.import_module(f"fcn_keras.{name}")
