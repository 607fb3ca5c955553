"""HHA: encodes depth as horizontal disparity, height above ground and angle with gravity.

Gupta, Girshick, Arbelaez and Malik, "Learning Rich Features from RGB-D Images for Object Detection
and Segmentation", ECCV 2014. Every constant, the rounding and the handling of pixels without depth
follow the authors' MATLAB code, so that models trained on its HHA images get the same input.

Depth is [h, w] in metres. Camera coordinates are x to the right, y down and z forward, here in
centimetres; pixel coordinates start at 1, as in MATLAB.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.errors import DataError

# NYUDv2's colour camera (calibration from its toolbox), for the part of the 480 x 640 frames that
# Gupta et al. keep: rows 46..470 and columns 41..600 counted from 1, that is 425 x 560 pixels.
NYUDV2_CAMERA = np.array(
    [
        [5.1885790117450188e02, 0.0, 3.2558244941119034e02 - 40],
        [0.0, 5.1946961112127485e02, 2.5373616633400465e02 - 45],
        [0.0, 0.0, 1.0],
    ]
)
NYUDV2_CAMERA.setflags(write=False)

FINE, COARSE = 3, 10  # Window radii for normals: for the angle, and for gravity.
GRAVITY_STEPS = (45,) * 5 + (15,) * 5  # Degrees within which a surface counts as floor or wall.
TIE = 1e-9  # Eigenvalues with a smaller relative difference count as equal.
LEVEL = 0.1  # Below this tilt in degrees, the camera counts as level.
NEAREST = 100  # Nearer pixels get the disparity of this depth: 310, saturated to 255.
LOWEST, EYE_LEVEL = -90, 130  # If no point is below LOWEST, the ground is EYE_LEVEL below.
MAX_MEDIAN = 100  # Metres. No depth camera sees that far, so larger medians are millimetres.


def encode_hha(
    depth_metres: np.ndarray,
    camera_matrix: np.ndarray,
    *,
    missing: np.ndarray | None = None,
) -> np.ndarray:
    """Encodes a depth image as HHA.

    The channels are 31000 / max(z, 100); the height above the lowest point; and 38 + the angle in
    degrees between gravity and the normal that points away from the camera (floor 38, wall 128,
    ceiling 218). Lengths are in centimetres. Gravity is estimated near the image's vertical axis,
    as the direction that most floors face and most walls do not. Without a floor it is a guess.

    Args:
        depth_metres: Floats `[h, w]`. Where the depth is 0 or less, the point is in the camera
            itself; where it is infinite or NaN, the height is 0 and the disparity 255.
        camera_matrix: `[3, 3]`, ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels. The first pixel
            has the coordinates (1, 1), so add 1 to a centre that is counted from 0.
        missing: bool `[h, w]`, pixels to leave out when normals are fitted, such as filled holes
            (where the raw depth is 0). Pixels without a positive depth are always left out. Where
            a whole window is missing, the angle is taken as 180 degrees.

    Returns:
        uint8 `[h, w, 3]`.

    Raises:
        DataError: An argument has the wrong shape or type, no pixel has a depth, or the depth is
            in millimetres.
    """
    depth, camera, missing = _checked(depth_metres, camera_matrix, missing)
    rays = _rays(depth.shape, camera)
    points = 100 * depth[..., None] * rays  # [h, w, 3]
    gravity = _gravity(_normals(points, rays, missing, COARSE))
    # fmax ignores NaN, like MATLAB's max.
    disparity = 31000 / np.fmax(points[..., 2], NEAREST)
    cosine = np.fmin(1, np.fmax(-1, _normals(points, rays, missing, FINE) @ gravity))
    angle = np.degrees(np.arccos(cosine))
    return _to_uint8(np.stack([disparity, _height(points, gravity), angle + 128 - 90], axis=-1))


def _checked(
    depth: np.ndarray, camera: np.ndarray, missing: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments in float64 and bool; depths are positive, 0 or NaN."""
    depth, camera = np.asarray(depth), np.asarray(camera)
    if depth.ndim != 2 or depth.dtype.kind != "f":
        raise DataError(
            f"depth_metres: {depth.dtype} {list(depth.shape)}; it must be floats [h, w] in "
            "metres. Divide a file's integers by its steps per metre, often 1000."
        )
    depth = depth.astype("float64")
    depth = np.where(np.isfinite(depth), np.maximum(depth, 0), np.nan)
    if not (depth > 0).any():
        raise DataError(
            f"depth_metres: no pixel of {list(depth.shape)} has a depth above 0. Leave the image "
            "out."
        )
    median = np.median(depth[depth > 0])
    if median > MAX_MEDIAN:
        raise DataError(
            f"depth_metres: its median is {median:.6g}, which looks like millimetres; it must be "
            "in metres. Divide it by 1000."
        )
    if camera.shape != (3, 3) or camera.dtype.kind not in "fiu" or not np.isfinite(camera).all():
        raise DataError(
            f"camera_matrix: {camera.dtype} {list(camera.shape)}; it must be [3, 3] finite "
            "numbers. Give ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels."
        )
    if min(camera[0, 0], camera[1, 1]) <= 0:
        raise DataError(
            f"camera_matrix: focal lengths {camera[0, 0]:.6g} and {camera[1, 1]:.6g}; they must be "
            "above 0. Give ((fx, 0, cx), (0, fy, cy), (0, 0, 1)) in pixels."
        )
    if not np.array_equal(camera * ~_FREE, np.diag([0, 0, 1])):
        raise DataError(
            f"camera_matrix: {camera.tolist()}; it must be ((fx, 0, cx), (0, fy, cy), (0, 0, 1)). "
            "A skewed camera's images must be rectified; a rotation is not a camera matrix."
        )
    if missing is None:
        return depth, camera.astype("float64"), ~(depth > 0)
    missing = np.asarray(missing)
    if missing.dtype != bool or missing.shape != depth.shape:
        raise DataError(
            f"missing: {missing.dtype} {list(missing.shape)}; it must be bool "
            f"{list(depth.shape)}, like depth_metres. Give raw_depth == 0."
        )
    return depth, camera.astype("float64"), missing | ~(depth > 0)


_FREE = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)  # fx, fy, cx, cy.


def _rays(shape: tuple[int, ...], camera: np.ndarray) -> np.ndarray:
    """Computes each pixel's point at depth 1, float64 [h, w, 3]."""
    rows, columns = np.indices(shape) + 1.0
    x = (columns - camera[0, 2]) / camera[0, 0]
    y = (rows - camera[1, 2]) / camera[1, 1]
    return np.stack([x, y, np.ones(shape)], axis=-1)


def _normals(points: np.ndarray, rays: np.ndarray, missing: np.ndarray, radius: int) -> np.ndarray:
    """Fits planes to square windows: unit normals away from the camera, [h, w, 3], or NaN.

    The pixels of a plane n . p = 1 fulfil n . ray = 1 / z. This is solved for n by least squares,
    which weighs distant points less.
    """
    seen = ~missing
    inverse = np.divide(1, points[..., 2], out=np.zeros(seen.shape), where=seen)
    a, b, c = (_box_sum(rays * (rays[..., i] * seen)[..., None], radius) for i in range(3))
    right = _box_sum(rays * inverse[..., None], radius)
    # Cramer's rule without its division by the determinant, which may be 0: only the direction of n
    # matters.
    normals = np.stack(
        [(np.cross(p, q) * right).sum(-1) for p, q in ((b, c), (c, a), (a, b))], axis=-1
    )
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.full_like(normals, np.nan), where=length > 0)
    # Pixels without depth have no point, so that only the first rule applies to them.
    normals[normals[..., 2] < 0] *= -1
    normals[(normals * points).sum(-1) < 0] *= -1
    return normals


def _box_sum(values: np.ndarray, radius: int) -> np.ndarray:
    """Sums [h, w, c] over square windows, which are cut off at the borders.

    A correlation with ones instead of running sums: a window of zeros must give exactly 0.
    """
    ones = np.ones(2 * radius + 1)
    for axis in (0, 1):
        values = ndimage.correlate1d(values, ones, axis=axis, mode="constant")
    return values


def _gravity(normals: np.ndarray) -> np.ndarray:
    """Estimates gravity: the unit vector most parallel to floor and orthogonal to wall normals."""
    normals = normals[~np.isnan(normals[..., 0])]  # [n, 3]
    gravity = np.array([0.0, 1.0, 0.0])
    for degrees in np.radians(GRAVITY_STEPS):
        cosine = np.abs(normals @ gravity)
        walls, floors = cosine < np.sin(degrees), cosine > np.cos(degrees)
        votes = walls.astype("float64") - floors
        values, vectors = np.linalg.eigh(normals.T @ (votes[:, None] * normals))
        # Usually one vector. With a single wall in view several tie, and rounding would choose.
        best = vectors[:, values <= values[0] + TIE * np.abs(values).max()]
        nearest = best @ (best.T @ gravity)
        if nearest.any():
            gravity = nearest / np.linalg.norm(nearest)
    return gravity


def _height(points: np.ndarray, gravity: np.ndarray) -> np.ndarray:
    """Computes the height above the ground in centimetres, [h, w]."""
    level = np.degrees(np.arccos(np.clip(gravity[1], -1, 1))) <= LEVEL
    height = -points[..., 1] if level else -points @ gravity
    lowest = np.nanmin(height)
    return height - (lowest if lowest <= LOWEST else -EYE_LEVEL)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Converts like MATLAB's `uint8`: halves round up, values are clipped, NaN becomes 0."""
    return np.floor(np.nan_to_num(np.clip(values, 0, 255)) + 0.5).astype("uint8")
