"""Writers of exported models: SavedModel, ONNX, OpenVINO, LiteRT."""
