"""The blocks of code in a Markdown page, and how to run them as a reader would.

Blocks run in order, in one folder, and Python blocks share their names. HTML comments, which
readers do not see, say what is special about the block that follows:

<!-- test: skip: REASON -->       it does not run here, for example because it downloads data
<!-- test: replace: A => B -->    a smaller model or fewer epochs; the block must contain A
<!-- test: file: NAME -->         the block is written to this file
<!-- test: page: data, run -->    at the top of a page: what `doc_world` puts into the folder first
<!-- test: page: slow -->         the page takes over 10 seconds
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"<!-- test: (\w+): (.*?) -->", re.DOTALL)
RUN = ("python", "sh", "bash")
DATA = ("yaml", "json", "toml")  # Files: they are written, or say why not.


@dataclass
class Block:
    """One block of code."""

    language: str
    text: str
    line: int
    directives: list[tuple[str, str]] = field(default_factory=list)

    def values(self, kind):
        """What the directives of one kind say."""
        return [value for name, value in self.directives if name == kind]

    @property
    def runnable(self):
        """The text with its replacements."""
        text = self.text
        for value in self.values("replace"):
            old, new = value.split(" => ")
            assert old in text, f"line {self.line}: nothing to replace: {old!r}"
            text = text.replace(old, new)
        return text


def blocks_of(page):
    """The blocks of code of a page, with the directives that stand right before each."""
    text = Path(page).read_text("utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        before = text[end : match.start()]
        comments = re.search(r"((?:<!-- test: .*? -->\s*)*)\Z", before, re.DOTALL)[1]
        indent = match[1]
        lines = [line.removeprefix(indent) for line in match[3].splitlines(keepends=True)]
        directives = [
            (kind, " ".join(value.split()) if kind == "skip" else value)
            for kind, value in DIRECTIVE.findall(comments)
            if kind != "page"
        ]
        number = text.count("\n", 0, match.start()) + 1
        found.append(Block(match[2], "".join(lines), number, directives))
        end = match.end()
    return found


def needs_of(page):
    """What a page needs in its folder, from the comments `<!-- test: page: ... -->`."""
    values = [
        value for kind, value in DIRECTIVE.findall(Path(page).read_text("utf-8")) if kind == "page"
    ]
    return {name.strip() for value in values for name in value.split(",")}


def run_page(page, command):
    """Runs the blocks of a page in the current folder; returns how many ran.

    Args:
        page: The Markdown file.
        command: A function that runs `fcn-keras` with some arguments and returns its exit status.
    """
    names, ran = {"__name__": "__main__"}, 0
    for block in blocks_of(page):
        if block.values("skip"):
            continue
        try:
            for name in block.values("file"):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(block.runnable)
            if block.language == "python" and not block.values("file"):
                exec(compile(block.runnable, f"{page}:{block.line}", "exec"), names)
            elif block.language in ("sh", "bash"):
                run_shell(block.runnable, command)
            else:
                continue
        except BaseException as error:
            error.add_note(f"in the block at {page}:{block.line}")
            raise
        ran += 1
    return ran


def run_shell(text, command):
    """Runs lines of a shell; `fcn-keras` in this process, which has imported all it needs."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "fcn-keras":
            status = command(*words[1:])
            assert status == 0, f"exit status {status}: {line}"
        elif words[0] == "export" and "=" in words[1]:
            os.environ.update([words[1].split("=", 1)])
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            subprocess.run(["bash", "-euc", line], check=True, env={**os.environ, "PATH": path})
