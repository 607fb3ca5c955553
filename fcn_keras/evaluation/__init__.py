"""Measures models on data sets."""
