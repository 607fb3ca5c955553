import csv
import io
import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from rich.console import Console

import fcn_keras
from fcn_keras import outputs
from fcn_keras.cli import progress
from fcn_keras.distribution import workers
from fcn_keras.errors import ConfigError, WorkerLost
from fcn_keras.optimizers import CaffeSGD
from fcn_keras.runs import lifecycle, run_folder
from fcn_keras.runs.config import STAGES, TrainConfig
from fcn_keras.runs.resolve import resolve
from fcn_keras.training import checkpoint_file, compiling, fitting, stages

CLASSES = {
    "class_names": ("ground", "road", "car"),
    "palette": np.array([[0, 0, 0], [128, 64, 128], [9, 9, 9]], "uint8"),
}
TINY = {"backbone": "tiny", "weights": None, "head_width": 16, "data": "none"}


def images(sizes, seed=0):
    """Batches of one image each, whose brightness encodes the class."""
    rng = np.random.default_rng(seed)

    def draw():
        for height, width in sizes:
            mask = rng.integers(0, 3, (1, height // 8, width // 8), "uint8")
            mask = mask.repeat(8, axis=1).repeat(8, axis=2)
            mask[:, :4] = 255
            yield np.repeat(mask[..., None] * 80, 3, axis=-1), mask

    fixed = list(draw())
    data = tf.data.Dataset.from_generator(
        lambda: iter(fixed),
        output_signature=(
            tf.TensorSpec((1, None, None, 3), tf.uint8),
            tf.TensorSpec((1, None, None), tf.uint8),
        ),
    )
    return data.apply(tf.data.experimental.assert_cardinality(len(sizes)))


def stream(sizes):
    """Training data like `pipelines.train_dataset`, but in the same order in each epoch."""

    def data(start=None, shard=(0, 1)):
        once = images(sizes)
        return once if start is None else once.repeat().skip(start[0] * len(sizes) + start[1])

    return data


SIZES = [(40, 48), (32, 64), (48, 40), (64, 32)]


def history(run):
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


@pytest.mark.parametrize("recipe", ["accumulated", "heavy", "online", "at-once"])
def test_paper_recipes_train_on_whole_images_of_any_size(tmp_path, recipe):
    config = resolve(recipe, {**TINY, "iterations": 2, "accumulate": 3})
    report = fitting.fit(config, stream(SIZES), images(SIZES[:1]), tmp_path, **CLASSES)
    assert 0 <= report["mean_iou"] <= 1
    rows = history(tmp_path)
    assert len(rows) == 2  # Two updates of three images are six steps; an epoch has four.
    assert {float(row["learning_rate"]) for row in rows} == {np.float32(config.learning_rate)}
    # Scores start at zero, so the loss of a pixel is log 3.
    pixels = np.mean([(mask.numpy() != 255).sum() for _, mask in images(SIZES)])
    expected = np.log(3) * (pixels if config.loss_reduction == "sum" else 1)
    assert float(rows[0]["loss"]) == pytest.approx(expected, rel=0.05)
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())["options"]
    assert written["crop"] is None and written["optimizer"] == "sgd"
    assert TrainConfig(**written) == config


def test_iterations_count_updates(tmp_path):
    updates = []
    counter = keras.callbacks.LambdaCallback(
        on_train_end=lambda logs: updates.append(int(counter.model.optimizer.iterations))
    )
    config = resolve("accumulated", {**TINY, "iterations": 3, "accumulate": 2})
    fitting.fit(config, stream(SIZES), images(SIZES[:1]), tmp_path, **CLASSES, callbacks=[counter])
    assert updates == [3]
    assert history(tmp_path)[-1]["val_mean_iou"] != ""  # The last, partial epoch is validated.


def test_optimizer_matches_the_configuration():
    def optimizer(recipe, **options):
        config = resolve(recipe, {**TINY, **options})
        model = compiling.build_model(config, 3)
        compiling.compile_model(model, config, steps_per_epoch=100)
        return model.optimizer

    heavy = optimizer("heavy")
    assert isinstance(heavy, CaffeSGD) and heavy.accumulate == 1
    assert (heavy.momentum, heavy.l2, heavy.bias_rate) == (0.99, 5e-4, 2.0)
    assert optimizer("accumulated").accumulate == 20

    def rates(**options):
        schedule = optimizer("default", learning_rate=0.5, epochs=1, **options)._learning_rate
        return [float(schedule(step)) for step in (0, 10, 20, 60, 100)]

    level = rates(schedule="constant", warmup_steps=20)
    assert level == pytest.approx([0, 0.25, 0.5, 0.5, 0.5])
    cosine = rates(schedule="cosine", warmup_steps=20)
    assert cosine == pytest.approx([0, 0.25, 0.5, 0.25, 0], abs=1e-6)


@pytest.mark.parametrize("skip_absent", [False, True])
def test_the_best_epoch_is_measured_by_the_data_sets_rule(tmp_path, skip_absent):
    config = resolve("default", {**TINY, "epochs": 1, "crop": None, "batch_size": 1})
    absent = images(SIZES[:1]).map(lambda x, y: (x, tf.where(y == 2, tf.cast(0, tf.uint8), y)))
    kept = {**CLASSES, "skip_absent": skip_absent}
    fitting.fit(config, stream(SIZES), absent, tmp_path, **kept)
    report = json.loads((tmp_path / "metrics.json").read_text())
    # By hand, from the confusion matrix; class 2 is never true.
    n = np.array(report["confusion"], "float64")
    unions = n.sum(0) + n.sum(1) - np.diag(n)
    counted = [i for i in range(3) if (n.sum(1)[i] if skip_absent else unions[i])]
    mean = np.mean([n[i, i] / unions[i] for i in counted])
    assert report["skip_absent"] is skip_absent and not n[2].any()
    assert report["mean_iou"] == pytest.approx(mean)
    assert float(history(tmp_path)[-1]["val_mean_iou"]) == pytest.approx(mean, rel=1e-5)


def test_frozen_layers_have_no_backward_pass():
    config = resolve("camvid", {"data": "none", "weights": None, "head_width": 8})
    model = compiling.build_model(config, 3)
    compiling.compile_model(model, config, 10, np.ones(3))
    images = tf.TensorSpec((1, 64, 64, 3), tf.uint8)
    masks = tf.TensorSpec((1, 64, 64), tf.uint8)
    step = tf.function(lambda x, y: model.train_step((x, y))).get_concrete_function(images, masks)
    done, left = set(), [*step.graph.control_outputs, *(y.op for y in step.graph.outputs)]
    while left:  # Only the ops that the outputs depend on are computed.
        op = left.pop()
        if op not in done:
            done.add(op)
            left += [*op.control_inputs, *(x.op for x in op.inputs)]
    names = {
        kind: {op.name.split("/")[2] for op in done if op.type == kind}
        for kind in ("Conv2DBackpropFilter", "Conv2DBackpropInput")
    }
    trained = {v.path.split("/")[-2] for v in model.trainable_variables}
    plain = {f"{name}_1" for name in trained - {"fc6", "fc7"}}
    assert not {name for name in trained if name.startswith(("block1", "block2", "up"))}
    assert names["Conv2DBackpropFilter"] == plain
    assert names["Conv2DBackpropInput"] == plain - {"block3_conv1_1"}


def test_run_too_short_for_one_update_is_an_error(tmp_path):
    config = resolve("accumulated", {**TINY, "epochs": 1})
    with pytest.raises(ConfigError, match="accumulate=20: the run has 4 steps"):
        fitting.fit(config, stream(SIZES), images(SIZES), tmp_path, **CLASSES)


def test_infinite_summed_loss_suggests_a_learning_rate(tmp_path):
    config = resolve("heavy", {**TINY, "learning_rate": 1e30})
    with pytest.raises(ConfigError, match="a summed loss needs about 1e-10"):
        fitting.fit(config, stream(SIZES), images(SIZES), tmp_path, **CLASSES)


class Counted(tf.Tensor):
    """A number on the device that notes when it is fetched."""

    def __init__(self, value, note):
        self.value, self.note = value, note

    def __float__(self):
        self.note()
        return float(self.value)

    def __array__(self, dtype=None, copy=None):
        self.note()
        return np.array(self.value)


@pytest.mark.parametrize("loop", ["fit", "workers"])
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, loop):
    if loop == "workers":
        monkeypatch.setattr(workers, "is_cluster", lambda strategy: True)
        monkeypatch.setattr(workers, "_sum", lambda strategy: lambda number: number)
        owner, name = workers, "_train_step"
    else:
        owner, name = keras.Model, "make_train_function"
    steps, fetched, make = [], set(), getattr(owner, name)

    def counting(model, *args):
        step = make(model, *args) or model.train_function

        def counted_step(data):
            steps.append(1)
            logs = step(data)
            return tf.nest.map_structure(
                lambda value: Counted(value, lambda: fetched.add(len(steps))), logs
            )

        model.train_function = counted_step
        return counted_step

    monkeypatch.setattr(owner, name, counting)
    clock = iter(range(10**6))  # The bar may show a loss once a second; here that is 50 steps.
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock) / 100)
    bar = progress.TrainingProgress(Console(file=io.StringIO(), force_terminal=True), 45, 1)
    data = (stream([(32, 32)] * 45), images([(32, 32)]), tmp_path)
    config = TrainConfig(**TINY, epochs=1, batch_size=1)
    fitting.fit(config, *data, **CLASSES, callbacks=[bar], checkpoint_every=30)
    # The bar's first loss, a point of the curve every 20 steps, a checkpoint, the end of the epoch.
    assert fetched == {1, 20, 30, 40, 45}


class Break(keras.callbacks.Callback):
    """Makes a weight NaN at the beginning of a step, and optionally sends a signal after it."""

    def __init__(self, step, number=None):
        super().__init__()
        self.left, self.number = step, number

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            weight = self.model.get_layer("score_fr").bias
            weight.assign(weight * np.nan)
            if self.number:
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    "every, number, accumulate",
    [(1, None, 1), ("2 h", None, 1), ("2 h", signal.SIGTERM, 1), (1, None, 3), (100, None, 3)],
)
def test_a_nan_loss_names_its_step_and_is_never_saved(
    tmp_path, signal_stack, every, number, accumulate
):
    config = TrainConfig(**TINY, epochs=3, batch_size=1, accumulate=accumulate, precision="float32")
    match = (
        r"^the loss became nan at step 2 of epoch 2 \(images 1-1\)\. .* best model so far is kept"
    )
    with pytest.raises(ConfigError, match=match):
        fitting.fit(
            config,
            stream(SIZES),
            images(SIZES[:1]),
            tmp_path,
            **CLASSES,
            checkpoint_every=every,
            callbacks=[Break(len(SIZES) + 2, number)],
            batch_ids=lambda *, epoch, step: [f"{epoch}-{step}"],
        )
    for path in (tmp_path / "checkpoints").glob("*"):
        arrays, state = checkpoint_file.read(path)
        assert tuple(state["position"]) <= (1, 1)
        assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f")
    assert all(np.isfinite(w).all() for w in fcn_keras.load(tmp_path).model.get_weights())


def test_a_skipped_step_of_float16_is_no_fault(tmp_path):
    scales = []
    watch = keras.callbacks.LambdaCallback(
        # Gradients times this overflow in float16: the step is skipped and halves it.
        on_train_begin=lambda logs: watch.model.optimizer.dynamic_scale.assign(2.0**60),
        on_train_end=lambda logs: scales.append(float(watch.model.optimizer.dynamic_scale)),
    )
    config = TrainConfig(**TINY, epochs=1, batch_size=1, precision="mixed_float16")
    data = (stream(SIZES), images(SIZES[:1]), tmp_path)
    fitting.fit(config, *data, **CLASSES, callbacks=[watch], checkpoint_every=1)
    assert scales[0] < 2.0**60
    assert float(history(tmp_path)[0]["loss"]) == pytest.approx(np.log(3), rel=0.01)


class Fail(keras.callbacks.Callback):
    """Raises an error at the beginning of a step."""

    def __init__(self, step, error=ConfigError):
        super().__init__()
        self.left, self.error = step, error

    def on_train_batch_begin(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise self.error("a mistake")


@pytest.mark.parametrize(
    "step, error, is_kept",
    [(1, ConfigError, False), (1, RuntimeError, False), (1, WorkerLost, True)]
    + [(2, ConfigError, True)],
)
def test_a_run_that_fails_is_kept_if_it_can_resume(tmp_path, step, error, is_kept):
    config, run = TrainConfig(**TINY, epochs=1), tmp_path / "new" / "run"
    fail = Fail(step, error)
    with pytest.raises(error, match="a mistake"):
        fitting.fit(config, stream(SIZES), images(SIZES), run, **CLASSES, callbacks=[fail])
    assert (run / "config.yaml").exists() == run.parent.exists() == is_kept


def test_a_failed_resume_removes_nothing(tmp_path):
    config = TrainConfig(**TINY, epochs=1)
    arguments = (config, stream(SIZES), images(SIZES), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fitting.fit(*arguments, **CLASSES, callbacks=[Fail(1, KeyboardInterrupt)])
    before = {path.name for path in tmp_path.iterdir()}
    assert "config.yaml" in before
    with pytest.raises(ConfigError, match="a mistake"):
        fitting.fit(*arguments, **CLASSES, callbacks=[Fail(1)], resume=True)
    assert {path.name for path in tmp_path.iterdir()} == before


def interrupt():
    raise KeyboardInterrupt


def test_another_start_in_the_same_folder_removes_nothing(tmp_path):
    with outputs.locked(tmp_path), pytest.raises(ConfigError, match="is writing to it"):
        fitting.fit(TrainConfig(**TINY), stream(SIZES), images(SIZES), tmp_path, **CLASSES)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_end_of_a_run_is_completed_by_a_resume(tmp_path, monkeypatch):
    arguments = (TrainConfig(**TINY, epochs=1), stream(SIZES), images(SIZES), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "clean_up", lambda out: interrupt())  # After finished.json.
        with pytest.raises(KeyboardInterrupt):
            fitting.fit(*arguments, **CLASSES, checkpoint_every=1)
    assert list(tmp_path.glob("checkpoints/*")) and run_folder.is_finished(tmp_path)
    (tmp_path / ".0a1b2c3d-99999999-0.fcn-keras-tmp").write_bytes(b"half")
    fitting.fit(*arguments, **CLASSES, resume=True)
    assert not (tmp_path / "checkpoints").exists()
    assert not list(tmp_path.glob(".*.fcn-keras-tmp"))


def test_each_stage_starts_from_the_best_previous_model(tmp_path):
    config = resolve(
        "default",
        {**TINY, "epochs": 1, "learning_rate": 3e-3, "schedule": "constant", "warmup_steps": 0}
        | {"stage_rates": (1e-2, 1e-4)},
    )
    started = []
    watch = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: started.append(watch.model.get_weights())
    )
    data = (stream(SIZES), images(SIZES[:1]))
    best = stages.train_stages(config, STAGES, *data, tmp_path, **CLASSES, callbacks=[watch])

    for folder, before, first in zip(("16s", "8s"), ("32s", "16s"), started[1:], strict=True):
        run = tmp_path / folder
        options = yaml.safe_load((run / "config.yaml").read_text())["options"]
        assert options["model"] == f"fcn{folder}"
        assert options["init_from"] == str(tmp_path / before)
        coarse = fcn_keras.load(tmp_path / before).model
        fine = fcn_keras.load(run).model
        fine.set_weights(first)
        for layer in coarse.layers:
            copy = fine.get_layer(layer.name).get_weights() if layer.weights else []
            for theirs, ours in zip(layer.get_weights(), copy, strict=True):
                np.testing.assert_array_equal(theirs, ours)
    rates = [float(history(tmp_path / name)[0]["learning_rate"]) for name in ("32s", "16s", "8s")]
    np.testing.assert_allclose(rates, [3e-3, 3e-5, 3e-7], rtol=1e-5)

    # The folder of the stages is also a run, with the last stage's model.
    last, whole = fcn_keras.load(tmp_path / "8s"), fcn_keras.load(tmp_path)
    assert whole.classes == CLASSES["class_names"]
    image, _ = next(iter(images(SIZES)))
    np.testing.assert_array_equal(whole.model(image), last.model(image))
    assert (tmp_path / "metrics.json").read_bytes() == (tmp_path / "8s/metrics.json").read_bytes()
    assert best["epoch"] == 1

    with pytest.raises(ConfigError, match="already contains a run"):
        stages.train_stages(config, STAGES, *data, tmp_path, **CLASSES)


@pytest.mark.parametrize("models", [[], ["fcn8s", "fcn16s"], ["fcn32s", "fcn4s"], ["fcn8s"] * 2])
def test_stages_must_go_from_coarse_to_fine(tmp_path, models):
    with pytest.raises(ConfigError, match="from coarse to fine"):
        stages.check_stages(models, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_zoom_enlarges_the_input(tmp_path):
    config = TrainConfig(**TINY, zoom=1.5, epochs=1)
    report = fitting.fit(config, stream(SIZES), images(SIZES[:1]), tmp_path, **CLASSES)
    assert 0 <= report["mean_iou"] <= 1
    model = keras.models.load_model(tmp_path / "model.keras")
    assert model.get_layer("image_zoomed").factor == 1.5
