"""Bytes become arrays, safely: headers are checked before anything is decoded."""
