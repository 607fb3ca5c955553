import ast
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

import fcn_keras
import pipelines

ROOT = Path(__file__).parents[1]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_help_does_not_import_tensorflow_or_pydantic():
    code = (
        "import sys, fcn_keras.cli.main\n"
        "sys.argv = ['fcn-keras', '--help']\n"
        "try: fcn_keras.cli.main.main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'pydantic'} & sys.modules.keys()\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


def test_command_modules_do_not_import_tensorflow():
    done = run(
        "import sys\n"
        "from fcn_keras.cli.main import COMMANDS, load\n"
        "for name in COMMANDS: load(name)\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "imports",
    [
        "import fcn_keras, keras",
        pytest.param("import keras, fcn_keras", marks=pytest.mark.slow),
        pytest.param("import fcn_keras, tensorflow, keras", marks=pytest.mark.slow),
        "import fcn_keras, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_importing_the_package_registers_its_layers(imports):
    code = f"{imports}\nassert keras.saving.get_registered_object('fcn_keras>CropLike')"
    assert run(code).returncode == 0


def test_every_serialisable_class_is_registered():
    named = [
        next((k.value.value for k in d.keywords if k.arg == "name"), node.name)
        for path in (ROOT / "fcn_keras").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for d in node.decorator_list
        if "register_keras_serializable" in ast.unparse(d)
    ]
    done = run(
        "import fcn_keras, keras\n"
        "find = keras.saving.get_registered_object\n"
        f"assert all(find(f'fcn_keras>{{name}}') for name in {named})"
    )
    assert len(named) > 10 and done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", [fcn_keras, pipelines])
def test_public_names_exist(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'FCN4s'"):
        package.FCN4s  # noqa: B018


@pytest.mark.parametrize("package", [fcn_keras, pipelines])
def test_type_checking_imports_match_lazy_imports(package):
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    checked, _ = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module.removeprefix(f"{package.__name__}.")
        for node in checked.body
        for alias in node.names
    }
    assert seen == package._HOMES
    assert set(package.__all__) - {"__version__"} == set(seen)


@pytest.mark.parametrize("package", [fcn_keras, pipelines])
def test_every_submodule_is_an_attribute(package):
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert package._MODULES == {name for name in modules if not name.startswith("_")}
    done = run(f"import {package.__name__} as package; package.errors")
    assert done.returncode == 0, done.stderr


def test_modules_are_not_hidden_by_functions():
    import fcn_keras.evaluation.evaluate as module
    from fcn_keras.evaluation.evaluate import evaluate

    assert isinstance(module, types.ModuleType)
    assert module.evaluate is evaluate is fcn_keras.evaluate


def test_subpackages_export_nothing():
    for package in (fcn_keras, pipelines):
        for path in Path(package.__file__).parent.rglob("*/__init__.py"):
            if path.parent.name == "annotations":  # `pipelines.annotations.convert` is public.
                assert pipelines.annotations.__all__ == ["convert"]
                continue
            (docstring,) = ast.parse(path.read_text("utf-8")).body
            assert isinstance(docstring, ast.Expr), path


def test_version_is_consistent():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"]
    installed = importlib.metadata.version("fcn_keras")
    assert fcn_keras.__version__ == installed == cited
    assert f"## {cited}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.parametrize("package", [fcn_keras, pipelines])
def test_public_functions_are_annotated(package):
    functions = [getattr(package, name) for name in package.__all__]
    for function in filter(inspect.isfunction, functions):
        signature = inspect.signature(function)
        kinds = [parameter.annotation for parameter in signature.parameters.values()]
        assert inspect.Signature.empty not in (*kinds, signature.return_annotation), function


@pytest.mark.parametrize("backend", ["jax", "theano"])
def test_other_backends_of_keras_are_one_error(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    message = f"KERAS_BACKEND={backend}: fcn_keras needs Keras on TensorFlow."
    done = run("import fcn_keras; fcn_keras.FCN8s")
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {message}")
    command = [sys.executable, "-m", "fcn_keras", "evaluate", "run", "--data", "synthetic"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
