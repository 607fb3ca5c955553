import pkgutil

import pytest

from fcn_keras.cli import commands, train_options
from fcn_keras.cli.main import COMMANDS, load
from fcn_keras.runs.config import TrainConfig


def test_every_command_is_listed_with_what_it_says_of_itself():
    assert {module.name for module in pkgutil.iter_modules(commands.__path__)} == set(COMMANDS)
    for name, text in COMMANDS.items():
        assert load(name).help.partition("\n\n")[0].replace("\n", " ") == text


def test_every_option_of_a_training_can_be_given_on_the_command_line():
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
def test_help_has_the_defaults_of_the_configuration(option, default):
    (found,) = [param for param in load("train").params if option in param.opts]
    assert found.help.endswith(default) if default else "default" not in found.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_looks_alike(name):
    group = load(name)
    for command in (group, *getattr(group, "commands", {}).values()):
        assert command.rich_markup_mode == "markdown"  # Else Rich drops "[default: ...]".
        options = {option for param in command.params for option in param.opts}
        assert not {"--install-completion", "--show-completion"} & options
