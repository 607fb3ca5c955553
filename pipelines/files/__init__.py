"""Decodes files into arrays, safely: headers are checked before anything is decoded."""
