"""Masks with a table of class names beside them."""

import itertools
import json

import pytest
from drawn_folders import fill, made

import pipelines


@pytest.fixture
def read(tmp_path):
    """Reads a table beside masks 0..3: (file, content) -> ({name: value}, notes)."""
    numbers = itertools.count()

    def reader(file, content, values=(0, 1, 2, 3), palette=None):
        root = tmp_path / str(next(numbers)) / "data"
        fill(root, names=range(4), values=values, palette=palette)
        (root / file).parent.mkdir(exist_ok=True)
        if not isinstance(content, bytes):
            content = (content if isinstance(content, str) else json.dumps(content)).encode()
        (root / file).write_bytes(content)
        data, description = made(root)
        split = pipelines.read(data, "train")
        found = {i: key for key, i in split.mask_values.items()}
        return {name: found[i] for i, name in enumerate(split.class_names)}, description.notes

    return reader
