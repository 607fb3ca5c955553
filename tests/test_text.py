import pytest

from fcn_keras import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")],
)
def test_durations_are_rounded_to_what_matters(seconds, words):
    assert text.duration(seconds) == words


def test_a_figure_that_is_not_there_is_said():
    assert text.figure(None) == "n/a" and text.figure(0) == "0.000"
    assert text.figure(0.1234, sign=True) == "+0.123" and text.figure(-0.5, sign=True) == "-0.500"


def test_an_error_is_told_in_one_line():
    assert text.first_line(ValueError("\n  one\ntwo")) == "one"
    assert text.first_line(KeyError()) == "KeyError"
    assert len(text.first_line(ValueError("x" * 1000))) == 300
