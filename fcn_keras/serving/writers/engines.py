"""A trained model as one file for another engine: ONNX Runtime, OpenVINO or LiteRT.

Every file takes `image`, uint8 `[n, h, w, 3]`, RGB, and gives `mask`, uint8 `[n, h, w]` (uint16
above 255 classes), for any n, h and w. Scaling and argmax are inside.
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fcn_keras.errors import ConfigError, FcnKerasError, ModelError
from fcn_keras.layers.alignment import PadToMultiple
from fcn_keras.layers.caffe import CeilMaxPooling2D
from fcn_keras.metrics import count_pixels
from fcn_keras.outputs import check_folder
from fcn_keras.prediction.frozen import check_functional, in_precision
from fcn_keras.prediction.predict_image import class_ids, input_signature
from fcn_keras.serving.agreement import compare

# One pixel, sizes that are no multiple of anything, one far wider than tall; and a batch.
CHECKED_SIZES = ((1, 1, 1), (2, 31, 31), (1, 337, 501), (1, 3, 2000))

# Of the logits' largest magnitude; int8 has none, and is judged by its masks.
BOUNDS = {"float32": 1e-3, "float16": 1e-2}

COMPARED_IMAGES = 20  # Of the calibration images, for the agreement of int8.
LARGE = 1 << 13  # Bytes of a weight, above which converters are not given it.


class Written(NamedTuple):
    """What `write_engine` wrote."""

    path: Path
    error: float | None  # Largest difference of a logit, over their magnitude; None for int8.
    agreement: float  # Share of pixels that have the Keras model's class.


def write_engine(
    model,
    out,
    format,
    *,
    precision="float32",
    calibration=None,
    class_names=None,
    palette=None,
):
    """Writes one file for another engine, after running it there beside the Keras model.

    The file is made in a temporary folder beside `out`, compared on odd sizes with the model
    computing in float32, and then renamed. `out` is never replaced.

    Args:
        model: one RGB image `[b, h, w, 3]` -> logits `[b, h, w, classes]`.
        out: a file ending in .onnx, .xml (OpenVINO; a .bin comes beside it) or .tflite (LiteRT; a
            .labels.json comes beside it if there are class names).
        format: a key of `FORMATS`.
        precision: of `FORMATS[format].precisions`. "float16" stores the weights so, and leaves the
            arithmetic to the engine; "int8" is quantisation after training.
        calibration: for int8, an iterable of uint8 images `[h, w, 3]`: about 100 of the training
            images, as they are.
        class_names: stored in the file, if given.
        palette: uint8 `[classes, 3]`, stored in the file, if given.

    Returns:
        A `Written`.

    Raises:
        ConfigError: an argument is out of its range, `out` is there already, or the engine is not
            installed.
        ModelError: the model cannot be converted or written, or the engine's logits or masks are
            not the model's.
    """
    engine, out = _checked_format(format, precision), Path(out)
    _check_out(engine, out, format)
    _check_model(model)
    images = _checked_calibration(calibration) if precision == "int8" else []
    _check_installed(format, engine.writes_with)
    reference = in_precision(model, "float32")
    labels = _labels(class_names, palette)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=out.parent))
    except OSError as error:
        raise ModelError(f"{out}: cannot write there ({error.strerror}).") from None
    try:
        file, checked = folder / out.name, folder / f"checked{engine.ending}"
        try:
            with _quiet():
                engine.write(_prepared(reference), file, checked, precision, images, labels)
        except FcnKerasError:
            raise
        except Exception as error:  # A converter raises whatever its many parts do.
            why = f"{format}: {model.name} cannot be converted ({_line(error)})."
            raise ModelError(why) from error
        written = _compare(reference, engine, file, checked, precision, images)
        for ending in engine.beside:
            if file.with_suffix(ending).exists():
                _publish(file.with_suffix(ending), out.with_suffix(ending))
        _publish(file, out)  # Last: whoever sees it sees all of it.
        return Written(out, *written)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def open_engine(path, *, precision=None):
    """Opens a file of `write_engine` with the engine it is for, on the CPU.

    Args:
        path: a file that ends in .onnx, .xml or .tflite.
        precision: for OpenVINO, what it computes in: "f32", "bf16" or "f16"; None leaves the
            choice to it, which is bf16 where the CPU has instructions for that.

    Returns:
        A function: uint8 `[n, h, w, 3]` -> class ids `[n, h, w]`.

    Raises:
        ConfigError: there is no such file, or the engine is not installed.
        ModelError: the file cannot be opened.
    """
    path = Path(path)
    format = next((name for name in FORMATS if path.suffix == FORMATS[name].ending), None)
    if format is None or not path.is_file():
        endings = ", ".join(engine.ending for engine in FORMATS.values())
        raise ConfigError(f"{path}: must be an existing file that ends in one of {endings}.")
    if precision is not None and format != "openvino":
        raise ConfigError(f"precision={precision!r}: only OpenVINO (.xml) takes one, not {path}.")
    engine = FORMATS[format]
    _check_installed(format, engine.opens_with)
    try:
        with _quiet():
            run = engine.open(path, precision)
    except Exception as error:  # Each engine has errors of its own.
        raise ModelError(f"{path}: cannot be opened ({_line(error)}).") from error
    return lambda images: run(images)["mask"]


def evaluate_engine(run, dataset, num_classes, progress=None):
    """The confusion matrix of an engine over a data set, as `evaluation.evaluate` gives a model's.

    Args:
        run: a function of `open_engine`.
        dataset: batches of images uint8 `[b, h, w, 3]` and masks `[b, h, w]`; 255 is ignored.
        num_classes: how many classes there are.
        progress: called with no argument after each batch, or None.

    Returns:
        int64 `[num_classes, num_classes]`; rows are the truth, columns the prediction.
    """
    confusion = np.zeros((num_classes, num_classes), "int64")
    for images, masks in dataset:
        confusion += count_pixels(np.asarray(masks), run(np.asarray(images)), num_classes)
        if progress:
            progress()
    return confusion


# ONNX


def _write_onnx(model, file, checked, precision, images, labels):
    import onnx
    import tf2onnx

    endpoint, kernels = _endpoint(model, with_logits=True, large=LARGE)
    model, _ = tf2onnx.convert.from_function(
        endpoint,
        input_signature=endpoint.input_signature,
        opset=18,
        custom_op_handlers={"FloorMod": (_floor_mod, [])},
    )
    _fill_onnx(model.graph, kernels)
    _name_sizes(model)
    onnx.helper.set_model_props(model, labels)
    onnx.save(model, checked)
    for output in [output for output in model.graph.output if output.name != "mask"]:
        model.graph.output.remove(output)
    onnx.save(model, file)


def _floor_mod(graph, node, name, arguments):
    """TensorFlow's FloorMod as ONNX's Mod; tf2onnx 1.17 rounds -337 // 32 the wrong way."""
    inputs, outputs = list(node.input), list(node.output)
    shapes, kinds = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    graph.make_node("Mod", inputs, name=name, outputs=outputs, shapes=shapes, dtypes=kinds)


def _fill_onnx(graph, kernels):
    """Makes inputs constants, in the order of axes that the graph brings them into."""
    from onnx import helper, numpy_helper

    for value in [value for value in graph.input if value.name in kernels]:
        graph.input.remove(value)
    for name, kernel in kernels.items():
        users = [node for node in graph.node if name in node.input]
        if [node.op_type for node in users] == ["Transpose"]:
            (node,) = users
            kernel = kernel.transpose(helper.get_node_attr_value(node, "perm"))
            name = node.output[0]
            graph.node.remove(node)
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), name))


def _name_sizes(model):
    """Calls the sizes n, h and w, which the converter numbers."""
    for value in (*model.graph.input, *model.graph.output):
        for name, size in zip("nhw", value.type.tensor_type.shape.dim, strict=False):
            size.dim_param = name


def _open_onnx(path, precision):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


# OpenVINO


def _write_openvino(model, file, checked, precision, images, labels):
    import openvino

    endpoint, kernels = _endpoint(model, with_logits=True, large=LARGE)
    model = openvino.convert_model(endpoint.get_concrete_function())
    _fill_openvino(model, kernels)
    if precision == "int8":
        import nncf

        data = nncf.Dataset([image[None] for image in images])
        model = nncf.quantize(model, data, subset_size=len(images))
    for key, value in labels.items():
        model.set_rt_info(value, ["fcn_keras", key])
    half = precision == "float16"
    openvino.save_model(model, checked, compress_to_fp16=half)
    for result in model.get_results():
        if "mask" not in result.input_value(0).get_names():
            model.remove_result(result)
    openvino.save_model(model, file, compress_to_fp16=half)


def _fill_openvino(model, kernels):
    """Makes inputs constants."""
    from openvino import opset13, passes

    for parameter in model.get_parameters():
        names = parameter.output(0).get_names() & kernels.keys()
        if names:
            kernel = opset13.constant(kernels[names.pop()])
            parameter.output(0).replace(kernel.output(0))
            model.remove_parameter(parameter)
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)


def _open_openvino(path, precision):
    import openvino

    options = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(path, "CPU", options)
    names = [output.get_any_name() for output in compiled.outputs]
    return lambda images: dict(zip(names, compiled([images]).values(), strict=True))


# LiteRT


def _write_litert(model, file, checked, precision, images, labels):
    _convert_litert(_endpoint(model, with_logits=False)[0], file, precision, images)
    if precision != "int8":  # There the logits have no bound.
        _convert_litert(_endpoint(model, with_logits=True)[0], checked, precision, images)
    if labels:
        content = {key: json.loads(value) for key, value in labels.items()}
        file.with_suffix(".labels.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def _convert_litert(endpoint, file, precision, images):
    # Only by way of a SavedModel do input and outputs keep their names.
    with tempfile.TemporaryDirectory(dir=file.parent) as saved:
        signatures = {"serving_default": endpoint.get_concrete_function()}
        tf.saved_model.save(tf.Module(), saved, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        if precision == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
        file.write_bytes(converter.convert())


def _open_litert(path, precision):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()  # Says so on the terminal, here and not at the first image.
    run = interpreter.get_signature_runner("serving_default")
    return lambda images: run(image=images)


class Engine(NamedTuple):
    """One format: what its files are called, what it can store, how it is written and opened."""

    ending: str
    beside: tuple[str, ...]  # Endings of files that may belong to it.
    precisions: tuple[str, ...]
    writes_with: tuple[str, ...]  # Modules of the extra of the format's name.
    opens_with: tuple[str, ...]
    write: Callable  # Of a model: the file, and one with the logits beside the mask.
    open: Callable  # File, precision -> a function: images -> a dict of the outputs.


FORMATS = {
    "onnx": Engine(
        ".onnx",
        (),
        ("float32",),
        ("onnx", "tf2onnx", "onnxruntime"),
        ("onnxruntime",),
        _write_onnx,
        _open_onnx,
    ),
    "openvino": Engine(
        ".xml",
        (".bin",),
        ("float32", "float16", "int8"),
        ("openvino", "nncf"),
        ("openvino",),
        _write_openvino,
        _open_openvino,
    ),
    "litert": Engine(
        ".tflite",
        (".labels.json",),
        ("float32", "int8"),
        ("ai_edge_litert",),
        ("ai_edge_litert",),
        _write_litert,
        _open_litert,
    ),
}


def _checked_format(format, precision):
    if format not in FORMATS:
        raise ConfigError(f"format={format!r}: must be one of {', '.join(FORMATS)}.")
    engine = FORMATS[format]
    if precision not in engine.precisions:
        able = [name for name, other in FORMATS.items() if precision in other.precisions]
        fix = f" {precision} is for {' and '.join(able)}." if able else ""
        raise ConfigError(
            f"precision={precision!r}: {format} is written as {', '.join(engine.precisions)}.{fix}"
        )
    return engine


def _check_out(engine, out, format):
    if out.suffix != engine.ending:
        raise ConfigError(f"{out}: a file for {format} must end in {engine.ending}.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}. Make it first.")
    check_folder(out.parent)
    for path in (out, *map(out.with_suffix, engine.beside)):
        _check_free(path)


def _check_free(path):
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: is there already, and is not replaced. Choose another name.")


def _check_model(model):
    check_functional(model)
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    if len(shapes) != 2 or shapes[0][-1] != 3 or any(len(shape) != 4 for shape in shapes):
        raise ModelError(
            f"{model.name}: must take one RGB image [b, h, w, 3] and give one map of logits "
            f"[b, h, w, classes], found {', '.join(map(str, shapes))}. `fcn_keras.export` writes "
            "any model."
        )


def _checked_calibration(calibration):
    if calibration is None:
        raise ConfigError(
            "calibration=None: int8 needs images, uint8 [h, w, 3]. Give about 100 of the training "
            "images."
        )
    images = [np.ascontiguousarray(image) for image in calibration]
    if not images:
        raise ConfigError("calibration: holds no image. Give about 100 of the training images.")
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ConfigError(
                f"calibration: image {number} must be uint8 [h, w, 3], found {image.dtype} "
                f"{image.shape}."
            )
    return images


def _check_installed(format, modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format={format!r}: needs {', '.join(missing)}, not installed. "
            f"pip install 'fcn_keras[{format}]'"
        )


def _labels(class_names, palette):
    """What is stored about the classes, as JSON by name."""
    found = {}
    if class_names is not None:
        found["class_names"] = json.dumps([str(name) for name in class_names])
    if palette is not None:
        found["palette"] = json.dumps(np.asarray(palette).tolist())
    return found


def _image_spec():
    return tf.TensorSpec((None, None, None, 3), tf.uint8, name="image")


def _prepared(model):
    """The model with maps that all have a known number of channels.

    TensorFlow forgets the channels behind a padding whose size depends on the image, and LiteRT
    then has no convolution. OpenVINO 2026.4 merges a constant padding with a convolution's own one,
    and gets the sum wrong. So a reshape that changes nothing follows each of them.
    """

    def copied(layer):
        kind = type(layer)
        if isinstance(layer, PadToMultiple | CeilMaxPooling2D | keras.layers.ZeroPadding2D):
            kind = type(kind.__name__, (_Reshaped, kind), {})
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


class _Reshaped:
    def call(self, x):
        y = super().call(x)
        return tf.reshape(y, (*tf.unstack(tf.shape(y)[:3]), x.shape[-1]))


def _endpoint(model, with_logits, large=math.inf):
    """A function of one image batch: its named outputs are the file's.

    Weights are constants in it, but for those of more than `large` bytes: it takes these too, and
    they are put in when it is converted. Converters copy constants so often that VGG16 takes 20 GB.

    Returns:
        A `tf.function`, and the large weights: arrays by the name of the input.
    """
    weights = [v.numpy() for v in (*model.trainable_variables, *model.non_trainable_variables)]
    trainable = len(model.trainable_variables)
    kernels = {f"kernel_{i}": w for i, w in enumerate(weights) if w.nbytes > large}
    specs = [tf.TensorSpec(w.shape, w.dtype, name) for name, w in kernels.items()]

    @tf.function(input_signature=[_image_spec(), *specs])
    def endpoint(image, *given):
        given = dict(zip(kernels, given, strict=True))
        tensors = [
            given[f"kernel_{i}"] if f"kernel_{i}" in given else tf.constant(w)
            for i, w in enumerate(weights)
        ]
        logits, _ = model.stateless_call(
            tensors[:trainable], tensors[trainable:], image, training=False
        )
        mask = {"mask": class_ids(logits)}
        return {**mask, "logits": logits} if with_logits else mask

    return endpoint, kernels


def _compare(reference, engine, file, checked, precision, images):
    """The error of the logits and the agreement of the masks; raises if they are too bad."""
    logits_of = tf.function(
        lambda batch: reference(batch, training=False), input_signature=[input_signature(reference)]
    )
    hint = "f32" if engine.ending == ".xml" else None
    with _quiet():
        run = engine.open(file, hint)
    if precision == "int8":
        same = []
        for image in images[:: max(1, len(images) // COMPARED_IMAGES)]:
            same.append(np.ravel(run(image[None])["mask"] == class_ids(logits_of(image[None]))))
        return None, float(np.concatenate(same).mean())
    with _quiet():
        run_checked = engine.open(checked, hint)
    rng, expected, found = np.random.default_rng(0), [], []
    for size in CHECKED_SIZES:
        batch = rng.integers(0, 256, (*size, 3), "uint8")
        expected.append(logits_of(batch).numpy())
        found.append((run(batch)["mask"], run_checked(batch)["logits"]))
    return compare(expected, found, BOUNDS[precision])


def _publish(source, target):
    _check_free(target)
    try:
        os.rename(source, target)
    except OSError as error:
        raise ModelError(f"{target}: cannot be written ({error.strerror}).") from None


def _line(error):
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet():
    """Keeps converters from writing to the terminal, Python and C++ alike.

    And from sending their makers a message about the use, as they do outside of CI.
    """
    loggers = [logging.getLogger(name) for name in ("nncf", "tensorflow", "tf2onnx", "absl")]
    levels = [logger.level for logger in loggers]
    before = {name: os.environ.get(name) for name in ("CI", "NNCF_CI")}
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = [os.dup(1), os.dup(2)]
        os.environ.update(dict.fromkeys(before, "true"))
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with open(os.devnull, "w") as nowhere:
                with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                    yield
        finally:
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value
