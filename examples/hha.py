"""Encodes a depth image as HHA: disparity, height above ground, angle with gravity.

Run `python examples/hha.py depth.png hha.png`. Without arguments it renders a room and writes
`hha_room.png`, with depth and HHA side by side.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import pipelines


def main():
    """Parses the arguments and writes one picture."""
    parser = argparse.ArgumentParser(description="Encodes a 16-bit depth PNG as an HHA PNG.")
    parser.add_argument("depth", nargs="?", help="a PNG of depths, 0 where missing")
    parser.add_argument("hha", nargs="?", type=Path, help="the PNG to write; required with DEPTH")
    parser.add_argument("--raw", help="a PNG of the depths before hole filling")
    parser.add_argument("--unit", type=float, default=0.001, help="metres per step [0.001]")
    parser.add_argument(
        "--camera",
        nargs=4,
        type=float,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics in pixels, first pixel (1, 1) [those of NYUDv2 at 425 x 560]",
    )
    options = parser.parse_args()
    if options.depth and not options.hha:
        parser.error("HHA: missing. Give the PNG to write after DEPTH")
    out = options.hha or Path("hha_room.png")
    if out.exists():
        parser.error(f"{out}: exists already. Move it, or write to another file")
    camera = pipelines.NYUDV2_CAMERA
    if options.camera:
        fx, fy, cx, cy = options.camera
        camera = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    try:
        if options.depth:
            depth = options.unit * pipelines.read_mask(options.depth)  # Values as in the file.
            missing = pipelines.read_mask(options.raw) == 0 if options.raw else None
            picture = pipelines.encode_hha(depth, camera, missing=missing)
        else:
            depth = room(camera)
            grey = np.repeat((255 * depth / depth.max()).astype("uint8")[..., None], 3, axis=-1)
            picture = np.hstack([grey, pipelines.encode_hha(depth, camera)])
    except pipelines.DataError as error:
        parser.error(str(error))
    Image.fromarray(picture).save(out)
    print(out)


def room(camera, *, shape=(425, 560), pitch=12):
    """Renders the depth in metres of a room with a box, seen from 1.4 m height, pitched down."""
    rows, columns = np.indices(shape) + 1
    x, y = (columns - camera[0, 2]) / camera[0, 0], (rows - camera[1, 2]) / camera[1, 1]
    cos, sin = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
    rays = np.stack([x, cos * y + sin, cos - sin * y], axis=-1)  # Axes: right, down, ahead.
    walls = slab(rays, (-1.6, -1.1, -1), (2.6, 1.4, 4.2))[1]  # Left, ceiling, behind; right, ...
    near, far = slab(rays, (-0.5, 0.7, 2.2), (0.4, 1.4, 2.9))
    return np.where(near < far, near, walls)  # Rays have depth 1 in the camera.


def slab(rays, low, high):
    """Returns where rays from 0 enter and leave the cuboid between two corners, [h, w] each."""
    with np.errstate(divide="ignore"):
        first, second = np.asarray(low) / rays, np.asarray(high) / rays
    return np.minimum(first, second).max(-1), np.maximum(first, second).min(-1)


if __name__ == "__main__":
    main()
