"""One module per command of `fcn-keras`, imported when the command runs."""
