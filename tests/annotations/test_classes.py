"""Which classes a conversion has."""

import pytest

from pipelines import DataError
from pipelines.annotations.annotated import VOID, Annotated, ClassName
from pipelines.annotations.classes import choose, parse_merge
from pipelines.annotations.options import Options


def chosen(*names, has_background=True, colours=None, **options):
    colours = colours or [None] * len(names)
    classes = tuple(map(ClassName, names, colours))
    annotated = Annotated(classes, (), has_background=has_background)
    return choose(annotated, Options(**options), "SOURCE")


@pytest.mark.parametrize(
    ("has_background", "unlabelled", "names", "value"),
    [
        (True, None, ("background", "a", "b"), 0),
        (True, "background", ("background", "a", "b"), 0),
        (True, "skip", ("background", "a", "b"), 0),
        (True, "void", ("a", "b"), VOID),
        (False, None, ("a", "b"), VOID),
        (False, "void", ("a", "b"), VOID),
        (False, "skip", ("a", "b"), VOID),
        (False, "background", ("background", "a", "b"), 0),
    ],
)
def test_what_pixels_without_a_shape_are(has_background, unlabelled, names, value):
    made = chosen("a", "b", has_background=has_background, unlabelled=unlabelled)
    assert made.names == names and made.unlabelled == value
    assert [made.names[made.ids[number]] for number in range(2)] == ["a", "b"]


def test_where_everything_is_labelled_background_is_a_class_like_others():
    assert chosen("road", "background", has_background=False).names == ("road", "background")


@pytest.mark.parametrize(("has_background", "other"), [(True, 0), (False, VOID)])
def test_classes_that_are_not_kept(has_background, other):
    made = chosen("a", "b", "c", has_background=has_background, keep=["c", "b"])
    assert made.names[-2:] == ("b", "c") and made.ids[0] == other


def test_equal_names_are_one_class():
    made = chosen("a", "b", "a")
    assert made.names == ("background", "a", "b") and made.ids == {0: 1, 1: 2, 2: 1}


def test_equal_colours_are_told_apart():
    same, black = (9, 9, 9), (0, 0, 0)
    made = chosen("a", "b", "c", "d", colours=[same, same, black, None])
    assert made.colours[1] == same and len(set(made.colours)) == 5


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "has no classes"),
        (("background",), "has no classes"),
        ([f"c{n}" for n in range(255)], "256 classes, but at most 255"),
        (("a", ""), "1 to 1,000 characters"),
        (("a", "x" * 2000), "1 to 1,000 characters"),
        (("a", "x\x7f"), "no control characters"),
        (("a", "\ud800"), "no control characters"),
        (("a", " a"), "only by case or spaces: 'a' and ' a'"),
        (("café", "cafe\u0301"), "only by case or spaces"),
    ],
)
def test_classes_that_cannot_be(names, message):
    with pytest.raises(DataError, match=message):
        chosen(*names)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a,b=c", [("a", "c"), ("b", "c")]),
        ("a=b; c = d e ;", [("a", "b"), (" c ", "d e")]),
        ("x=y=z", [("x=y", "z")]),
    ],
)
def test_merge_rules(text, pairs):
    assert parse_merge(text) == pairs


@pytest.mark.parametrize("text", ["a", "a=", "=b", ",=b", "a,=b"])
def test_merge_rules_that_are_wrong(text):
    with pytest.raises(DataError, match="--merge"):
        parse_merge(text)
