"""What the README tells a newcomer to type is what there is."""

import pkgutil
import re
from pathlib import Path

import pytest

from fcn_keras.cli.main import COMMANDS, load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_readmes_test_command():
    (command,) = re.findall(r"```sh\n(.*pytest)\n```", README)
    assert command in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()


def test_every_command_and_option_exists():
    seen = set()
    for line in re.findall(r"fcn-keras ([a-z][^`\n|]*)", README):
        words = line.split()
        if words[0] not in COMMANDS:  # "fcn-keras" in a sentence.
            continue
        command = load(words[0])
        if words[0] in ("data", "experiment"):
            command = command.commands[words[1]]
        seen.add(words[0])
        known = {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
        for word in words:
            if word.startswith("--"):
                assert word in known, f"{word} in `fcn-keras {line}`"
    assert seen == set(COMMANDS)


def test_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists()


@pytest.mark.parametrize("page", ["README.md", "saved_models/README.md", "CONTRIBUTING.md"])
def test_what_scripts_import_is_there(page):
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for line in re.findall(r"^(?:import|from) .*", "\n".join(blocks), re.MULTILINE):
        exec(line, {})
    for path in re.findall(r"`(?:fcn_keras|pipelines|tests)/[\w/]+\.py`", text):
        assert (ROOT / path.strip("`")).is_file(), path
    for name in re.findall(r"\b((?:fcn_keras|pipelines)(?:\.[A-Za-z]\w*)+)", text):
        found = pkgutil.resolve_name(name)
        assert found is not None
