"""The command line `fcn-keras`: wiring only, no arithmetic."""
