import pytest

from fcn_keras.errors import ConfigError
from fcn_keras.recipes import RECIPES, resolve


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_complete(recipe):
    assert resolve(recipe, {"data": "camvid"}).epochs > 0


def test_an_option_beats_the_recipe_and_the_recipe_the_default():
    config = resolve("camvid", {"data": "camvid", "epochs": 3})
    assert (config.epochs, config.head_width, config.mirror) == (3, 1024, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0: Input should be greater than or equal to 1."),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: Input should be greater than 0."),
        ({"epoch": 3}, "epoch=3: Extra inputs are not permitted."),
        ({"scale": (2.0, 1.0)}, "scale: must be 0 < low <= high, found (2.0, 1.0)."),
        ({"crop": (0, 5)}, "crop: must be at least 1 x 1"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ConfigError) as error:
        resolve("default", {"data": "camvid", **options})
    assert message in str(error.value)


def test_unknown_recipes_are_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="choose one of default, camvid, quickstart"):
        resolve("camvd", {"data": "camvid"})
