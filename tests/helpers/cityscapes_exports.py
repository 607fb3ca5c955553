"""Small data sets as Cityscapes has them."""

import json

from exports import picture

SIZE = (20, 30)
WHOLE = [[0, 0], [30, 0], [30, 20], [0, 20]]
SQUARE = [[4, 2], [13, 2], [13, 11], [4, 11]]


def city(root, objects, *, name="a_000000_000001", split="train", kind="gtFine", image=".png"):
    if image:
        picture(root / f"leftImg8bit/{split}/a/{name}_leftImg8bit{image}", SIZE)
    path = root / f"{kind}/{split}/a/{name}_{kind}_polygons.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [
        {"label": label, "polygon": polygon, **more}
        for label, polygon, more in ((*one, {})[:3] for one in objects)
    ]
    content = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": entries}
    path.write_text(json.dumps(content))
    return path
