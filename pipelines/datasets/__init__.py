"""One module per data set; each reads the data set's files into a `Split`."""
