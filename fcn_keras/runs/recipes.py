"""Named recipes: the options that differ from the defaults of `TrainConfig`."""

from typing import Any

# Shared by the paper's recipes: whole images without augmentation, batch size 1, a constant
# learning rate, biases at twice that rate and without decay. Each finer model starts from the
# previous one.
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

# The reference implementation: batch size 1, loss summed over the pixels. Published mean IU on the
# 736 images of VOC 2011's seg11valid: 32s 63.6, 16s 65.0, 8s 65.5.
HEAVY: dict[str, Any] = {
    **PAPER,
    "momentum": 0.99,
    "loss_reduction": "sum",
    "learning_rate": 1e-10,
    "iterations": 100_000,
}

# 367 street scenes on two CPU cores. Freezing the first two blocks saves a third of the time. The
# skip scales bring pool4 and pool3 (root mean square 87 and 460 with ImageNet weights) to the range
# of fc7 (about 5), so one learning rate suits all three score layers. Many epochs of small crops
# beat few epochs of large ones; a learning rate of 2e-4 or half the batch size was no faster. Rare
# classes get slightly more weight: class_balance 0.3 lowers the mean IU by about 0.005.
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
    # Validation mean IU 0.701. It plateaus there: more epochs do not help, but resolution and class
    # balance do.
    "camvid": CAMVID,
    # Starting from "camvid" (--init-from): 0.720. The zoom makes the strides finer; smaller crops
    # keep the cost the same.
    "camvid-fine": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (192, 256),
        "epochs": 12,
        "validate_every": 4,
    },
    # Starting from "camvid-fine": 0.725, and 0.736 after `fcn-keras calibrate`.
    "camvid-large": {
        **CAMVID,
        "zoom": 1.5,
        "crop": (288, 384),
        "batch_size": 2,
        "learning_rate": 3e-5,
        "epochs": 2,
        "validate_every": 2,
    },
    # For long training on a GPU; never run.
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
    # Rendered shapes; takes a minute on two CPU cores.
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
    # The conference paper: 20 images per update, loss averaged. Published mean IU on the same
    # images: 32s 59.4, 16s 62.4, 8s 62.7; without the SBD data VGG16 56.0, AlexNet 39.8, GoogLeNet
    # 42.5.
    "accumulated": {
        **PAPER,
        "momentum": 0.9,
        "accumulate": 20,
        "learning_rate": 1e-4,
        "epochs": 175,
        "validate_every": 5,
    },
    "heavy": HEAVY,
    # "heavy" with the loss averaged. The learning rate is derived, not published: 1e-10 times the
    # number of pixels of a PASCAL VOC image.
    "online": {**HEAVY, "loss_reduction": "mean", "learning_rate": 1.9e-5},
    # FCN-8s straight from the classifier, without the coarser models. Published mean IU on the same
    # images: 65.4.
    "at-once": {**HEAVY, "model": "fcn8s", "skip_scales": (0.01, 0.0001), "iterations": 300_000},
}

# Changes to a recipe for some backbones or data sets; later rows override earlier ones.
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
        (  # Published mean IU on the same images: 48.0. Only the score layer's bias has a rate of
            # its own: the reference leaves conv1 to fc7 at Caffe's defaults.
            {"backbone": "alexnet"},
            {
                "loss_reduction": "mean",
                "momentum": 0.9,
                "accumulate": 20,
                "learning_rate": 1e-4,
                "bias_layers": ("score",),
            },
        ),
    ),
}


def camvid_epochs(images: int) -> int:
    """Returns the epochs for the recipe "camvid" on other data, for about as many steps as CamVid.

    Args:
        images: Number of training images; CamVid has 367.
    """
    return min(400, max(6, round(CAMVID["epochs"] * 367 / images)))
