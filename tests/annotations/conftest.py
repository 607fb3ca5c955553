"""Sources to convert."""

import pytest

from pipelines.annotations.conversion import convert


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def converted(source, out):
    """Converts `source` and returns the `Conversion`."""
    return lambda **options: convert(source, out, **options)


@pytest.fixture(scope="session")
def samples(shared):
    """The real exports of labelling tools, with reference masks."""
    folder = shared / "data/annotations"
    if not folder.is_dir():
        pytest.skip(f"no samples of annotation formats at {folder}")
    return folder
