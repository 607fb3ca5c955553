"""Which pixels a score sees: arithmetic on the graph of a model."""
