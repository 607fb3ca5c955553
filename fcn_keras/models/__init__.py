"""Segmentation models: construction, pretrained weights, saving and loading."""
