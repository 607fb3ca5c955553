"""The custom Keras layers, the only ones of the package."""
