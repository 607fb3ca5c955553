"""A package whose names are imported on first use, yet whose Keras objects are always registered.

Loading TensorFlow takes seconds, which `--help` must not cost. On the other hand
`import fcn_keras, keras; keras.models.load_model(...)` must find the custom layers, and Keras only
looks at what is registered. So the registrations run as soon as Keras itself has been imported,
by whomever.
"""

import importlib
import importlib.abc
import importlib.util
import sys
import types


def make_lazy(package, names_by_module):
    """Gives the package attributes that import their module on first use, and the modules too."""
    home = {name: module for module, names in names_by_module.items() for name in names}

    class LazyPackage(types.ModuleType):
        def __getattr__(self, name):
            if name in home:
                return getattr(importlib.import_module(f"{package}.{home[name]}"), name)
            if name in names_by_module:
                return importlib.import_module(f"{package}.{name}")
            raise AttributeError(f"module {package!r} has no attribute {name!r}")

        def __setattr__(self, name, value):
            # Importing the submodule `export` binds it to the package, over the function `export`:
            # the function goes first.
            if home.get(name) == name and isinstance(value, types.ModuleType):
                value = getattr(value, name)
            super().__setattr__(name, value)

        def __dir__(self):
            return sorted({*super().__dir__(), *home})

    sys.modules[package].__class__ = LazyPackage


def register_with_keras(package, modules):
    """Imports `modules`, which register Keras objects, now or right after Keras is imported."""

    def register():
        for module in modules:
            importlib.import_module(f"{package}.{module}")

    if "keras" in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _AfterImport("keras", register))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls `action` once, when the module `name` has been imported."""

    def __init__(self, name, action):
        self.name, self.action = name, action
        self.is_searching = False

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name or self.is_searching:
            return None
        self.is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.is_searching = False
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_act(module):
                # Not before: TensorFlow asks for the spec of Keras without importing it.
                sys.meta_path.remove(self)
                execute(module)
                self.action()

            spec.loader.exec_module = execute_and_act
        return spec
