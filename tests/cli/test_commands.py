import pkgutil

import pytest
from typer.main import get_command

from fcn_keras.cli import commands, train_options
from fcn_keras.cli.main import COMMANDS, app, load
from fcn_keras.runs.config import TrainConfig


def test_commands_are_listed_with_their_docstrings():
    assert {module.name for module in pkgutil.iter_modules(commands.__path__)} == set(COMMANDS)
    for name, text in COMMANDS.items():
        assert load(name).help.partition("\n\n")[0].replace("\n", " ") == text


def test_commands_are_listed_in_the_order_of_use():
    order = "quickstart data train evaluate report predict calibrate export convert experiment"
    assert get_command(app).list_commands(None) == order.split()


def test_train_has_an_option_for_every_config_field():
    options = {name for names in train_options.PANELS.values() for name in names.split()}
    assert options == set(TrainConfig.model_fields) | set(train_options.OWN)


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("--model", "[default: fcn8s]"),
        ("--crop", "[default: 320x320]"),
        ("--scale", "[default: 0.75,1.5]"),
        ("--learning-rate", "[default: 0.0001]"),
        ("--mirror", "[default: on]"),
        ("--batch-size", "[default: 4]"),
        ("--freeze", None),
        ("--iterations", None),
    ],
)
def test_help_shows_the_default_values(option, default):
    (found,) = [param for param in load("train").params if option in param.opts]
    assert found.help.endswith(default) if default else "default" not in found.help


@pytest.mark.parametrize("name", COMMANDS)
def test_all_commands_have_the_same_style(name):
    group = load(name)
    for command in (group, *getattr(group, "commands", {}).values()):
        assert command.rich_markup_mode == "markdown"  # Otherwise Rich drops "[default: ...]".
        options = {option for param in command.params for option in param.opts}
        assert not {"--install-completion", "--show-completion"} & options
