"""One module for each command of `fcn-keras`, imported when that command runs."""
