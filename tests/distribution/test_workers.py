import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import on_workers
import pytest
import tensorflow as tf

from fcn_keras.distribution import cluster, workers
from fcn_keras.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


def addresses(count):
    """Returns free addresses on this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def tf_config(number, places):
    return json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": number}})


def start(number, places, *arguments, log):
    """Starts one worker process; its output goes to `log`."""
    environment = {**os.environ, "TF_CONFIG": tf_config(number, places), "CUDA_VISIBLE_DEVICES": ""}
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=REPOSITORY,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def start_two(*arguments, folder, name):
    places = addresses(2)
    logs = [folder / f"{name}{number}.log" for number in range(2)]
    both = [start(number, places, *arguments, log=logs[number]) for number in range(2)]
    return both, logs


def rounded(value):
    """Compares floats up to the rounding of float32."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return pytest.approx(value, rel=2e-5) if isinstance(value, float) else value


def fitted():
    """Trains the workers' model with Keras's own `fit` in this process."""
    model = on_workers.compiled(tf.distribute.get_strategy())
    record = on_workers.Record(on_workers.STOP_AFTER)
    train_data, val_data = on_workers.data()
    history = model.fit(
        train_data(start=(0, 0)),
        validation_data=val_data,
        validation_freq=[2],
        epochs=on_workers.EPOCHS,
        steps_per_epoch=on_workers.STEPS,
        callbacks=[record],
        shuffle=False,
        verbose=0,
    )
    return model, record, history.history


def test_worker_loop_matches_keras_fit():
    expected, record, history = fitted()
    model = on_workers.compiled(tf.distribute.get_strategy())
    own = on_workers.Record(on_workers.STOP_AFTER)
    assert on_workers.fit(model, own) == rounded(history)
    assert own.calls == rounded(record.calls)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.soak
def test_two_workers_match_one_process(tmp_path):
    both, logs = start_two(Path(on_workers.__file__), tmp_path, folder=tmp_path, name="worker")
    model, record, history = fitted()
    for process, log in zip(both, logs, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()

    found = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2)]
    weights = [np.load(tmp_path / f"{number}.npz") for number in range(2)]
    for ours, *theirs in zip(model.get_weights(), *(w.values() for w in weights), strict=True):
        np.testing.assert_array_equal(*theirs)
        np.testing.assert_allclose(theirs[0], ours, atol=2e-6)
    assert found[0]["calls"] == found[1]["calls"]
    calls = [
        [call for call in each if not call[0].startswith("on_test_batch")]
        for each in (record.calls, found[0]["calls"])
    ]
    assert calls[1] == rounded(calls[0])
    # Seven images, one per worker and step: four steps with two workers.
    assert [call[0] for call in found[0]["calls"]].count("on_test_batch_end") == 4
    assert found[0]["history"] == rounded(history)
    assert [one["is_chief"] for one in found] == [True, False]
    assert found[0]["not_the_same"].startswith("number: differs between workers; its checksum ")
    assert found[0]["not_the_same"] != found[1]["not_the_same"]


TRAIN = (
    *("-m", "fcn_keras", "train", "--data", "synthetic", "--recipe", "quickstart"),
    *("--epochs", 2, "--validate-every", 2, "--dropout", 0, "--batch-size", 16),
    *("--crop", "48x64", "--head-width", 16, "--checkpoint-every", 3),
)


@pytest.mark.soak
def test_run_resumes_after_a_worker_is_killed(tmp_path):
    complete, interrupted = tmp_path / "complete", tmp_path / "interrupted"
    both, logs = start_two(*TRAIN, "--resume", interrupted, folder=tmp_path, name="interrupted")
    deadline = time.monotonic() + 240
    while not list(interrupted.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    both[1].send_signal(signal.SIGKILL)
    assert both[0].wait(timeout=120) == 2, logs[0].read_text()
    assert (
        logs[0]
        .read_text()
        .rstrip()
        .endswith(
            "error: worker 1 has ended or is unreachable; see its output for the reason. To "
            f"resume: start all workers again: fcn-keras train --resume {interrupted}."
        )
    )
    assert both[1].wait() == -signal.SIGKILL

    both, logs = start_two(*TRAIN, "--resume", interrupted, folder=tmp_path, name="again")
    for process, log in zip(both, logs, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()
    assert "epoch 2/2" in logs[0].read_text()
    assert "epoch" not in logs[1].read_text() and "is training; " in logs[1].read_text()

    both, logs = start_two(*TRAIN, "--out", complete, folder=tmp_path, name="complete")
    for process, log in zip(both, logs, strict=True):
        assert process.wait(timeout=240) == 0, log.read_text()
    ends = [json.loads((run / "finished.json").read_text()) for run in (complete, interrupted)]
    assert ends[0]["weights_sha256"] == ends[1]["weights_sha256"]
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (complete, interrupted)]
    assert metrics[0] == metrics[1]


FAULTS = {
    "{": "must be JSON, found '{'",
    "[]": 'must have a "cluster" with the addresses of the workers, found None',
    '{"cluster": {}}': 'must have a "cluster"',
    '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}}': "found 'ps'",
    '{"cluster": {"worker": "a:1"}}': "\"worker\" must be a list of host:port, found 'a:1'",
    '{"cluster": {"chief": ["a:1", "b:1"]}}': '"chief" must be one address',
    '{"cluster": {"worker": ["a:1", "a"]}}': "host:port with a port of 1 to 65535, found 'a'",
    '{"cluster": {"worker": ["a:1", "a:70000"]}}': "found 'a:70000'",
    '{"cluster": {"worker": ["a:1", "a:1"]}}': "every worker must have its own address",
    '{"cluster": {"worker": ["a:1", "b:1"]}}': "one of the 2 processes",
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}': "'index': 2",
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}': "'chief'",
}


@pytest.mark.parametrize("text", FAULTS)
def test_malformed_tf_config_is_an_error(text):
    with pytest.raises(ConfigError, match=r"^TF_CONFIG: ") as raised:
        cluster.from_environment({"TF_CONFIG": text})
    assert FAULTS[text] in str(raised.value) and "\n" not in str(raised.value)


def test_chief_is_the_first_worker():
    text = json.dumps(
        {
            "cluster": {"worker": ["a:1", "b:2"], "chief": ["[::1]:3"]},
            "task": {"type": "worker", "index": 1},
        }
    )
    team = cluster.from_environment({"TF_CONFIG": text})
    assert (team.number, team.is_chief, len(team)) == (2, False, 3)
    assert team.describe(0) == "chief 0 (::1:3)" and team.describe(2) == "worker 1 (b:2)"
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert cluster.from_environment({"TF_CONFIG": json.dumps(alone)}) is None
    assert cluster.from_environment({}) is None


def meet(*options, places=None, numbers=None, patience=20.0):
    """Runs `cluster.meet` on several workers; returns each one's error message, or None."""
    places = places or addresses(len(options))
    heard = [None] * len(options)

    def one(at, number):
        team = cluster.from_environment({"TF_CONFIG": tf_config(number, places)})
        try:
            cluster.meet(team, options[at], patience, say=lambda line: None)
        except ConfigError as error:
            heard[at] = str(error)

    threads = [
        threading.Thread(target=one, args=(at, number))
        for at, number in enumerate(numbers or range(len(options)))
    ]
    for thread in reversed(threads):  # The chief starts last.
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    return heard


def test_workers_with_equal_options_meet():
    assert meet({"a": 1}, {"a": 1}, {"a": 1}) == [None] * 3


def test_different_options_are_an_error_on_all_workers():
    heard = meet({"seed": 0, "crop": (1, 2)}, {"seed": 0, "crop": (1, 2)}, {"seed": 7})
    assert len(set(heard)) == 1 and heard[0].startswith("seed: worker 0 has 0, worker 2 (127.0.0.1")
    assert "Start all workers with the same options" in heard[0]


def test_missing_worker_is_named():
    places = addresses(3)
    heard = meet({}, {}, places=places, numbers=[0, 2], patience=1.0)
    assert heard[0] == heard[1] and heard[0].startswith(f"worker 1 ({places[1]}): missing after")
    assert meet({}, places=places, numbers=[1], patience=0.5)[0].startswith("worker 0 (127.0.0.1:")


def test_two_workers_with_the_same_index_are_an_error():
    heard = meet({}, {}, {}, places=addresses(3), numbers=[0, 1, 1])
    assert "two processes claim to be worker 1" in heard[0]


@pytest.mark.parametrize("number", [0, 1])
def test_port_in_use_is_an_error(number):
    places = addresses(2)
    with socket.create_server(("", int(places[number].rpartition(":")[2]))):
        heard = meet({}, {}, places=places) if number else meet({}, places=places, numbers=[0])
    fault = f"TF_CONFIG: worker {number} ({places[number]}) cannot listen on its port: Address "
    assert all(text.startswith(fault) for text in heard)


def test_other_connections_to_the_port_are_ignored():
    places = addresses(2)
    port = int(places[0].rpartition(":")[2])

    def knock():
        for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"number": 1}\n', b""):
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                        stranger.sendall(greeting)
                    break
                except OSError:
                    time.sleep(0.01)

    stranger = threading.Thread(target=knock)
    stranger.start()
    heard = [None, "not met"]
    chief = threading.Thread(
        target=lambda: heard.__setitem__(0, meet({}, places=places, numbers=[0])[0])
    )
    chief.start()
    stranger.join()
    heard[1] = meet({}, places=places, numbers=[1])[0]
    chief.join()
    assert heard == [None, None]


def test_command_reports_a_malformed_tf_config(fcn_keras_cli, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", "no JSON")
    status, _, err = fcn_keras_cli("train", "--data", "synthetic", "--out", tmp_path / "run")
    assert status == 2 and err.startswith("error: TF_CONFIG: must be JSON, found 'no JSON'")
    assert not (tmp_path / "run").exists()


def test_lost_worker_is_named():
    message = "Collective ops is aborted by: Error reported from /job:worker/task:0: unhealthy: \n"
    error = tf.errors.UnavailableError(None, None, message + "/job:worker/replica:0/task:3")
    assert str(workers.lost_worker(error, "start again")) == (
        "worker 3 has ended or is unreachable; see its output for the reason. To resume: start "
        "again."
    )


def test_other_errors_are_not_a_lost_worker():
    for kind in (tf.errors.InvalidArgumentError, tf.errors.UnavailableError):
        assert workers.lost_worker(kind(None, None, "DataError: a.png: not readable"), "") is None


def test_finished_run_trains_no_further():
    model = on_workers.compiled(tf.distribute.get_strategy())
    record = on_workers.Record()
    train_data, _ = on_workers.data()
    workers.fit(model, train_data, epochs=1, steps_per_epoch=3, callbacks=[record], start=(1, 0))
    assert record.calls == [["on_train_begin", None, {}], ["on_train_end", None, {}]]
    assert model.optimizer.iterations.numpy() == 0


def test_training_from_the_middle_of_an_epoch_completes_it():
    model = on_workers.compiled(tf.distribute.get_strategy())
    record = on_workers.Record()
    train_data, _ = on_workers.data()
    workers.fit(model, train_data, epochs=2, steps_per_epoch=3, callbacks=[record], start=(0, 2))
    steps = [number for name, number, _ in record.calls if name == "on_train_batch_begin"]
    assert steps == [0, 0, 1, 2] and model.optimizer.iterations.numpy() == 4
