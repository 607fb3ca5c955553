"""The error for data that cannot be used; its text names file, rule, value found and fix."""


class DataError(ValueError):
    """A file or folder of the user's data that breaks a rule."""
