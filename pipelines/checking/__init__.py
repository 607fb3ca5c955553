"""The data check: reads every file before training and reports all faults together."""
