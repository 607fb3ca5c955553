"""A trained model leaves the house: SavedModels, other formats, and a client for servers."""
