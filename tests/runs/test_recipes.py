import pytest

from fcn_keras.errors import ConfigError
from fcn_keras.runs.config import STAGES, TrainConfig
from fcn_keras.runs.recipes import RECIPES
from fcn_keras.runs.resolve import resolve
from pipelines import DATASETS


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_sets_its_options(recipe):
    config = resolve(recipe, {"data": "camvid"})  # No variant is for CamVid and VGG16.
    for name, value in RECIPES[recipe].items():
        assert getattr(config, name) == value, name


def test_options_override_the_recipe_and_the_recipe_the_defaults():
    config = resolve("camvid", {"data": "camvid", "epochs": 3})
    assert (config.epochs, config.head_width, config.mirror) == (3, 1024, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0: must be at least 1 (--epochs)."),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: must be above 0 (--learning-rate)."),
        ({"epoch": 3}, "epoch=3: unknown; did you mean `epochs`?"),
        ({"scale": (2.0, 1.0)}, "scale: must be 0.1 <= low <= high <= 10, found (2.0, 1.0)."),
        ({"crop": (0, 5)}, "crop: must be at least 1 x 1"),
        ({"stage_rates": (0.01, 0)}, "stage_rates: must be above 0, found (0.01, 0.0)"),
        ({"zoom": 0.01}, "zoom=0.01: must be at least 0.1 (--zoom)."),
        ({"sample_rate": 0.0}, "sample_rate=0.0: must be above 0 (--sample-rate)."),
        ({"momentum": 1.0, "optimizer": "sgd"}, "momentum=1.0: must be below 1 (--momentum)."),
        ({"learning_rate": float("inf")}, "learning_rate=inf: must be a finite number (--learn"),
        ({"batch_size": 1.5}, "batch_size=1.5: must be a whole number (--batch-size)."),
        ({"mirror": "maybe"}, "mirror='maybe': must be true or false (--mirror)."),
        ({"optimizer": "adam"}, "optimizer='adam': must be 'adamw' or 'sgd' (--optimizer)."),
        ({"crop": (1,)}, "crop=(1,): must have 2 values or more (--crop)."),
        ({"crop": (1, 2, 3)}, "crop=(1, 2, 3): must have only 2 values (--crop)."),
        ({"crop": (1, "a")}, "crop[1]='a': must be a whole number (--crop)."),
        ({"scale": 2}, "scale=2: must be a list (--scale)."),
        ({"freeze": ["conv", 3]}, "freeze[1]=3: must be text (--freeze)."),
        ({"momentum": 0.9}, "momentum=0.9: the optimizer adamw does not use it."),
        ({"bias_rate": 2.0}, "bias_rate=2.0: the optimizer adamw"),
        ({"bias_layers": ("score",)}, "bias_layers=('score',): the optimizer adamw"),
        ({"bias_layers": ("",), "optimizer": "sgd"}, "bias_layers: must be the start of layer"),
        ({"epochs": 3, "iterations": 5}, "epochs=3, iterations=5: both end the run."),
    ],
)
def test_invalid_values_are_an_error(options, message):
    with pytest.raises(ConfigError) as error:
        resolve("default", {"data": "camvid", **options})
    assert message in str(error.value)


def test_a_config_of_a_script_is_checked_in_one_line():
    with pytest.raises(ConfigError) as error:
        TrainConfig(epochs=3)
    assert str(error.value) == "data: not given (--data)."
    with pytest.raises(ConfigError) as error:
        TrainConfig(data="camvid", dropout=1)
    assert str(error.value) == "dropout=1: must be below 1 (--dropout)."


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of default, camvid, camvid-fine, "):
        resolve("camvd", {"data": "camvid"})


def paper(recipe, **options):
    return resolve(recipe, {"data": "voc", **options})


def test_paper_recipes_match_the_paper():
    for name in ("accumulated", "heavy", "online", "at-once"):
        config = paper(name)
        assert (config.optimizer, config.weight_decay, config.bias_rate) == ("sgd", 5e-4, 2.0)
        assert (config.schedule, config.warmup_steps) == ("constant", 0)
        assert (config.crop, config.batch_size, config.scale) == (None, 1, (1.0, 1.0))
        assert (config.mirror, config.colour, config.sample_rate) == (False, 0, 1)
        assert (config.precision, config.head_width, config.dropout) == ("float32", 4096, 0.5)

    accumulated, heavy = paper("accumulated"), paper("heavy")
    assert (accumulated.momentum, accumulated.accumulate) == (0.9, 20)
    assert (accumulated.loss_reduction, accumulated.epochs) == ("mean", 175)
    assert (heavy.momentum, heavy.accumulate, heavy.loss_reduction) == (0.99, 1, "sum")
    at_once = paper("at-once")
    assert (at_once.model, at_once.skip_scales) == ("fcn8s", (0.01, 0.0001))
    assert (at_once.rate, at_once.iterations) == (1e-10, 300_000)


@pytest.mark.parametrize(
    ("recipe", "options", "rates"),
    [
        ("accumulated", {}, (1e-4, 1e-6, 1e-8)),
        ("accumulated", {"backbone": "alexnet"}, (1e-3,)),
        ("accumulated", {"backbone": "googlenet"}, (5e-5,)),
        ("heavy", {}, (1e-10, 1e-12, 1e-14)),
        ("heavy", {"data": "nyudv2"}, (1e-10,)),
        ("heavy", {"data": "siftflow"}, (1e-10, 1e-12, 1e-12)),
        ("heavy", {"data": "siftflow-geometric"}, (1e-10, 1e-12, 1e-12)),
        ("heavy", {"data": "pascal_context"}, (1e-10, 1e-12, 1e-14)),
        ("heavy", {"backbone": "alexnet"}, (1e-4,)),
        ("heavy", {"learning_rate": 1e-9}, (1e-9, 1e-11, 1e-13)),
    ],
)
def test_each_stage_has_the_published_learning_rate(recipe, options, rates):
    for model, rate in zip(STAGES, rates, strict=False):
        source = {} if model == "fcn32s" else {"init_from": "coarser"}
        config = paper(recipe, **options, model=model, **source)
        assert config.rate == pytest.approx(rate, rel=1e-12)


def test_recipes_depend_on_data_set_and_backbone():
    assert paper("heavy").iterations == 100_000
    assert paper("heavy", data="pascal_context").iterations == 400_000
    assert paper("heavy", data="pascal_context", iterations=7).iterations == 7
    alexnet = paper("heavy", backbone="alexnet")
    assert (alexnet.loss_reduction, alexnet.momentum, alexnet.accumulate) == ("mean", 0.9, 20)
    assert paper("heavy", backbone="alexnet", momentum=0.5).momentum == 0.5
    # The reference gives conv1 to fc7 of FCN-AlexNet no lr_mult and decay_mult of their own.
    assert (alexnet.bias_rate, alexnet.bias_layers) == (2.0, ("score",))
    assert paper("heavy").bias_layers == paper("accumulated", backbone="alexnet").bias_layers == ()


def test_epochs_or_iterations_set_the_length_of_a_run():
    assert (paper("default").steps(30), paper("default").passes(30)) == (600, 20)
    config = paper("accumulated", iterations=4)  # 80 steps
    assert (config.steps(30), config.passes(30)) == (80, 3)
    assert (config.steps(100), config.passes(100)) == (80, 1)
    assert paper("heavy", epochs=2).steps(30) == 60  # Overrides the recipe's iterations.


def test_paper_recipes_use_the_reference_geometry_if_the_backbone_has_it():
    for recipe in ("accumulated", "heavy", "online", "at-once"):
        config = resolve(recipe, {"data": "data.yaml"})
        assert (config.geometry, config.mean) == ("reference", "voc")
        config = resolve(recipe, {"data": "data.yaml", "backbone": "tiny"})
        assert (config.geometry, config.mean) == ("same", None)
        config = resolve(recipe, {"data": "data.yaml", "geometry": "same", "mean": "imagenet"})
        assert (config.geometry, config.mean) == ("same", "imagenet")
    assert resolve("camvid", {"data": "camvid"}).geometry == "same"


@pytest.mark.parametrize(
    ("data", "mean"),
    [
        ("voc2011", "voc"),
        ("pascal_context", "voc"),
        ("nyudv2", "nyudv2"),
        ("nyudv2-hha", "nyudv2_hha"),
        ("siftflow", "siftflow"),
        ("siftflow-geometric", "siftflow"),
    ],
)
def test_each_paper_data_set_has_its_mean(data, mean):
    assert data in DATASETS
    assert resolve("heavy", {"data": data}).mean == mean
    assert resolve("heavy", {"data": data, "mean": "imagenet"}).mean == "imagenet"


def test_default_splits_are_train_and_val():
    config = resolve("heavy", {"data": "voc2011"})
    assert (config.train_split, config.val_split) == ("train", "val")
    config = resolve("heavy", {"data": "voc2011", "train_split": "sbd", "val_split": "seg11valid"})
    assert (config.train_split, config.val_split) == ("sbd", "seg11valid")


MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 30)}]}}\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [MERGES, "[" * 50_000, "epochs: 2026-13-01\n", f"epochs: {'9' * 5000}\n", "epochs: !!bool x\n"],
    ids=["bomb", "deep", "date", "digits", "tag"],
)
def test_a_recipe_that_is_hostile_or_broken_is_one_line(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="mine.yaml': not readable as YAML: ") as error:
        resolve(str(path), {"data": "camvid"})
    assert "\n" not in str(error.value)
