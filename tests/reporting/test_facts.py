from pathlib import Path

import pytest

from fcn_keras.reporting.facts import date, rows_of_data, summary
from fcn_keras.runs.reading import Run


@pytest.mark.parametrize(
    ("text", "short", "with_zone"),
    [
        ("2026-11-27T20:43:59+00:00", "27 November 2026, 20:43", " (UTC)"),
        ("2027-02-03T04:05:06+05:30", "3 February 2027, 04:05", " (UTC+05:30)"),
        ("2026-12-31T23:59:59", "31 December 2026, 23:59", ""),
        ("yesterday", "yesterday", ""),
    ],
)
def test_dates_are_written_for_people(text, short, with_zone):
    assert date(text) == short
    assert date(text, zone=True) == short + with_zone


def run_with(**options):
    return Run("run", Path("run"), {"model": "fcn8s", **options}, [])


def test_a_summary_leaves_out_what_is_unknown():
    run = run_with(epochs=3)
    assert summary(run) == ["fcn8s", "0 of 3 epochs"]
    run.starts = [{"started": "2026-11-27T20:43:59+00:00"}]
    run.history = [{"epoch": 1, "seconds": 1800.0}, {"epoch": 2, "seconds": 2100.4}]
    assert summary(run) == [
        "fcn8s",
        "27 November 2026, 20:43",
        "took 1 h 05 min",
        "2 of 3 epochs",
    ]


def test_runs_on_the_same_data_share_its_rows():
    one, other = run_with(), run_with()
    one.data = {"val": {"name": "mine val", "examples": {"a": 1, "b": 2}}}
    other.data = {"val": {"name": "mine val", "examples": {"a": 1, "b": 2}}}
    (row,) = rows_of_data([one, other])
    assert (row["split"], row["name"], row["images"]) == ("val", "mine val", "2")
    other.data["val"]["examples"]["c"] = 3
    assert [row["run"] for row in rows_of_data([one, other])] == ["run", "run"]
    assert rows_of_data([run_with(data="old")])[0]["name"] == "old"
