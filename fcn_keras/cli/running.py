"""What `train` and `quickstart` share: a training, and its figures as tables."""

from fcn_keras.cli.tables import show_evaluation
from fcn_keras.cli.terminal import import_tensorflow


def run_training(config, out, stages=None, **options):
    """`fcn_keras.train`, shown on the terminal; then the figures of the best epoch."""
    import_tensorflow()
    from fcn_keras.cli.progress import TerminalWatch
    from fcn_keras.distribution import cluster
    from fcn_keras.training.run import train

    run = train(config, out=out, stages=stages, watch=TerminalWatch(), **options)
    team = cluster.from_environment()
    if team is None or team.is_chief:
        show_evaluation(run.evaluation, f"validation, best epoch {run.best_epoch}")
