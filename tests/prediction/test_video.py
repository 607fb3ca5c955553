"""Prediction of videos, cameras and folders of images, as on the command line."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from nets import randomise_scores
from PIL import Image

import fcn_keras
from fcn_keras.errors import ConfigError
from fcn_keras.models import saving
from fcn_keras.prediction import video
from fcn_keras.prediction.pictures import Look
from pipelines import DataError, read_image

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # Read once, at a process's first video.
PALETTE = np.array([[0, 0, 0], [250, 10, 20], [3, 250, 7]], "uint8")


@pytest.fixture(scope="module")
def net():
    return randomise_scores(fcn_keras.FCN32s(3, backbone="tiny", weights=None, head_width=16))


@pytest.fixture
def saved(net, tmp_path):
    saving.save_model(net, tmp_path / "net.keras")
    return tmp_path / "net.keras"


@pytest.fixture(params=[".mp4", ".avi"])
def film(request, tmp_path):
    """Nine frames of 64 x 48, 7 per second; red to blue, which shows the channel order."""
    path = tmp_path / f"film{request.param}"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*video.CODECS[request.param]), 7.0, (64, 48)
    )
    for number in range(9):
        writer.write(np.full((48, 64, 3), (30 * number, 0, 240 - 30 * number), "uint8"))
    writer.release()
    return path


def frames_of(path):
    reader, frames = cv2.VideoCapture(str(path)), []
    rate = reader.get(cv2.CAP_PROP_FPS)
    while (frame := reader.read()[1]) is not None:
        frames.append(frame[..., ::-1])
    reader.release()
    return rate, np.array(frames)


def test_a_video_keeps_its_size_and_frame_rate(net, film, tmp_path):
    _, originals = frames_of(film)
    for picture in ("overlay", "mask"):
        out = tmp_path / f"{picture}{film.suffix}"
        assert video.predict_video(net, film, out, Look(PALETTE), picture=picture) == (9, 9)
        rate, frames = frames_of(out)
        assert rate == 7 and frames.shape == originals.shape == (9, 48, 64, 3)
        for image, frame in zip(originals, frames, strict=True):
            mask = fcn_keras.predict(net, image)
            expected = fcn_keras.overlay(image, mask, PALETTE)
            expected = PALETTE[mask] if picture == "mask" else expected
            assert np.abs(expected.astype(int) - frame).mean() < 12  # The codec is lossy.
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_command_predicts_a_video(fcn_keras_cli, saved, film, tmp_path):
    out = tmp_path / "made" / "masks.mp4"
    status, printed, err = fcn_keras_cli(
        "predict", saved, film, "--out", out, "--video", "mask", "--frames", 4, "--tile", 640
    )
    assert (status, err) == (0, "") and "4 frames predicted" in printed
    assert len(frames_of(out)[1]) == 4
    status, _, err = fcn_keras_cli("predict", saved, film, "--out", out)
    assert status == 2 and "masks.mp4: exists already. Choose another name" in err
    status, _, err = fcn_keras_cli("predict", saved, film, "--out", tmp_path / "folder")
    assert status == 2 and "must be a file that ends in .mp4 or .avi" in err
    status, _, err = fcn_keras_cli("predict", saved, film, film, "--out", tmp_path / "b.mp4")
    assert status == 2 and "a video or camera cannot be combined with other files" in err


def test_bad_videos_give_one_line(fcn_keras_cli, saved, film, tmp_path):
    bad = tmp_path / "bad.mp4"
    for content in (b"", b"<html>" * 100, film.read_bytes()[:300]):
        bad.write_bytes(content)
        status, _, err = fcn_keras_cli("predict", saved, bad, "--out", tmp_path / "out.mp4")
        assert status == 2 and err.count("\n") == 1, err
        assert "bad.mp4: not a video, truncated, or in a codec" in err
    for source, message in (
        (tmp_path / "none.mp4", "none.mp4: no such file."),
        ("camera:97", "camera:97: no such camera, or it is in use."),
        ("camera:99999999999999", "camera:99999999999999: no such camera, or it is in use."),
        ("camera:" + 5000 * "9", "999: no such camera, or it is in use."),
    ):
        status, _, err = fcn_keras_cli("predict", saved, source, "--out", tmp_path / "out.mp4")
        assert status == 2 and message in err and err.count("\n") == 1
    assert not list(tmp_path.glob("*out*"))


class Camera:
    """A fake OpenCV camera that raises KeyboardInterrupt after some frames."""

    def __init__(self, number, stop_after=5):
        self.left, self.number = stop_after, number

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _):
        return 0.0 if self.number == 3 else -1.0

    def read(self):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return True, np.full((32, 48, 3), 50 * self.left, "uint8")

    def release(self):
        self.left = None


def test_a_camera_is_written_until_ctrl_c(net, tmp_path, monkeypatch):
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda of, *how: real(of, *how) if how else Camera(of))
    out = tmp_path / "camera.mp4"
    assert video.predict_video(net, "camera:3", out, Look(PALETTE)) == (5, 0)
    monkeypatch.undo()
    rate, frames = frames_of(out)
    assert rate == video.CAMERA_RATE and frames.shape == (5, 32, 48, 3)


def test_a_video_on_a_full_disk_is_an_error(fcn_keras_cli, saved, film, small_disk, fill_disk):
    fill_disk(small_disk, left=0)
    out = small_disk / f"out{film.suffix}"
    status, printed, err = fcn_keras_cli("predict", saved, film, "--out", out)
    assert status == 2 and "frames predicted" not in printed
    assert err.count("\n") == 1 and f"--out {out}: " in err and "ree some disk space" in err
    assert [path.name for path in small_disk.iterdir()] == ["other"]


def test_a_video_that_is_too_large_is_an_error(net, film, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ConfigError, match="could not be written completely"):
            video.predict_video(net, film, tmp_path / f"out{film.suffix}", Look(PALETTE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("reported, rate", [(0.5, 0.5), (1000.0, 1000.0), (1001.0, 25.0)])
def test_an_impossible_frame_rate_is_replaced(monkeypatch, tmp_path, reported, rate):
    (tmp_path / "film.mp4").touch()
    monkeypatch.setattr(Camera, "get", lambda self, what: reported)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Camera(0))
    with video._open_source(str(tmp_path / "film.mp4")) as (_, _, found, _):
        assert found == rate


def test_an_interrupted_video_leaves_no_file(net, film, tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.predict_video(net, film, tmp_path / "out.mp4", Look(PALETTE), advance=stop)
    assert {path.name for path in tmp_path.iterdir()} == {film.name}


def test_frames_of_two_sizes_are_refused(net, tmp_path, monkeypatch):
    sizes = iter([(32, 48), (32, 64)])

    class Changing(Camera):
        def read(self):
            return True, np.zeros((*next(sizes), 3), "uint8")

    monkeypatch.setattr(cv2, "VideoCapture", Changing)
    with pytest.raises(ConfigError, match="found 48 x 32 and then 64 x 32 pixels at frame 1"):
        video.predict_video(net, "camera:0", tmp_path / "out.mp4", Look(PALETTE))
    assert not list(tmp_path.iterdir())


def test_bad_files_are_named_in_order_and_the_others_predicted(
    fcn_keras_cli, saved, net, tmp_path, rng
):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    images = {f"{n:02d}": rng.integers(0, 256, (30 + n, 40, 3), "uint8") for n in range(12)}
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    for name in ("03", "07", "08"):
        (folder / f"{name}.png").write_text("<html>")
    status, printed, err = fcn_keras_cli("predict", saved, folder, "--out", out)
    assert status == 2 and "9 of 12 images predicted" in printed
    named = [line.split(": ")[1].split("/")[-1] for line in err.splitlines()]
    assert named == ["03.png", "07.png", "08.png"]
    assert len(list(out.iterdir())) == 18
    for name in images.keys() - {"03", "07", "08"}:
        with Image.open(out / f"{name}.png") as mask:
            expected = fcn_keras.predict(net, images[name])
            np.testing.assert_array_equal(np.asarray(mask), expected)


def test_the_command_tiles(fcn_keras_cli, saved, net, tmp_path, rng, monkeypatch):
    image = rng.integers(0, 256, (310, 330, 3), "uint8")
    Image.fromarray(image).save(tmp_path / "a.png")
    whole = fcn_keras.predict(net, image)
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_PIXELS", 1000)
    monkeypatch.setattr("fcn_keras.prediction.tiles.AUTO_TILE", 280)
    for number, options in enumerate(([], ["--tile", 280], ["--tile", "none"])):
        out = tmp_path / f"out{number}"
        status, _, err = fcn_keras_cli("predict", saved, tmp_path / "a.png", "--out", out, *options)
        assert (status, err) == (0, "")
        with Image.open(out / "a.png") as mask:
            assert (np.asarray(mask) != whole).mean() < 1e-4
    status, _, err = fcn_keras_cli(
        "predict", saved, tmp_path / "a.png", "--out", tmp_path / "x", "--tile", "big"
    )
    assert status == 2 and "--tile big: must be auto, none or a whole number of pixels." in err


def test_large_pictures_are_read_on_request_and_bombs_never(tmp_path, monkeypatch):
    def png(height, width, rows):
        def chunk(kind, data):
            check = zlib.crc32(kind + data).to_bytes(4, "big")
            return len(data).to_bytes(4, "big") + kind + data + check

        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
        parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    (tmp_path / "bomb.png").write_bytes(png(20000, 20000, b"\0" * 50_000))
    with pytest.raises(DataError, match="more than 89,000,000 pixels"):
        read_image(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="in .* bytes cannot be a real image"):
        read_image(tmp_path / "bomb.png", max_pixels=500_000_000)
    assert Image.MAX_IMAGE_PIXELS < 100_000_000
    with pytest.raises(DataError, match="200 x 300 .height x width. is over 5,000 pixels"):
        read_image(_picture(tmp_path), max_pixels=5000)

    monkeypatch.setattr(
        "pipelines.files.opening.MAX_PIXELS", 5000
    )  # A small limit, for a fast test.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert read_image(_picture(tmp_path), max_pixels=60_000).shape == (200, 300, 3)
    assert Image.MAX_IMAGE_PIXELS == 5000


def _picture(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), "uint8")
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder / "picture.png"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals differ on Windows")
def test_ctrl_c_leaves_only_complete_files(saved, tmp_path, rng):
    (tmp_path / "in").mkdir()
    for number in range(400):
        Image.fromarray(rng.integers(0, 256, (200, 200, 3), "uint8")).save(
            tmp_path / "in" / f"{number}.png"
        )
    command = [sys.executable, "-m", "fcn_keras", "predict", saved, tmp_path / "in"]
    run = subprocess.Popen(
        [*command, "--out", tmp_path / "out"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Background processes of a shell ignore SIGINT; this one must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/[0-9]*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130 and b"Traceback" not in err, err
    made = list((tmp_path / "out").iterdir())
    assert 0 < len(made) < 800 and not [path for path in made if path.name.startswith(".")]
    for path in made:
        Image.open(io.BytesIO(path.read_bytes())).load()
