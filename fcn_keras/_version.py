"""The one place where the version is written down; `setup.py` reads it too."""

__version__ = "0.2.0"
