"""Registers the package's layers, losses, metrics and optimizers once Keras is imported.

`import fcn_keras, keras; keras.models.load_model(...)` must find the custom layers, and Keras only
finds registered classes. Importing Keras here would also work, but it would slow down `--help` by
seconds.
"""

import importlib
import pkgutil
from types import ModuleType

from wrapt import when_imported


@when_imported("keras")
def register(keras: ModuleType) -> None:
    """Imports every module that registers classes with Keras."""
    layers = importlib.import_module("fcn_keras.layers")
    names = [f"layers.{module.name}" for module in pkgutil.iter_modules(layers.__path__)]
    for name in (*names, "losses", "metrics", "optimizers"):
        importlib.import_module(f"fcn_keras.{name}")
