"""Writes the YAML file for a folder of images and masks."""
