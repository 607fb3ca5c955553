"""Errors that the user can fix.

Each message names the argument or file, the rule, the value found and the fix.
"""


class FcnKerasError(ValueError):
    """Base class of the package's errors; the command line prints it and exits with status 2."""


class WeightsError(FcnKerasError):
    """Weights cannot be downloaded, read or loaded into this model."""


class ModelError(FcnKerasError):
    """A model cannot be built, converted or loaded."""


class ConfigError(FcnKerasError):
    """A configuration is invalid."""


class WorkerLost(FcnKerasError):
    """Another worker of a training run has ended or is unreachable."""


class ServingError(FcnKerasError):
    """A server is unreachable, rejects a request or sends an unexpected response."""
