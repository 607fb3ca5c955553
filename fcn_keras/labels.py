"""Label conventions for all masks that the package reads or writes."""

VOID = 255  # Ignored by losses and metrics.
