"""Small exports of Label Studio."""

import json

import numpy as np
from exports import picture

SIZE = (20, 50)
TRIANGLE = [[10, 10], [50, 10], [10, 80]]  # Percent.


def result(kind, value, labels=("cat",), **more):
    return {
        "id": "r",
        "type": kind,
        "value": {**value, **({kind: list(labels)} if labels else {})},
        "to_name": "image",
        "from_name": "label",
        "image_rotation": 0,
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        **more,
    }


def annotation(*results, by=1, **more):
    return {"result": list(results), "completed_by": by, "was_cancelled": False, **more}


def task(*annotations, image="/data/upload/1/ab12cd34-a.png", **more):
    return {"id": 1, "annotations": list(annotations), "data": {"image": image}, **more}


def export(root, *tasks, image="a.png"):
    if image:
        picture(root / image, SIZE)
    (root / "export.json").write_text(json.dumps(tasks))


def encoded(mask):
    """Bits of Label Studio's coding, written by its description: runs for rows, else values."""
    alpha = np.repeat(mask.astype(int) * 255, 4, axis=1)
    bits = f"{alpha.size:032b}{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    for row in alpha:
        if len(set(row.tolist())) == 1:
            bits += f"111{len(row) - 1:016b}{row[0]:08b}"
        else:
            bits += f"011{len(row) - 1:016b}" + "".join(f"{value:08b}" for value in row)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
