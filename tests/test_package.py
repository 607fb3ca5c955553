import subprocess
import sys

import pytest

import fcn_keras


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_help_does_not_load_tensorflow():
    code = (
        "import sys, fcn_keras.cli.main\n"
        "sys.argv = ['fcn-keras', '--help']\n"
        "try: fcn_keras.cli.main.main()\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & sys.modules.keys()\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


@pytest.mark.parametrize(
    "imports",
    [
        "import fcn_keras, keras",
        pytest.param("import keras, fcn_keras", marks=pytest.mark.slow),
        pytest.param("import fcn_keras, tensorflow, keras", marks=pytest.mark.slow),
        "import fcn_keras, importlib.util; importlib.util.find_spec('keras'); import keras",
    ],
)
def test_importing_the_package_registers_its_layers_with_keras(imports):
    code = f"{imports}\nassert keras.saving.get_registered_object('fcn_keras>CropLike')"
    assert run(code).returncode == 0


def test_every_public_name_is_there():
    for name in fcn_keras.__all__:
        assert getattr(fcn_keras, name) is not None
    assert set(fcn_keras.__all__) <= set(dir(fcn_keras))
    with pytest.raises(AttributeError, match="no attribute 'FCN4s'"):
        fcn_keras.FCN4s  # noqa: B018


def test_a_function_is_not_hidden_by_the_module_of_its_name():
    from fcn_keras.serving.export import export
    from fcn_keras.surgery.convolutionalize import convolutionalize

    assert fcn_keras.convolutionalize is convolutionalize
    assert fcn_keras.export is export
