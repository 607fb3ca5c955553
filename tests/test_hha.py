import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

import pipelines
from pipelines import DataError, encode_hha

EXAMPLE = Path(__file__).parents[1] / "examples" / "hha.py"
CAMERA = np.array([[60.0, 0, 40.5], [0, 62.0, 30.5], [0, 0, 1]])
FLOOR, WALL, CEILING = 38, 128, 218


def rays_of(shape, camera=CAMERA):
    """The points at depth 1; the first pixel is (1, 1)."""
    rows, columns = np.mgrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    pixels = np.stack([columns, rows, np.ones(shape)]).reshape(3, -1)
    return np.linalg.solve(camera, pixels).T.reshape(*shape, 3)


def floor_and_wall(pitch, roll=0.0, yaw=0.0, *, shape=(60, 80), camera=CAMERA, far=3.0):
    """A floor 1.4 m below the camera and a wall ahead: depth, whether it is floor, height in cm.

    The camera looks down by `pitch` degrees.
    """
    turn = Rotation.from_euler("yxz", (yaw, -pitch, roll), degrees=True).as_matrix()
    rays = rays_of(shape, camera) @ turn.T  # World coordinates: right, down, forward.
    below = rays[..., 1] > 1.4 / far * rays[..., 2]
    depth = np.where(below, 1.4 / np.where(below, rays[..., 1], 1), far / rays[..., 2])
    return depth, below, 100 * (1.4 - depth * rays[..., 1])


def seam(regions, radius):
    """Pixels so near another region that a window of that radius contains both."""
    edge = ndimage.maximum_filter(regions, 3) != ndimage.minimum_filter(regions, 3)
    return ndimage.binary_dilation(edge, np.ones((3, 3)), iterations=radius)


def assert_rounded(found, exact):
    """Checks for the nearest integers, except for ties that rounding errors decide."""
    assert np.abs(found - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.floats(20, 35), st.floats(-12, 12), st.floats(-15, 15))
def test_height_and_angle_do_not_depend_on_camera_pose(pitch, roll, yaw):
    depth, below, height = floor_and_wall(pitch, roll, yaw)
    hidden = seam(below, 11)
    hha = encode_hha(depth, CAMERA, missing=hidden)
    assert_rounded(hha[..., 0], 31000 / np.maximum(100 * depth, 100))
    # Not 0.5: windows with only one line of pixels fit any plane through it, and still vote.
    assert np.abs(hha[..., 1] - height).max() < 3
    exact, clear = np.where(below, FLOOR, WALL), ~seam(below, 12)
    assert np.abs(hha[..., 2] - exact)[clear].max() <= 1


@pytest.mark.parametrize("pitch", (20, 35))
def test_gravity_is_found_where_floor_meets_wall(pitch):
    depth, below, height = floor_and_wall(pitch, roll=5)
    hha = encode_hha(depth, CAMERA)
    assert np.abs(hha[..., 1] - height).max() < 6
    assert np.abs(hha[..., 2][below & ~seam(below, 4)] - FLOOR).max() <= 2


def test_ceiling_without_visible_ground():
    rays = rays_of((60, 80))
    turn = Rotation.from_euler("x", 30, degrees=True).as_matrix()  # Looks up.
    up = -(rays @ turn.T)[..., 1]
    hha = encode_hha(0.8 / up, CAMERA)
    assert (hha[..., 1] == 130 + 80).all()  # As if the camera were 1.3 m above the ground.
    assert (hha[..., 2] == CEILING).all()
    assert (encode_hha(2 / up, CAMERA)[..., 1] == 255).all()


@pytest.mark.parametrize("below, height", ((0.5, 80), (0.89, 41), (0.91, 0), (2.0, 0)))
def test_ground_is_the_lowest_point_if_low_enough(below, height):
    turn = Rotation.from_euler("x", -35, degrees=True).as_matrix()
    down = (rays_of((60, 80)) @ turn.T)[..., 1]
    hha = encode_hha(below / down, CAMERA)
    assert (hha[..., 1] == height).all()
    assert (hha[..., 2] == FLOOR).all()


@pytest.mark.parametrize("pitch, is_level", ((-0.09, True), (0.09, True), (0.11, False)))
def test_nearly_level_camera_counts_as_level(pitch, is_level):
    below_horizon = CAMERA - [[0, 0, 0], [0, 0, 36], [0, 0, 0]]
    rays = rays_of((60, 80), below_horizon)
    turn = Rotation.from_euler("x", -pitch, degrees=True).as_matrix()
    depth = 1.4 / (rays @ turn.T)[..., 1]
    down = 100 * depth * rays[..., 1]
    hha = encode_hha(depth, below_horizon)
    assert_rounded(hha[..., 1], down.max() - down if is_level else 0)
    assert hha[..., 1].any() == is_level


def test_disparity_rounds_halves_up_and_saturates():
    depth = np.full((9, 11), 2.0)
    depth[0, :7] = (4.96, 24.8, 0.3, 1.0, 31000 / 25500, 90.0, 99999.0)  # 62.5, 12.5, 310, 310, ...
    hha = encode_hha(depth, CAMERA)
    assert hha.dtype == np.uint8
    assert hha[0, :8, 0].tolist() == [63, 13, 255, 255, 255, 3, 0, 155]


def slow_hha(depth, camera, missing):
    """Computes HHA again, pixel by pixel, as floats [h, w, 3]."""
    points = 100 * depth[..., None] * rays_of(depth.shape, camera)
    fine, coarse = (slow_normals(points, missing, radius) for radius in (3, 10))
    gravity = np.array([0, 1.0, 0])
    for threshold in (45, 45, 45, 45, 45, 15, 15, 15, 15, 15):
        scatter = np.zeros((3, 3))
        for normal in coarse.reshape(-1, 3):
            lean = np.degrees(np.arccos(min(1, abs(normal @ gravity))))
            scatter += np.outer(normal, normal) * (
                int(lean > 90 - threshold) - int(lean < threshold)
            )
        values, vectors = map(np.real, np.linalg.eig(scatter))  # Always complex in NumPy 2.5.
        found = vectors[:, np.argmin(values)]
        gravity = found if found @ gravity > 0 else -found
    axis = np.cross((0, 1, 0), gravity)
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * np.arccos(gravity[1]))
    up = -turn.inv().apply(points.reshape(-1, 3))[:, 1].reshape(depth.shape)
    height = up - (up.min() if up.min() <= -90 else -130)
    angle = np.degrees(np.arccos(np.clip(fine @ gravity, -1, 1)))
    return np.stack([31000 / np.maximum(100 * depth, 100), height, 38 + angle], axis=-1)


def slow_normals(points, missing, radius):
    """Fits planes n . p = 1 by least squares of the residual divided by the depth."""
    normals = np.empty_like(points)
    for row, column in np.ndindex(missing.shape):
        window = tuple(slice(max(0, at - radius), at + radius + 1) for at in (row, column))
        seen = points[window][~missing[window]]
        weight = 1 / seen[:, 2]
        normal = np.linalg.lstsq(seen * weight[:, None], weight, rcond=None)[0]
        away = 1 if normal @ points[row, column] >= 0 else -1
        normals[row, column] = away * normal / np.linalg.norm(normal)
    return normals


@pytest.mark.parametrize("shape", ((19, 26), (34, 23)))
def test_every_pixel_equals_its_own_plane_fit(rng, shape):
    depth = floor_and_wall(15, 6, -9, shape=shape)[0]
    depth *= 1 + 0.5 * ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    missing = rng.random(shape) < 0.3
    hha, exact = encode_hha(depth, CAMERA, missing=missing), slow_hha(depth, CAMERA, missing)
    assert_rounded(hha, exact)
    assert np.ptp(hha[..., 2]) > 60  # The surface turns in many directions.


def test_missing_pixels_do_not_affect_normals(rng):
    depth, below, _ = floor_and_wall(30)
    hidden = seam(below, 11) | (rng.random(depth.shape) < 0.2)
    clean = encode_hha(depth, CAMERA, missing=hidden)
    spoilt = np.where(hidden, rng.uniform(0.5, 1.2, depth.shape), depth)
    found = encode_hha(spoilt, CAMERA, missing=hidden)
    np.testing.assert_array_equal(found[~hidden, ::2], clean[~hidden, ::2])
    spoilt[hidden] = 0  # Pixels without depth are missing by default.
    found = encode_hha(spoilt, CAMERA)
    np.testing.assert_array_equal(found[~hidden, ::2], clean[~hidden, ::2])
    spoilt[hidden] = -1
    np.testing.assert_array_equal(encode_hha(spoilt, CAMERA), found)
    np.testing.assert_array_equal(encode_hha(spoilt, CAMERA, missing=depth < 0), found)


def test_pixels_without_depth_match_matlab():
    depth, below, _ = floor_and_wall(30)
    for value in (np.nan, np.inf, -np.inf):
        depth[2:22, 3:23] = value
        hha = encode_hha(depth, CAMERA)
        assert (hha[2:22, 3:23, :2] == (255, 0)).all()
        assert (hha[5:19, 6:20, 2] == 180 + 38).all()  # Nothing in the window: max(-1, NaN) is -1.
    depth[seam(below, 11)] = 0
    assert (encode_hha(depth, CAMERA)[depth == 0, :2] == (255, 140)).all()  # In the camera.


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(("f2", "f4", "f8")), st.integers(0))
def test_any_size_is_encoded(height, width, dtype, seed):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.5, 9, (height, width)).astype(dtype)
    depth[rng.random(depth.shape) < 0.2] = rng.choice([0, np.nan, np.inf, -1])
    depth[-1, -1] = 2
    before = depth.copy()
    hha = encode_hha(depth, CAMERA)
    assert hha.shape == (height, width, 3) and hha.dtype == np.uint8
    np.testing.assert_array_equal(depth, before)


def test_normals_point_away_from_the_camera_or_forward_without_depth():
    below_horizon = CAMERA - [[0, 0, 0], [0, 0, 50], [0, 0, 0]]
    for pitch, hole in ((10, FLOOR), (-10, CEILING)):  # Looking up, floor normals point back.
        turn = Rotation.from_euler("x", -pitch, degrees=True).as_matrix()
        depth = 1.4 / (rays_of((60, 80), below_horizon) @ turn.T)[..., 1]
        depth[30, 40] = 0
        angle = encode_hha(depth, below_horizon)[..., 2]
        assert angle[30, 40] == hole
        assert (angle[depth > 0] == FLOOR).all()


@pytest.mark.parametrize("yaw", (-40, 0, 25))
def test_single_wall_keeps_the_camera_upright(yaw):
    turn = Rotation.from_euler("y", yaw, degrees=True).as_matrix()
    rays = rays_of((40, 50))
    depth = 1.5 / (rays @ turn.T)[..., 2]
    hha = encode_hha(depth, CAMERA)
    height = -100 * depth * rays[..., 1]
    assert_rounded(hha[..., 1], height - (height.min() if height.min() <= -90 else -130))
    assert (hha[..., 2] == WALL).all()


def test_nyudv2_camera_matches_the_cropped_frames():
    full = rays_of(
        (480, 640), [[518.85790117, 0, 325.58244941], [0, 519.46961112, 253.73616633], [0, 0, 1]]
    )
    np.testing.assert_allclose(rays_of((425, 560), pipelines.NYUDV2_CAMERA), full[45:470, 40:600])
    with pytest.raises(ValueError, match="read-only"):
        pipelines.NYUDV2_CAMERA[0, 2] = 0


GOOD = np.full((4, 5), 2.0)


@pytest.mark.parametrize(
    "depth, camera, missing, message",
    (
        (
            GOOD[..., None],
            CAMERA,
            None,
            "depth_metres: float64 [4, 5, 1]; it must be floats [h, w]",
        ),
        (
            (1000 * GOOD).astype("uint16"),
            CAMERA,
            None,
            "Divide a file's integers by its steps per",
        ),
        (1000 * GOOD, CAMERA, None, "its median is 2000, which looks like millimetres"),
        (0 * GOOD, CAMERA, None, "depth_metres: no pixel of [4, 5] has a depth above 0"),
        (np.nan * GOOD, CAMERA, None, "no pixel of [4, 5] has a depth above 0"),
        (GOOD[:0], CAMERA, None, "no pixel of [0, 5] has a depth above 0"),
        (GOOD, CAMERA[:2], None, "camera_matrix: float64 [2, 3]; it must be [3, 3] finite numbers"),
        (GOOD, np.nan * CAMERA, None, "it must be [3, 3] finite numbers"),
        (GOOD, "kinect", None, "it must be [3, 3] finite numbers"),
        (GOOD, CAMERA * [[-1], [1], [1]], None, "focal lengths -60 and 62; they must be above 0"),
        (GOOD, CAMERA.T, None, "it must be ((fx, 0, cx), (0, fy, cy), (0, 0, 1))"),
        (GOOD, np.eye(3)[:, [1, 0, 2]] + np.eye(3), None, "a rotation is not a camera matrix"),
        (GOOD, CAMERA, GOOD == 0.0, None),
        (GOOD, CAMERA, 0 * GOOD, "missing: float64 [4, 5]; it must be bool [4, 5]"),
        (GOOD, CAMERA, np.zeros((5, 4), bool), "missing: bool [5, 4]; it must be bool [4, 5]"),
    ),
)
def test_invalid_arguments_are_explained(depth, camera, missing, message):
    if message is None:
        encode_hha(depth, camera, missing=missing)
    else:
        with pytest.raises(DataError, match=re.escape(message)):
            encode_hha(depth, camera, missing=missing)


def test_example_script_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hha.py", *arguments])
        runpy.run_path(EXAMPLE, run_name="__main__")

    run()
    with Image.open("hha_room.png") as picture:
        hha = np.asarray(picture)[:, 560:]
    assert hha.shape == (425, 560, 3)
    assert hha[400, 30, 1:].tolist() == [0, FLOOR]
    with pytest.raises(SystemExit):
        run()
    assert "hha_room.png: exists already" in capsys.readouterr().err

    depth = np.round(1e4 * floor_and_wall(30)[0]).astype("uint16")
    Image.fromarray(depth).save("depth.png")
    run("depth.png", "hha.png", "--unit", "1e-4", "--camera", "60", "62", "40.5", "30.5")
    with Image.open("hha.png") as picture:
        np.testing.assert_array_equal(picture, encode_hha(1e-4 * depth, CAMERA))
    with pytest.raises(SystemExit):
        run("depth.png")
    assert "HHA: missing. Give the PNG to write" in capsys.readouterr().err
