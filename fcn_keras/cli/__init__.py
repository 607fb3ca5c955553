"""The command line `fcn-keras`: only options and output, no computation."""
