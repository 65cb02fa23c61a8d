"""Starts capture in a Python process that `hpkb log` began, then gives way to the environment's own sitecustomize.

`hpkb` itself need not be importable here: the capture package is put into `sys.modules` under its true name. Any
Python may meet this file, so it is written for all of them; capture begins with 3.9.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _start_capture():
    # type: () -> None
    run_dir = os.environ.get("HPKB_RUN_DIR")
    if not run_dir or sys.version_info < (3, 9):
        return
    if not os.path.isabs(run_dir):  # a child may be started from another folder
        os.environ["HPKB_RUN_DIR"] = run_dir = os.path.abspath(run_dir)
    from importlib.machinery import ModuleSpec, SourceFileLoader

    folder = os.path.dirname(_HERE)
    file = os.path.join(folder, "__init__.py")
    spec = ModuleSpec("hpkb.capture", SourceFileLoader("hpkb.capture", file), origin=file, is_package=True)
    spec.submodule_search_locations = [folder]
    package = type(sys)("hpkb.capture")
    package.__spec__, package.__loader__, package.__package__ = spec, spec.loader, spec.name
    package.__file__, package.__path__ = file, [folder]
    sys.modules["hpkb.capture"] = package
    if not os.access(os.path.join(folder, "__pycache__", ""), os.W_OK):
        from hpkb.capture.bytecode import keep_bytecode

        keep_bytecode(folder, run_dir)
    from hpkb.capture.session import start

    start(run_dir)


def _run_next():
    # type: () -> None
    """Runs the sitecustomize that Python would have found without this folder on its path."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
    if sys.version_info < (3, 5):
        return _run_next_by_imp()
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = type(sys)("sitecustomize")
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _run_next_by_imp():
    # type: () -> None
    imp = __import__("imp")
    try:
        found = imp.find_module("sitecustomize", sys.path)
    except ImportError:
        return
    imp.load_module("sitecustomize", *found)


try:
    _start_capture()
except Exception as error:
    sys.stderr.write("hpkb: this process is not captured (%s: %s)\n" % (type(error).__name__, error))
_run_next()
