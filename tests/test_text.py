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


def test_progress_without_a_terminal_is_a_line_every_half_minute(monkeypatch):
    now, lines = [1000.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    advance = text.progress_lines("measuring the images", 500, lines.append)
    for _ in range(8):  # The eighth of a minute for each image.
        now[0] += 7.5
        advance()
    assert lines == ["measuring the images: 4 of 500", "measuring the images: 8 of 500"]
    text.progress_lines("reading", None, lines.append)()
    assert len(lines) == 2
