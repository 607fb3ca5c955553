"""One module for each data set: its files become a `Split`."""
