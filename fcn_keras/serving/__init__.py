"""Export of trained models: SavedModels, other formats, and a client for model servers."""
