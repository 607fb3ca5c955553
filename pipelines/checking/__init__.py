"""The data check: reads every file before the first step, and reports all faults together."""
