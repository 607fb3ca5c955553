"""Readers of exported models, one module for each engine; `serving.writers` writes the files."""
