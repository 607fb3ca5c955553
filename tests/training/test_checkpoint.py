import errno
import io
import os
import resource
import signal
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import fcn_keras
from fcn_keras.errors import ConfigError, ModelError
from fcn_keras.training import checkpoint, checkpoint_file
from fcn_keras.training.intervals import parse_every
from fcn_keras.training.state import step_in_words, steps_in_words

ARRAYS = {
    "kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "step": np.array(7, "int64"),
    "seed": np.array([1, 2], "uint32"),
    "none": np.zeros((0, 3), "float32"),
}


def same(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(one[k], other[k]) and one[k].dtype == other[k].dtype for k in one
    )


def test_checkpoint_file_round_trip(tmp_path):
    path = tmp_path / "step-0000000001.ckpt"
    checkpoint_file.write(path, ARRAYS, {"position": (3, 4)})
    arrays, state = checkpoint_file.read(path)
    assert same(arrays, ARRAYS)
    assert state == checkpoint_file.read_state(path) == {"position": [3, 4]}
    assert list(tmp_path.iterdir()) == [path]


def assert_same_state(model, other):
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_any_damage_is_detected(tmp_path):
    path = tmp_path / "step-0000000001.ckpt"
    checkpoint_file.write(path, ARRAYS, {})
    whole = path.read_bytes()
    for place in (*range(0, len(whole), 41), len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match="damaged or incomplete"):
            checkpoint_file.read(path)
    for length in (0, 10, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="damaged or incomplete"):
            checkpoint_file.read_state(path)
    with pytest.raises(ModelError, match="cannot be read"):
        checkpoint_file.read(tmp_path / "missing.ckpt")


def test_full_disk_leaves_the_existing_file(tmp_path):
    path = tmp_path / "step-0000000001.ckpt"
    checkpoint_file.write(path, ARRAYS, {"number": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError):
            checkpoint_file.write(path, {"large": np.ones(50_000)}, {"number": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    arrays, state = checkpoint_file.read(path)
    assert same(arrays, ARRAYS) and state == {"number": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "every, expected",
    [(500, (500, None)), ("12 steps", (12, None)), ("30s", (None, 30)), ("10 min", (None, 600))]
    + [("2h", (None, 7200))],
)
def test_checkpoint_intervals_are_steps_or_times(every, expected):
    assert parse_every(every) == expected


@pytest.mark.parametrize("every", ["", "0", "0 min", "-3", "often", "2 days"])
def test_invalid_checkpoint_interval_is_an_error(every):
    with pytest.raises(ConfigError, match="a number of steps, such as 500, or a time"):
        parse_every(every)


# A user's own script: a Keras model, `fit`, and data that can start at a position.
STEPS, EPOCHS = 5, 3


def user_model(keep=1.0):
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(1e-2, STEPS * EPOCHS), use_ema=True
        ),
        loss=fcn_keras.MaskedCrossentropy(sample_rate=keep),
        metrics=[fcn_keras.ConfusionMatrix(3)],
    )
    return model


def user_data(start, steps=STEPS):
    def batches():
        for number in range(start[0] * (steps or STEPS) + start[1], 10**6):
            rng = np.random.default_rng(number)
            yield rng.normal(size=(2, 8, 8, 3)), rng.integers(0, 3, (2, 8, 8))

    signature = (tf.TensorSpec((2, 8, 8, 3), tf.float32), tf.TensorSpec((2, 8, 8), tf.int32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature)


def user_script(folder, *callbacks, keep=1.0, every=1, execution=1, steps=STEPS, **options):
    model = user_model(keep)
    model.steps_per_execution = execution
    saver = fcn_keras.ResumableCheckpoint(folder, every=every)
    logs = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, log: logs.append(dict(log)))
    model.fit(
        user_data(saver.position, steps),
        **options,
        steps_per_epoch=steps,
        shuffle=False,
        initial_epoch=saver.position.epoch,
        epochs=EPOCHS,
        callbacks=[saver, watch, *callbacks],
        verbose=0,
    )
    return model, logs


class Crash(keras.callbacks.Callback):
    """Raises an error or sends a signal after a number of steps."""

    def __init__(self, step, signal=None):
        super().__init__()
        self.left, self.signal = step, signal

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left and self.signal:
            os.kill(os.getpid(), self.signal)
        elif not self.left:
            raise RuntimeError("crash")


@pytest.mark.parametrize("keep", [1.0, 0.5])
def test_interrupted_script_resumes_exactly(tmp_path, keep):
    whole, logs = user_script(tmp_path / "whole", keep=keep)
    folder = tmp_path / "interrupted"
    for steps in (2, 5, 4):  # In epoch 1, at the first step of epoch 2, at the end of an epoch.
        with pytest.raises(RuntimeError, match="crash"):
            user_script(folder, Crash(steps), keep=keep)
    resumed, later = user_script(folder, keep=keep)
    assert_same_state(whole, resumed)
    assert later == logs[-len(later) :]  # Loss and metrics cover whole epochs too.


def test_executions_of_several_steps_resume_exactly(tmp_path):
    options = {"execution": 2, "steps": 4, "every": 2}
    whole, logs = user_script(tmp_path / "whole", **options)
    folder = tmp_path / "interrupted"
    for executions, position in ((1, (0, 2)), (2, (1, 2))):  # An epoch has two executions.
        with pytest.raises(RuntimeError, match="crash"):
            user_script(folder, Crash(executions), **options)
        assert fcn_keras.ResumableCheckpoint(folder).position == position
    resumed, later = user_script(folder, **options)
    assert_same_state(whole, resumed)
    assert later == logs[-len(later) :]


@pytest.mark.parametrize("stop, execution", [(5, 3), (5, 2), (4, 6), (1, 6)])
def test_a_position_within_an_execution_is_an_error(tmp_path, stop, execution):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(stop), steps=6)
    message = rf"^steps_per_execution={execution}: .* saved after step {stop} of an epoch, no mult"
    with pytest.raises(ConfigError, match=message):
        user_script(tmp_path, steps=6, execution=execution)
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (0, stop)


def test_more_steps_per_execution_finish_the_epoch_once(tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(3), steps=6)
    model, _ = user_script(tmp_path, steps=6, execution=3)
    assert int(model.optimizer.iterations) == 6 * EPOCHS


@pytest.mark.parametrize("place", ["script.py", "script.py/checkpoints"])
def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path, place):
    (tmp_path / "script.py").write_text("")
    with pytest.raises(ConfigError, match=r"script\.py is a file, not a folder"):
        fcn_keras.ResumableCheckpoint(tmp_path / place)


@pytest.mark.parametrize("folder", [None, "", 3])
def test_a_checkpoint_folder_is_a_path(folder):
    with pytest.raises(ConfigError, match=f"^folder={folder!r}: must be a path"):
        fcn_keras.ResumableCheckpoint(folder)


def test_an_epoch_stopped_in_its_validation_is_not_trained_again(tmp_path, signal_stack):
    validation = {"validation_data": user_data((9, 0)), "validation_steps": 2}
    whole, _ = user_script(tmp_path / "whole", **validation)

    class Stop(keras.callbacks.Callback):
        def on_test_batch_begin(self, batch, logs=None):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        user_script(tmp_path / "stopped", Stop(), **validation)
    assert fcn_keras.ResumableCheckpoint(tmp_path / "stopped").position == (1, 0)
    resumed, logs = user_script(tmp_path / "stopped", **validation)
    assert len(logs) == EPOCHS - 1
    assert_same_state(whole, resumed)


@pytest.mark.parametrize("steps", [1, 2])
def test_shorter_epochs_keep_the_newest_checkpoints(tmp_path, steps):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(STEPS + 1), every=STEPS)  # Saved after the first epoch.
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (1, 0)
    user_script(tmp_path, steps=steps)
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (EPOCHS, 0)
    assert len(checkpoint_file.in_order(tmp_path)) == 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 3}, "saved after step 3 of an epoch of 5 steps, and an epoch has 3 now"),
        ({"steps": None}, "steps_per_epoch: not given, nor told by the data"),
        ({"execution": 2}, "steps_per_epoch=5: must be a multiple of steps_per_execution=2"),
    ],
)
def test_epochs_of_another_or_unknown_length_are_an_error(tmp_path, options, message):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(3))
    with pytest.raises(ConfigError, match=message):
        user_script(tmp_path, **options)
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (0, 3)


def test_a_checkpoint_is_saved_when_its_time_has_come(tmp_path, monkeypatch):
    clock, saved = iter(np.arange(0, 900, 4.0)), []  # Every look at the clock takes 4 s.
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(checkpoint_file, "write", lambda path, *_: saved.append(path.name[-7:-5]))
    monkeypatch.setattr(checkpoint_file, "keep", lambda *_: None)
    user_script(tmp_path, every="10 s")
    # After a save at t, the clock shows t + 4, t + 8 and t + 12 after the next steps, so each third
    # one saves; the last because it is the end.
    assert saved == ["03", "06", "09", "12", "15"]


def test_a_second_ctrl_c_stops_at_once(tmp_path, signal_stack):
    class Impatient(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)  # Another signal changes nothing.
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("still training")

    with pytest.raises(KeyboardInterrupt):
        user_script(tmp_path, Impatient(), every="2 h")
    assert fcn_keras.ResumableCheckpoint(tmp_path).is_new  # Nothing was saved.


@pytest.mark.parametrize(
    "number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signal_saves_and_prints_how_to_resume(tmp_path, capfd, signal_stack, number, status):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        user_script(tmp_path, Crash(3, number), every="2 h")
    assert stop.value.code == status
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.splitlines() == [
        "stopping: finishing the step and saving ...",
        "stopped after step 4 of epoch 1 and saved. To resume: run the same script again",
    ]
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (0, 4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_that_the_parent_ignores_stays_ignored(tmp_path, capfd, signal_stack, number):
    before = signal.signal(number, signal.SIG_IGN)  # As in `nohup` and in a script's `COMMAND &`.
    try:
        user_script(tmp_path, Crash(3, number), every="2 h")
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (EPOCHS, 0)
    assert capfd.readouterr().err == ""


class Lost(io.StringIO):
    """An output whose reader or disk has gone."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def flush(self):
        self.write("")


def printing(file):
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: print("epoch", epoch, file=getattr(sys, file))
    )


@pytest.mark.parametrize("file", ["stdout", "stderr"])
@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])  # `| head -3`, a closed terminal.
def test_lost_reader_of_the_output_saves_and_ends(tmp_path, monkeypatch, file, number):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Lost(number))
    with pytest.raises(SystemExit) as stop:
        user_script(tmp_path, printing(file), every="2 h")
    assert stop.value.code == 128 + signal.SIGPIPE
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (1, 1)
    print("later lines", file=getattr(sys, file), flush=True)  # Are dropped.


def test_output_to_a_full_disk_does_not_stop_the_training(tmp_path, monkeypatch):
    full = Lost(errno.ENOSPC)
    monkeypatch.setattr(sys, "stdout", full)
    user_script(tmp_path, printing("stdout"), every="2 h")
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (EPOCHS, 0)
    assert sys.stdout is full


def test_damaged_checkpoint_is_skipped_with_a_warning(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(4))
    newest, older = checkpoint_file.in_order(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (0, 3)
    err = capfd.readouterr().err
    assert err.startswith(f"warning: {newest}: damaged or incomplete")
    older.write_bytes(b"")
    with pytest.raises(ModelError, match="There is no older one. Remove"):
        fcn_keras.ResumableCheckpoint(tmp_path)


def test_half_written_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / ".0a1b2c3d-99999999-0.fcn-keras-tmp").write_bytes(b"half")
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(2))
    assert len(list(tmp_path.iterdir())) == 2


def test_full_disk_gives_a_warning_and_training_continues(small_disk, fill_disk, capfd):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(small_disk, Crash(2))
    kept = checkpoint_file.in_order(small_disk)
    fill_disk(small_disk)
    user_script(small_disk)
    err = capfd.readouterr().err
    assert "cannot save a checkpoint (No space left on device)" in err
    assert checkpoint_file.in_order(small_disk) == kept
    assert fcn_keras.ResumableCheckpoint(small_disk).position == (0, 2)


def test_checkpoint_of_another_model_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        user_script(tmp_path, Crash(1))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ConfigError, match="belongs to another model or optimizer"):
        model.fit(
            np.ones((4, 3)), np.ones((4, 2)), callbacks=[fcn_keras.ResumableCheckpoint(tmp_path)]
        )


def test_infinite_or_nan_weights_are_not_saved(tmp_path):
    class Corrupt(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                weight = self.model.trainable_variables[0]
                weight.assign(weight * np.nan)

    with pytest.raises(ConfigError, match="infinite or NaN values after step 3 of epoch 1"):
        user_script(tmp_path, Corrupt())
    assert fcn_keras.ResumableCheckpoint(tmp_path).position == (0, 2)


@pytest.mark.parametrize(
    "execution, every, after, cause",
    [(1, 6, "epoch 1", "step 3"), (1, 4, "step 4 of epoch 1", "step 3")]
    + [(2, 6, "epoch 1", "steps 3 to 4"), (3, 6, "epoch 1", "steps 1 to 3")],
)
def test_nan_weights_are_traced_to_the_first_nan_loss(
    tmp_path, monkeypatch, execution, every, after, cause
):
    def broken(number, pair):
        pixel = tf.scatter_nd([[0, 0, 0, 0]], [1 / tf.cast(number != 2, "float32")], (2, 8, 8, 3))
        return pair[0] + pixel, pair[1]

    monkeypatch.setattr(
        sys.modules[__name__],
        "user_data",
        lambda *_, real=user_data: real((0, 0), 6).enumerate().map(broken),
    )
    message = (
        f"NaN values after {after}: the loss became nan at {cause} of epoch 1. They are not saved"
    )
    with pytest.raises(ConfigError, match=message):
        user_script(tmp_path, execution=execution, every=every, steps=6)
    assert fcn_keras.ResumableCheckpoint(tmp_path).is_new


def test_steps_are_counted_from_one_and_epochs_name_the_last():
    def batch_ids(*, epoch, step):
        return [f"image-{epoch}-{step}", 7]

    assert step_in_words((1, 2)) == "step 3 of epoch 2"
    assert step_in_words((1, 0), batch_ids) == "step 1 of epoch 2 (images image-1-0, 7)"
    assert step_in_words((1, -1), batch_ids) == "epoch 1"
    names = "(images image-1-0, 7, image-1-1, 7)"
    assert steps_in_words(1, range(0, 2), batch_ids) == f"steps 1 to 2 of epoch 2 {names}"


def test_a_training_that_has_not_begun_was_interrupted_at_its_start(tmp_path):
    assert fcn_keras.ResumableCheckpoint(tmp_path).interrupted(5) == (0, 0)
