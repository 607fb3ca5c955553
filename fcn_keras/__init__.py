"""Fully Convolutional Networks for Semantic Segmentation, for Keras 3 and TensorFlow 2.

Names are imported on first use (PEP 562), so that `fcn-keras --help` does not load TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fcn_keras import _registration  # noqa: F401 - registers our layers with Keras.
from fcn_keras._version import __version__

if TYPE_CHECKING:
    from fcn_keras.errors import ConfigError, FcnKerasError, ModelError, WeightsError
    from fcn_keras.evaluation.calibration import calibrate
    from fcn_keras.evaluation.evaluate import evaluate
    from fcn_keras.evaluation.results import Evaluation
    from fcn_keras.geometry.receptive_field import receptive_field
    from fcn_keras.layers.upsampling import BilinearUpsampling
    from fcn_keras.losses import MaskedCrossentropy
    from fcn_keras.metrics import ConfusionMatrix, segmentation_metrics
    from fcn_keras.models.backbones import BACKBONES, MEANS
    from fcn_keras.models.classifiers.alexnet import AlexNet
    from fcn_keras.models.classifiers.googlenet import GoogLeNet
    from fcn_keras.models.fcn import MODELS, FCN8s, FCN16s, FCN32s
    from fcn_keras.models.modality import Modality
    from fcn_keras.optimizers import CaffeSGD, FusedAdamW
    from fcn_keras.prediction.pictures import overlay
    from fcn_keras.prediction.predict_image import predict
    from fcn_keras.prediction.segmenter import Segmenter, load
    from fcn_keras.runs.config import TrainConfig
    from fcn_keras.runs.recipes import RECIPES
    from fcn_keras.serving.export import export
    from fcn_keras.serving.exported import Exported
    from fcn_keras.surgery.convolutionalize import convolutionalize
    from fcn_keras.surgery.shift_and_stitch import shift_and_stitch
    from fcn_keras.surgery.transfer import start_from
    from fcn_keras.training.checkpoint import ResumableCheckpoint
    from fcn_keras.training.run import Run, train

_HOMES = {
    "BACKBONES": "models.backbones",
    "MEANS": "models.backbones",
    "MODELS": "models.fcn",
    "RECIPES": "runs.recipes",
    "AlexNet": "models.classifiers.alexnet",
    "BilinearUpsampling": "layers.upsampling",
    "CaffeSGD": "optimizers",
    "ConfigError": "errors",
    "ConfusionMatrix": "metrics",
    "Evaluation": "evaluation.results",
    "Exported": "serving.exported",
    "FCN16s": "models.fcn",
    "FCN32s": "models.fcn",
    "FCN8s": "models.fcn",
    "FcnKerasError": "errors",
    "FusedAdamW": "optimizers",
    "GoogLeNet": "models.classifiers.googlenet",
    "MaskedCrossentropy": "losses",
    "Modality": "models.modality",
    "ModelError": "errors",
    "ResumableCheckpoint": "training.checkpoint",
    "Run": "training.run",
    "Segmenter": "prediction.segmenter",
    "TrainConfig": "runs.config",
    "WeightsError": "errors",
    "calibrate": "evaluation.calibration",
    "convolutionalize": "surgery.convolutionalize",
    "evaluate": "evaluation.evaluate",
    "export": "serving.export",
    "load": "prediction.segmenter",
    "overlay": "prediction.pictures",
    "predict": "prediction.predict_image",
    "receptive_field": "geometry.receptive_field",
    "segmentation_metrics": "metrics",
    "shift_and_stitch": "surgery.shift_and_stitch",
    "start_from": "surgery.transfer",
    "train": "training.run",
}

# Subpackages and modules, so that `fcn_keras.errors` works without importing it first.
_MODULES = frozenset(
    "arguments cli distribution errors evaluation geometry ground_truth labels layers losses "
    "metrics models optimizers outputs prediction replicas reporting runs serving surgery text "
    "training".split()
)

__all__ = [
    "BACKBONES",
    "MEANS",
    "MODELS",
    "RECIPES",
    "AlexNet",
    "BilinearUpsampling",
    "CaffeSGD",
    "ConfigError",
    "ConfusionMatrix",
    "Evaluation",
    "Exported",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FcnKerasError",
    "FusedAdamW",
    "GoogLeNet",
    "MaskedCrossentropy",
    "Modality",
    "ModelError",
    "ResumableCheckpoint",
    "Run",
    "Segmenter",
    "TrainConfig",
    "WeightsError",
    "__version__",
    "calibrate",
    "convolutionalize",
    "evaluate",
    "export",
    "load",
    "overlay",
    "predict",
    "receptive_field",
    "segmentation_metrics",
    "shift_and_stitch",
    "start_from",
    "train",
]


if not TYPE_CHECKING:  # Type checkers read the imports above, and so find misspelt names.

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            _registration.check_backend()
            return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
