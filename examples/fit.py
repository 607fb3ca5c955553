"""Trains FCN-8s in your own script: `model.fit`, TensorBoard, save, reload.

Run `python examples/fit.py [OUT] [EPOCHS]`.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import fcn_keras
import pipelines

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/fit")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 10

# Your own folders: pipelines.read("data.yaml", "train"). CamVid: read("camvid", "train", FOLDER).
train, val = (pipelines.read("synthetic", split) for split in ("train", "val"))
crops = pipelines.Augmentation(crop=(128, 160), scale=(0.8, 1.25), colour=0.5)

# For street scenes use backbone="vgg16", weights="imagenet".
model = fcn_keras.FCN8s(train.num_classes, backbone="tiny", weights=None, head_width=64)
model.compile(
    optimizer=keras.optimizers.AdamW(3e-3),
    loss=fcn_keras.MaskedCrossentropy(),
    metrics=[fcn_keras.ConfusionMatrix(train.num_classes)],
    jit_compile=False,  # On a GPU, Keras would recompile for each validation image size.
)
model.fit(
    pipelines.train_dataset(train, batch_size=8, augmentation=crops, seed=0),
    validation_data=pipelines.eval_dataset(val),
    epochs=epochs,
    shuffle=False,  # The pipeline shuffles already; Keras would warn that it cannot.
    callbacks=[keras.callbacks.TensorBoard(out / "tensorboard")],
)
model.save(out / "model.keras")

image, _ = next(iter(pipelines.eval_dataset(val)))
again = keras.models.load_model(out / "model.keras")
mask = fcn_keras.predict(again, image[0])
print("classes in the first image:", [train.class_names[i] for i in np.unique(mask)])
