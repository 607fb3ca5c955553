"""Example images of a run as layers that a page stacks on each other."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_keras.labels import VOID
from fcn_keras.runs.reading import Run

WRONG = (213, 45, 30)


def example_pictures(run: Run, each: int | None = None) -> dict[str, list[dict[str, Any]]]:
    """The best, median and worst examples: name, mean IU, class ids, and layers as data URIs.

    Args:
        run: A `Run`.
        each: The number of examples of each kind, or None for all.
    """
    kinds: dict[str, list[dict[str, Any]]] = {"best": [], "median": [], "worst": []}
    for image in sorted(run.images, key=lambda image: image.get("picture") or ""):
        picture = image.get("picture") or ""
        kind = picture.split("-")[0]
        if kind not in kinds or (each and len(kinds[kind]) >= each):
            continue
        base = run.folder / "examples" / Path(picture).name
        try:
            layers = _layers(base)
        except (OSError, ValueError):
            run.notes.append(f"examples/{base.name} cannot be read.")
            continue
        kinds[kind].append({"name": image["image"], "mean_iou": image["mean_iou"], **layers})
    return {kind: pictures for kind, pictures in kinds.items() if pictures}


def _layers(base: Path) -> dict[str, Any]:
    """An example's layers, all of one size, and the ids of its classes."""
    photo = base.with_name(f"{base.name}.jpg").read_bytes()
    masks = {
        name: base.with_name(f"{base.name}-{name}.png").read_bytes()
        for name in ("truth", "prediction")
    }
    truth, prediction = (np.asarray(Image.open(io.BytesIO(mask))) for mask in masks.values())
    return {
        "width": truth.shape[1],
        "height": truth.shape[0],
        "class_ids": set(np.unique([truth, prediction]).tolist()),
        "image": _uri("jpeg", photo),
        **{name: _uri("png", mask) for name, mask in masks.items()},
        "error": _uri("png", _error_layer(truth, prediction)),
    }


def _error_layer(truth: np.ndarray, prediction: np.ndarray) -> bytes:
    """A PNG that is transparent where the prediction is right, red where wrong, dark at void."""
    kinds = np.where(truth == VOID, 2, (truth != prediction).astype("uint8")).astype("uint8")
    picture = Image.fromarray(kinds, "P")
    picture.putpalette([0, 0, 0, *WRONG, 0, 0, 0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=bytes([0, 220, 190]), optimize=True)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
