"""Named recipes as data: the options that differ from the defaults of `TrainConfig`."""

from typing import Any

# What the paper's recipes have in common: whole images, one by one and as they are, a fixed rate,
# biases at twice that rate and without decay; each finer net starts from the one before.
PAPER: dict[str, Any] = {
    "geometry": "reference",
    "mean": "voc",
    "batch_size": 1,
    "crop": None,
    "scale": (1.0, 1.0),
    "mirror": False,
    "colour": 0.0,
    "optimizer": "sgd",
    "schedule": "constant",
    "warmup_steps": 0,
    "weight_decay": 5e-4,
    "bias_rate": 2.0,
    "stage_rates": (1e-2, 1e-4),
    "precision": "float32",
}

# The reference implementation's, batch 1 with the loss summed over the pixels. Mean IU on the
# 736 images of VOC 2011's seg11valid, as published: 32s 63.6, 16s 65.0, 8s 65.5.
HEAVY: dict[str, Any] = {
    **PAPER,
    "momentum": 0.99,
    "loss_reduction": "sum",
    "learning_rate": 1e-10,
    "iterations": 100_000,
}

# 367 street scenes on two CPU cores. The first two blocks keep their ImageNet filters, which saves
# a third of the time. The skip scales bring pool4 and pool3 (root mean square 87 and 460 with
# ImageNet weights) to the range of fc7 (about 5), so that one learning rate suits all three score
# layers. Small crops in many epochs beat large ones in few; a rate of 2e-4 or half the batch was no
# faster. Rare classes weigh a little more: at 0.3 the mean IU is about 0.005 lower.
CAMVID: dict[str, Any] = {
    "head_width": 1024,
    "skip_scales": (0.05, 0.01),
    "freeze": ("block1", "block2"),
    "batch_size": 4,
    "crop": (256, 352),
    "scale": (0.75, 1.5),
    "colour": 0.7,
    "epochs": 24,
    "learning_rate": 1e-4,
    "class_balance": 0.1,
    "validate_every": 6,
}

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    # Val mean IU 0.701. It plateaus there: what is missing is not epochs but resolution, and the
    # balance of the classes.
    "camvid": CAMVID,
    # From "camvid" (--init-from): 0.720. Strides are finer by the zoom, for crops of the same cost.
    "camvid-fine": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (192, 256),
        "epochs": 12,
        "validate_every": 4,
    },
    # From "camvid-fine": 0.725, and 0.736 after `fcn-keras calibrate`.
    "camvid-large": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (288, 384),
        "batch_size": 2,
        "learning_rate": 3e-5,
        "epochs": 2,
        "validate_every": 2,
    },
    # For a GPU and as long as it takes; never run.
    "camvid-full": {
        **CAMVID,
        "head_width": 4096,
        "zoom": 1.5,
        "freeze": (),
        "batch_size": 8,
        "crop": (288, 384),
        "scale": (0.5, 2.0),
        "epochs": 300,
        "learning_rate": 5e-5,
        "validate_every": 10,
    },
    # Rendered shapes, a minute on two CPU cores.
    "quickstart": {
        "backbone": "tiny",
        "weights": None,
        "head_width": 64,
        "batch_size": 8,
        "crop": (128, 160),
        "scale": (0.8, 1.25),
        "epochs": 40,
        "learning_rate": 3e-3,
        "precision": "float32",
        "validate_every": 10,
    },
    # The conference paper's: 20 images to an update, the loss averaged. Mean IU as above: 32s 59.4,
    # 16s 62.4, 8s 62.7; before the SBD data VGG16 56.0, AlexNet 39.8, GoogLeNet 42.5.
    "accumulated": {
        **PAPER,
        "momentum": 0.9,
        "accumulate": 20,
        "learning_rate": 1e-4,
        "epochs": 175,
        "validate_every": 5,
    },
    "heavy": HEAVY,
    # "heavy" with the loss averaged. The rate is derived, not published: 1e-10 times the pixels of
    # a PASCAL VOC image.
    "online": {**HEAVY, "loss_reduction": "mean", "learning_rate": 1.9e-5},
    # FCN-8s straight from the classifier, without the coarser nets: mean IU as above 65.4.
    "at-once": {**HEAVY, "model": "fcn8s", "skip_scales": (0.01, 0.0001), "iterations": 300_000},
}

# What a recipe sets otherwise for some backbone or data set; a later row beats an earlier one.
VARIANTS: dict[str, tuple[tuple[dict[str, str], dict[str, Any]], ...]] = {
    "accumulated": (
        ({"backbone": "alexnet"}, {"learning_rate": 1e-3}),
        ({"backbone": "googlenet"}, {"learning_rate": 5e-5}),
    ),
    "heavy": (
        ({"data": "siftflow"}, {"stage_rates": (1e-2, 1e-2), "mean": "siftflow"}),
        ({"data": "siftflow-geometric"}, {"stage_rates": (1e-2, 1e-2), "mean": "siftflow"}),
        ({"data": "nyudv2"}, {"mean": "nyudv2"}),
        ({"data": "nyudv2-hha"}, {"mean": "nyudv2_hha"}),
        ({"data": "pascal_context"}, {"iterations": 400_000}),
        (  # Mean IU as above 48.0.
            {"backbone": "alexnet"},
            {"loss_reduction": "mean", "momentum": 0.9, "accumulate": 20, "learning_rate": 1e-4},
        ),
    ),
}


def camvid_epochs(images: int) -> int:
    """How many epochs of the recipe "camvid" other data needs: about as many steps as CamVid's 367.

    Args:
        images: of the training split.
    """
    return min(400, max(6, round(CAMVID["epochs"] * 367 / images)))
