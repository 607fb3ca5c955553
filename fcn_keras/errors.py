"""Errors that a user can mend. Their text names the argument or file, rule, value and fix."""


class FcnKerasError(ValueError):
    """Base of the package's own errors; the command line prints it and exits with status 2."""


class WeightsError(FcnKerasError):
    """Weights that cannot be had, read, or loaded into this model."""


class ModelError(FcnKerasError):
    """A model that cannot be built, converted or loaded as asked."""


class ConfigError(FcnKerasError):
    """A training run that cannot be done as configured."""


class WorkerLost(FcnKerasError):
    """Another worker of a training has ended, or cannot be reached any more."""


class ServingError(FcnKerasError):
    """A server that cannot be reached, refuses a request, or replies with something else."""
