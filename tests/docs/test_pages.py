"""What the README and the documentation tell a reader is there: commands, names, links, files."""

import pkgutil
import re
from pathlib import Path

import pytest

from fcn_keras.cli.main import COMMANDS, load

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "saved_models" / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
FILE = re.compile(r"`((?:fcn_keras|pipelines|tests|examples|benchmarks)/[\w/.]+\.\w+)`")
GENERATED = {"command-line.md"}  # Written from the code itself.


def name_of(page):
    return str(page.relative_to(ROOT))


def test_the_readme_is_short_and_has_a_picture():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 170
    pictures = re.findall(r"!\[.+\]\((.+?)\)", text)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"```sh\n(.*pytest)\n```", README.read_text("utf-8"))
    assert command in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page):
    for line in re.findall(r"fcn-keras ([a-z][^`\n|]*)", page.read_text("utf-8")):
        words = line.split()
        if words[0] not in COMMANDS or page.name in GENERATED:  # "fcn-keras" in a sentence.
            continue
        command = load(words[0])
        if words[0] in ("data", "experiment"):
            command = command.commands[words[1]]
        known = {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
        for word in words:
            if word.startswith("--"):
                assert word.rstrip(".,;:)") in known, f"{word} in `fcn-keras {line}`"


def test_every_command_is_shown_somewhere():
    pages = [page for page in [README, *DOCS] if page.name not in GENERATED]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert {name for name in COMMANDS if f"fcn-keras {name}" in text} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]+)?\)", page.read_text("utf-8")):
        if target.startswith("http"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{target} in {name_of(page)}"
        if anchor:
            assert anchor[1:] in anchors(file), f"{target}{anchor} in {name_of(page)}"


def anchors(page):
    """The anchors of a page's headings, as GitHub and Zensical make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_and_files_exist(page):
    text = page.read_text("utf-8")
    for path in FILE.findall(text):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"\b((?:fcn_keras|pipelines)(?:\.[A-Za-z]\w*)+)", text):
        if not name.endswith((".svg", ".md", ".yaml")):
            assert pkgutil.resolve_name(name) is not None


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in DOCS:
        assert f": {page.relative_to(ROOT / 'docs')}" in config, page
