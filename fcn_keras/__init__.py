"""Fully Convolutional Networks for Semantic Segmentation, for Keras 3 and TensorFlow 2.

Names are imported when they are first used, so that `fcn-keras --help` need not load TensorFlow.
"""

from fcn_keras._lazy import make_lazy, register_with_keras

__version__ = "0.1.0"

__all__ = [
    "BACKBONES",
    "MEANS",
    "MODELS",
    "RECIPES",
    "AdamW",
    "BilinearUpsampling",
    "CaffeSGD",
    "Checkpoint",
    "ConfusionMatrix",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FcnKerasError",
    "MaskedCrossentropy",
    "Stream",
    "TrainConfig",
    "convolutionalize",
    "evaluate",
    "export",
    "figures",
    "load",
    "overlay",
    "predict",
    "receptive_field",
    "report",
    "shift_and_stitch",
    "train",
]

make_lazy(
    __name__,
    {
        "backbones": ["BACKBONES", "MEANS"],
        "caffe": [],
        "checkpoint": ["Checkpoint"],
        "classifiers": [],
        "client": [],
        "convolutionalize": ["convolutionalize"],
        "decoder": ["Stream"],
        "devices": [],
        "errors": ["FcnKerasError"],
        "evaluation": ["evaluate", "report"],
        "export": ["export"],
        "geometry": ["receptive_field"],
        "layers": ["BilinearUpsampling"],
        "loading": ["load"],
        "losses": ["MaskedCrossentropy"],
        "metrics": ["ConfusionMatrix", "figures"],
        "models": ["MODELS", "FCN8s", "FCN16s", "FCN32s"],
        "optimizers": ["AdamW", "CaffeSGD"],
        "prediction": ["overlay", "predict"],
        "recipes": ["RECIPES", "TrainConfig"],
        "shift_and_stitch": ["shift_and_stitch"],
        "training": ["train"],
    },
)
register_with_keras(__name__, ["layers", "losses", "metrics", "optimizers", "zoom"])
