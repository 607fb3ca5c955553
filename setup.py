"""Packaging of `fcn_keras`, `pipelines` and the command `fcn-keras`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "fcn_keras/_version.py").read_text("utf-8"), re.MULTILINE
)[1]
# Needed for exports to other engines; tested with these versions.
ONNX = ["onnx>=1.23", "onnxruntime>=1.32", "tf2onnx>=1.17"]
OPENVINO = ["openvino>=2026.4", "nncf>=3.4"]
LITERT = ["ai-edge-litert>=2.3"]
# Needed by the client of a model server, which works without TensorFlow.
GRPC = ["grpcio>=1.60", "protobuf>=5.28"]
# tensorflow-datasets imports importlib_resources without requiring it.
TFDS = ["tensorflow-datasets>=4.9.7", "importlib_resources>=6.0"]

# Needed by the quick tests; "test-all" adds the packages of the other extras' tests.
TEST = [
    "pytest>=8.0",
    "pytest-cov>=6.0",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "scikit-learn>=1.5",
    "pycocotools>=2.0.8",  # The masks of COCO files, to compare with.
    "ruff>=0.9",
    "import-linter>=2.17",
    "mypy>=1.18",
    *TFDS,
]

# The documentation site.
DOCS = ["zensical>=0.0.73", "mkdocstrings>=1.0", "mkdocstrings-python>=2.0"]

setup(
    name="fcn_keras",
    version=VERSION,
    description="Fully Convolutional Networks for Semantic Segmentation, for Keras 3",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    project_urls={
        "Paper": "https://arxiv.org/abs/1605.06211",
        "Reference implementation": "https://github.com/shelhamer/fcn.berkeleyvision.org",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["fcn_keras*", "pipelines*"]),
    package_data={
        "fcn_keras": ["py.typed"],
        "fcn_keras.reporting": ["templates/*"],
        "fcn_keras.serving": ["templates/*"],
        "pipelines": ["py.typed"],
        "pipelines.checking": ["templates/*"],
    },
    package_dir={"": "."},
    python_requires=">=3.11",
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15.1",  # Earlier versions can execute code when they load a model file.
        "numpy>=2.0",
        "h5py>=3.11",
        "pillow>=11.1",
        "defusedxml>=0.7.1",  # XML of labelling tools.
        "scipy>=1.13",
        "jinja2>=3.1",
        "filelock>=3.12",
        "requests>=2.32",
        "simplejpeg>=1.8",
        "albumentations>=2.0.8,<2.1",  # The last version under MIT; its successor is AGPL.
        "opencv-python-headless>=4.9",
        "pydantic>=2.9",
        "pyyaml>=6.0",
        "typer>=0.19",  # Supports typing.Literal as choices.
        "rich>=13.0",
        "wrapt>=1.15",  # TensorFlow requires it too.
        "matplotlib>=3.9",
        "tensorboard>=2.20",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.21"],
        "tfds": TFDS,
        "onnx": ONNX,
        "openvino": OPENVINO,
        "litert": LITERT,
        "grpc": GRPC,
        "docs": DOCS,
        "test": TEST,
        "test-all": [*TEST, *ONNX, *OPENVINO, *LITERT, *GRPC, "tensorflow-serving-api>=2.19"],
    },
    entry_points={"console_scripts": ["fcn-keras = fcn_keras.cli.main:main"]},
)
