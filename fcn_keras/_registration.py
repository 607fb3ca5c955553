"""Registers the package's layers, losses and metrics with Keras, once anyone imports Keras.

`import fcn_keras, keras; keras.models.load_model(...)` must find the custom layers, and Keras only
looks at what is registered. Importing Keras here would do, but it takes seconds, which `--help`
must not cost.
"""

import importlib
import pkgutil
from types import ModuleType

from wrapt import when_imported


@when_imported("keras")
def register(keras: ModuleType) -> None:
    """Imports all modules that register classes with Keras."""
    layers = importlib.import_module("fcn_keras.layers")
    names = [f"layers.{module.name}" for module in pkgutil.iter_modules(layers.__path__)]
    for name in (*names, "losses", "metrics", "optimizers"):
        importlib.import_module(f"fcn_keras.{name}")
