import ctypes
import functools
import gc
import os
import re
import resource
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from packaging.requirements import Requirement
from PIL import Image

# Test files and folders that share a worker. TensorFlow never frees the memory of large networks,
# and every process that a test starts takes half a gigabyte; one worker each limits the total.
TOGETHER = {
    "large networks": ("models/", "geometry/", "surgery/"),
    "processes": (
        "batches/test_shutdown.py",
        "distribution/test_devices.py",
        "evaluation/test_evaluate.py",
        "test_package.py",
    ),
}
GROWTH = 16_384  # KB of peak memory.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Runs the tests of a file, or of a group of files, on one worker.

    `--dist loadgroup` should do this, but xdist 3.8 ignores the groups under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0].removeprefix("tests/")
            groups = (name for name, files in TOGETHER.items() if file.startswith(files))
            return next(groups, file)

    return ByFile(config, log)


def pytest_configure(config):
    """Takes back signals that the caller ignores, such as `nohup`: children would inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            own = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, own)


def pytest_collection_finish(session):
    """Excludes all objects created by imports from garbage collection."""
    gc.freeze()


def pytest_runtest_setup(item):
    """Skips tests marked `extra(name)` if that extra of the package is not installed."""
    for mark in item.iter_markers("extra"):
        if missing := missing_for(*mark.args):
            pytest.skip(f"extra {mark.args[0]!r} is not installed: {', '.join(missing)}")


@functools.cache
def missing_for(extra):
    """Returns the packages of an extra that are not installed."""
    required = map(Requirement, metadata.requires("fcn_keras"))
    named = {one.name for one in required if one.marker and one.marker.evaluate({"extra": extra})}
    assert named, f"setup.py has no extra {extra!r}"
    installed = {re.sub(r"[-_.]+", "-", one.name.lower()) for one in metadata.distributions()}
    return sorted(name for name in named if re.sub(r"[-_.]+", "-", name.lower()) not in installed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Frees models after each file, and after each test that raised the peak memory.

    Models contain reference cycles but few Python objects, so Python's garbage collector would let
    gigabytes of weights accumulate.
    """
    before = peak_memory()
    result = yield
    is_last = nextitem is None or nextitem.path != item.path
    if is_last or peak_memory() > before + GROWTH:
        gc.collect()
    if is_last:
        gc.freeze()  # TensorFlow never frees some graphs; do not scan them again.
    return result


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded():
    import keras  # Not at the top: the process that distributes the tests does not need Keras.

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keeps the cache of data checks out of the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared():
    """The folder of real data and weights; tests that need it are skipped if it is missing."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("FCN_KERAS_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set FCN_KERAS_SHARED)")
    return folder


@pytest.fixture(scope="session")
def run_command():
    """Runs a command line in this process and returns its exit status."""
    from fcn_keras.cli import main as cli

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
            patch.setattr(sys, "argv", ["fcn-keras", *map(str, arguments)])
            cli.main()
            raise SystemExit(0)
        return stop.value.code or 0

    return run


@pytest.fixture
def fcn_keras_cli(run_command, capfd):
    """Like `run_command`, but returns exit status, stdout and stderr."""

    def run(*arguments):
        status = run_command(*arguments)
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def weightless():
    """Builds models without allocating weights; the paper's take half a gigabyte."""
    import tensorflow as tf

    with tf.Graph().as_default():  # Its variables are never initialised.
        yield


@pytest.fixture
def small_disk(tmp_path):
    """A disk of eight megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def fill_disk():
    """Fills the disk of a folder, except for some bytes, with a file; returns its path."""

    def fill(folder, left=4096):
        free = os.statvfs(folder)
        path = folder / "other"
        path.write_bytes(b"x" * (free.f_bavail * free.f_bsize - left))
        return path

    return fill


@pytest.fixture
def signal_stack():
    """Allows a test to send signals to its own process.

    OpenVINO's CPU plugin (2026.4) leaves the alternate signal stack pointing to freed memory, so
    the next signal would crash the process.
    """

    class Stack(ctypes.Structure):
        _fields_ = [
            ("pointer", ctypes.c_void_p),
            ("flags", ctypes.c_int),
            ("size", ctypes.c_size_t),
        ]

    disabled = Stack(None, 2, 0)  # SS_DISABLE: signals run on the ordinary stack.
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(ctypes.byref(disabled), None)


@pytest.fixture(scope="session")
def write_folders(tmp_path_factory):
    """Writes a custom data set of PNG files, {train, val}/{images, masks} and data.yaml.

    `write(counts, draw)` takes the number of images per split and a function that draws an image
    and its mask of three classes. It returns the folder.
    """

    def write(counts, draw):
        root = tmp_path_factory.mktemp("data")
        for split, count in counts.items():
            for kind in ("images", "masks"):
                (root / split / kind).mkdir(parents=True)
            for number in range(count):
                for kind, array in zip(("images", "masks"), draw(), strict=True):
                    path = root / split / kind / f"{number}.png"
                    Image.fromarray(array).save(path, compress_level=1)
        (root / "data.yaml").write_text(
            "train: {images: train/images, masks: train/masks}\n"
            "val: {images: val/images, masks: val/masks}\n"
            "classes: [ground, road, car]\n"
        )
        return root

    return write


@pytest.fixture
def two_folders(tmp_path):
    """A custom data set of three classes: {train, val}/{images, masks} and data.yaml."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 256, (40, 56, 3), "uint8")
            mask = rng.integers(0, 3, (40, 56), "uint8")
            mask[0] = 255
            Image.fromarray(image).save(tmp_path / split / "images" / f"{i}.jpg")
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"{i}.png")
    (tmp_path / "data.yaml").write_text(
        "train: {images: train/images, masks: train/masks}\n"
        "val: {images: val/images, masks: val/masks}\n"
        "classes: [ground, {name: road, colour: [128, 64, 128]}, car]\n"
    )
    return tmp_path


@pytest.fixture(scope="session")
def net_parameter():
    """Builds Caffe's NetParameter as a protobuf class, with caffe.proto's field numbers."""
    kinds = descriptor_pb2.FieldDescriptorProto
    messages = {
        "NetParameter": [("name", 1, "STRING"), ("layers", 2, "V1Layer"), ("layer", 100, "Layer")],
        "V1Layer": [
            ("bottom", 2, "STRING"),
            ("name", 4, "STRING"),
            ("type", 5, "INT32"),
            ("blobs", 6, "Blob"),
            ("blobs_lr", 7, "FLOAT"),
        ],
        "Layer": [
            ("name", 1, "STRING"),
            ("type", 2, "STRING"),
            ("bottom", 3, "STRING"),
            ("blobs", 7, "Blob"),
            ("phase", 10, "INT32"),
        ],
        "Blob": [
            ("num", 1, "INT32"),
            ("channels", 2, "INT32"),
            ("height", 3, "INT32"),
            ("width", 4, "INT32"),
            ("data", 5, "FLOAT"),
            ("diff", 6, "FLOAT"),
            ("shape", 7, "Shape"),
            ("double_data", 8, "DOUBLE"),
        ],
        "Shape": [("dim", 1, "INT64")],
    }
    repeated = {
        "layers",
        "layer",
        "bottom",
        "blobs",
        "blobs_lr",
        "data",
        "diff",
        "double_data",
        "dim",
    }

    @functools.cache
    def build(packed):
        file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
        for message, fields in messages.items():
            described = file.message_type.add(name=message)
            for name, number, kind in fields:
                field = described.field.add(name=name, number=number)
                field.label = kinds.LABEL_REPEATED if name in repeated else kinds.LABEL_OPTIONAL
                if kind in messages:
                    field.type, field.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
                else:
                    field.type = getattr(kinds, f"TYPE_{kind}")
                    if name in repeated and kind != "STRING":
                        field.options.packed = packed
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))

    return build


@pytest.fixture(scope="session")
def caffe_file(net_parameter, tmp_path_factory):
    """Writes `{layer: [arrays]}` as a .caffemodel file with the usual other fields."""
    folder = tmp_path_factory.mktemp("caffe")

    def write(layers, layout="V2", *, packed=True, double=False, name="net.caffemodel"):
        net = net_parameter(packed)(name="net")
        for number, (layer, arrays) in enumerate([("data", []), *layers.items()]):
            if layout == "V1":
                written = net.layers.add(name=layer, bottom=["data"], type=4, blobs_lr=[1, 2])
            else:
                written = net.layer.add(name=layer, bottom=["data"], type="Convolution", phase=1)
            for array in arrays:
                blob = written.blobs.add()
                if layout == "V1":
                    shape = (1,) * (4 - array.ndim) + array.shape
                    blob.num, blob.channels, blob.height, blob.width = shape
                else:
                    blob.shape.dim.extend(array.shape)
                blob.diff.extend([0.5] * (number % 3))
                (blob.double_data if double else blob.data).extend(array.ravel().tolist())
        path = folder / name
        path.write_bytes(net.SerializeToString())
        return path

    return write
