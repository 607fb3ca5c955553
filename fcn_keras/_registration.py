"""Registers the package's layers, losses and metrics with Keras, once anyone imports Keras.

`import fcn_keras, keras; keras.models.load_model(...)` must find the custom layers, and Keras only
looks at what is registered. Importing Keras here would do, but it takes seconds, which `--help`
must not cost.
"""

import importlib

from wrapt import when_imported

REGISTERED = ("layers.fcn", "layers.zoom", "losses", "metrics", "optimizers")


@when_imported("keras")
def register(keras):
    """Imports the modules of `REGISTERED`; each registers its classes."""
    for module in REGISTERED:
        importlib.import_module(f"fcn_keras.{module}")
