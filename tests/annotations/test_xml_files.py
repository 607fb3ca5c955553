"""Strict reading of XML."""

import tracemalloc

import pytest

from pipelines import DataError
from pipelines.annotations import xml_files
from pipelines.annotations.xml_files import children

BOMB = """<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">{}]>
<annotations><image name="&j;"/></annotations>""".format(
    "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
)


def names(path):
    return [child.get("name") for child in children(path, "annotations")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_children_in_any_encoding(tmp_path, encoding):
    text = (
        f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n'
        '<annotations><image name="é"><polygon/></image><image name="b"/></annotations>'
    )
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    assert names(tmp_path / "a.xml") == ["é", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "a DTD or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "a DTD or entities"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
         "a DTD or entities"),
        ("<annotations><image>", "no element found"),
        ("<annotations><image></annotations>", "mismatched tag"),
        ("<annotations><image name='a' name='b'/></annotations>", "duplicate attribute"),
        ("<annotations><image>&nothing;</image></annotations>", "undefined entity"),
        ("<annotations>" + "<a>" * 100_000, "nested too deeply"),
        ("<other/>", "its root is <other>, not <annotations>"),
        ("", "no element found"),
        ("\0\0\0\0", "not well-formed"),
        ("<?xml version='1.0' encoding='none'?><annotations/>", "unknown encoding"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_that_names_the_file(tmp_path, text, message):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"a.xml: not readable as XML: .*{message}") as error:
        names(path)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="none.xml: cannot be read"):
        names(tmp_path / "none.xml")
    (tmp_path / "a.xml").write_text("<annotations/>")
    monkeypatch.setattr(xml_files, "MAX_BYTES", 3)
    with pytest.raises(DataError, match="more than 3 bytes"):
        names(tmp_path / "a.xml")


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "a.xml"
    image = '<image name="a">' + '<polygon points="1,2;3,4"/>' * 100 + "</image>"
    path.write_text("<annotations>" + image * 3000 + "</annotations>")
    assert path.stat().st_size > 8_000_000
    tracemalloc.start()
    assert sum(1 for _ in children(path, "annotations")) == 3000
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
