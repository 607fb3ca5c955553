"""Parses the YAML file of a data set, with limits on what a hostile or broken file can cost."""

from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import DataError
from pipelines.files.opening import read_content

MAX_BYTES = 500_000  # Thousands of folders and hundreds of classes; takes a few seconds.
MAX_DEPTH = 20  # A data set's file needs 4 levels.
MAX_REASON = 500  # Characters.
MAX_DIGITS = 100  # Python cannot print numbers of thousands of digits, and reads them slowly.


def parse(path: Path) -> Any:
    """Parses a YAML file.

    Args:
        path: A `Path`.

    Returns:
        What the file holds: dicts, lists and scalars, without aliases.

    Raises:
        DataError: The file cannot be read, is too large, not UTF-8, not YAML, too deeply nested,
            repeats a key, or has an alias or a number of more than `MAX_DIGITS` digits.
    """
    content = read_content(path, MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a mark, for example.
        raise DataError(
            f"{path}: not readable as YAML: it is not UTF-8 text. Save it as UTF-8.", file=path
        )
    try:
        return yaml.load(text, _Loader)
    # PyYAML also lets through what int() and date() raise for `0x`, `2026-13-01` and the like.
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise DataError(f"{path}: not readable as YAML: {reason}", file=path) from None


class _Loader(yaml.SafeLoader):
    """Rejects aliases, deep nesting, and a key that appears twice, where YAML uses the last one."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.composer.ComposerError(
                None,
                None,
                f"the alias *{alias.anchor} is not supported. Write out what it stands for",
                alias.start_mark,
            )
        if self.depth == MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {MAX_DEPTH} levels deep", mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{name}` appears twice", key.start_mark
                )
            if name is not None:
                seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(node.value):,} digits. Correct it", node.start_mark
            )
        return super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
