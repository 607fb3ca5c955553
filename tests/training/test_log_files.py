import csv
import resource

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fcn_keras.training.log_files import HISTORY, LogFiles

EPOCH = {"loss": 0.5, "seconds": 2.0}


def write_all(log, epoch):
    log.append_history(epoch, EPOCH)
    log.save_pictures([np.zeros((90, 90, 3), "uint8")])
    with log.events("train", epoch):
        tf.summary.scalar("loss", epoch)
        tf.summary.text("long", "x" * 9000)


def steps_in(folder):
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return [event.step for event in found.Tensors("loss")]


def test_a_full_disk_costs_the_logs_only(small_disk, fill_disk, capfd):
    log = LogFiles(small_disk)
    write_all(log, 1)
    filler = fill_disk(small_disk, left=0)
    for epoch in range(2, 40):  # The last block of history.csv has room for these rows.
        write_all(log, epoch)
    assert capfd.readouterr().err.splitlines() == [
        f"warning: {small_disk / 'tensorboard'}: cannot be written (No space left on device). "
        "Training continues without it. Free some disk space."
    ]
    filler.unlink()
    write_all(log, 40)  # Somebody has freed some space.
    log.close()
    assert capfd.readouterr().err == ""
    assert steps_in(small_disk / "tensorboard" / "train") == [1, 40]
    history = list(csv.DictReader((small_disk / "history.csv").read_text().splitlines()))
    assert (history[0]["epoch"], history[-1]["epoch"]) == ("1", "40")


def rows(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def test_the_header_is_written_even_if_the_disk_was_full_at_first(small_disk, fill_disk, capfd):
    filler = fill_disk(small_disk, left=0)
    LogFiles(small_disk).append_history(1, EPOCH)
    assert "history.csv: cannot be written (No space left on device)" in capfd.readouterr().err
    filler.unlink()
    LogFiles(small_disk).append_history(2, EPOCH)
    assert [(row["epoch"], row["loss"], row["seconds"]) for row in rows(small_disk)] == [
        ("2", "0.5", "2.0")
    ]


def test_a_full_disk_leaves_no_half_rows(tmp_path, capfd):
    log = LogFiles(tmp_path)
    log.append_history(1, EPOCH)
    size = (tmp_path / "history.csv").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
    try:
        log.append_history(2, EPOCH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "history.csv: cannot be written (File too large)" in capfd.readouterr().err
    log.append_history(3, EPOCH)
    assert [(row["epoch"], row["seconds"]) for row in rows(tmp_path)] == [
        ("1", "2.0"),
        ("3", "2.0"),
    ]


@pytest.mark.parametrize("header", ["", "epoch,loss,seconds\n"])
def test_resuming_keeps_the_rows_of_earlier_epochs(tmp_path, header):
    """Also if epochs are missing, the last row is broken off, or the header was lost."""
    full = header or ",".join(HISTORY) + "\n"
    row = {"epoch,loss,seconds\n": "{},0.5,2"}.get(header, "{},0.5" + "," * 12 + "2")
    lines = [row.format(epoch) for epoch in (1, 3, 4, 6)]
    (tmp_path / "history.csv").write_text(header + "\n".join(lines))
    LogFiles(tmp_path).cut_history(4)
    assert (tmp_path / "history.csv").read_text() == full + "\n".join(lines[:3]) + "\n"
    (tmp_path / "history.csv").write_text("")
    LogFiles(tmp_path).cut_history(0)
    assert rows(tmp_path) == []


def test_a_file_limit_costs_the_event_file_only(tmp_path, capfd):
    log = LogFiles(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        for epoch in range(60):
            with log.events("train", epoch):
                tf.summary.scalar("loss" + 100 * "s", epoch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "tensorboard: cannot be written (File too large)" in err
    assert len(list((tmp_path / "tensorboard" / "train").iterdir())) > 1
    assert not tf.summary.should_record_summaries()  # No writer is left as TensorFlow's default.


def test_each_log_warns_once(tmp_path, capfd, monkeypatch):
    log = LogFiles(tmp_path)
    (tmp_path / "history.csv").symlink_to("/dev/full")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "00.png").symlink_to("/dev/full")

    def full(folder):
        raise tf.errors.ResourceExhaustedError(None, None, f"{folder}; No space left on device")

    monkeypatch.setattr(tf.summary, "create_file_writer", full)
    for epoch in (1, 2):
        write_all(log, epoch)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        str(tmp_path / name) for name in ("history.csv", "pictures", "tensorboard")
    ]


def test_other_errors_of_the_logs_end_the_training(tmp_path):
    log = LogFiles(tmp_path)
    with pytest.raises(tf.errors.ResourceExhaustedError, match="OOM"), log.events("train", 1):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    (tmp_path / "history.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        log.append_history(1, EPOCH)
