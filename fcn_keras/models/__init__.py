"""The nets, their pretrained weights, saving and loading."""
