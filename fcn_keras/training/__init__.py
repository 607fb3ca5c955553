"""Training: data, model, loop, checkpoints, logs and reports."""
