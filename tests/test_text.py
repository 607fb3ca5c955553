import pytest

from fcn_keras import text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")],
)
def test_durations_are_rounded(seconds, words):
    assert text.duration(seconds) == words


def test_metrics_have_three_decimals_or_n_a():
    assert text.format_metric(None) == "n/a" and text.format_metric(0) == "0.000"
    assert (
        text.format_metric(0.1234, sign=True) == "+0.123"
        and text.format_metric(-0.5, sign=True) == "-0.500"
    )


def test_first_line_of_errors_is_short():
    assert text.first_line(ValueError("\n  one\ntwo")) == "one"
    assert text.first_line(KeyError()) == "KeyError"
    assert len(text.first_line(ValueError("x" * 1000))) == 300
