"""All custom Keras layers of the package."""
