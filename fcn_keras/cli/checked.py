"""Data sets as the commands take them: every file is read once, and faults are told together."""

import sys

from fcn_keras.errors import ConfigError


def examples_for(opened, model, data, split, data_dir):
    """The split, checked, with as many classes as the opened model has."""
    import pipelines

    examples = pipelines.read(data, split, data_dir, keep_faults=True)
    if opened.num_classes != examples.num_classes:
        raise ConfigError(
            f"{model}: the model has {opened.num_classes} classes, {examples.name} has "
            f"{examples.num_classes}. Choose the data set it was trained on."
        )
    if opened.classes not in (None, examples.class_names):
        print(
            f"warning: the model's classes are {', '.join(opened.classes)}, the data set's "
            f"{', '.join(examples.class_names)}: they are compared by their order.",
            file=sys.stderr,
        )
    from fcn_keras.cli.progress import TerminalWatch
    from fcn_keras.training.data import checked

    checked([examples], TerminalWatch())
    return examples
