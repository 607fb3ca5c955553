"""Receptive fields, computed from a model's graph."""
