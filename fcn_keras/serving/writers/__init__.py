"""A trained model as one file for another engine: ONNX, OpenVINO, LiteRT."""
