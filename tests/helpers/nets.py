"""Models for comparisons in tests."""

import numpy as np


def randomise_scores(model, seed=0):
    """Randomises the score layers, which start at zero and would make all logits equal."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name.startswith("score"):
            layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    return model
