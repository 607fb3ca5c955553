"""What labels mean in every mask that this package takes or gives."""

VOID = 255  # Ignored by losses and metrics.
