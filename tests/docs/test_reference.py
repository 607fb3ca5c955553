"""The reference pages say what the code has."""

import importlib.util
import re
from pathlib import Path

import fcn_keras
import pipelines
from fcn_keras.runs import run_folder
from pipelines.catalogue import DATASETS
from pipelines.datasets import yaml_schema

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date():
    for name, text in generator().pages().items():
        found = (REFERENCE / name).read_text("utf-8")
        assert found == text, f"{name}: run `python docs/generate.py`"


def test_every_public_name_is_in_the_reference():
    for package in (fcn_keras, pipelines):
        page = (REFERENCE / f"{package.__name__}.md").read_text("utf-8")
        listed = re.findall(rf"^::: {package.__name__}\.(\w+)$", page, re.MULTILINE)
        assert sorted(listed) == sorted(set(package.__all__) - {"__version__"})


def test_the_yaml_page_has_the_keys_of_the_schema():
    page = (REFERENCE / "yaml-keys.md").read_text("utf-8")
    keys = set(re.findall(r"`(\w+)(?::|`)", "".join(re.findall(r"^\| .*? \|", page, re.MULTILINE))))
    models = (yaml_schema.Description, yaml_schema.Folders, yaml_schema.Class)
    assert keys == {name for model in models for name in model.model_fields}


def test_the_run_folder_page_has_every_file():
    page = (REFERENCE / "run-folder.md").read_text("utf-8")
    rows = "".join(re.findall(r"^\| .*? \|", page, re.MULTILINE))
    written = {*run_folder.WRITTEN, "data.json"}
    assert set(re.findall(r"`([\w.]+)/?`", rows)) == written


def test_the_data_page_has_every_data_set():
    page = (REFERENCE / "data-sets.md").read_text("utf-8")
    rows = "".join(re.findall(r"^\| .*? \|", page, re.MULTILINE))
    assert {name for name in DATASETS if f"`{name}`" not in rows} == set()
