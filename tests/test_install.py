"""The three ways to install, each in a throw-away environment: the wheel, `pip install .` and `pip install -e .`.

The environments see this one's packages, so that only hpkb itself is installed, and nothing is fetched.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RENDER = """
import sys
from importlib.resources import files
import hpkb, hpkb.miners
from hpkb.kb.store import connect
from hpkb.pages import write_handbook
from pathlib import Path
assert (files("hpkb.templates") / "base.html").is_file()
assert (files("hpkb.kb") / "schema.sql").is_file()
assert (Path(hpkb.__file__).parent / "capture" / "inject" / "sitecustomize.py").is_file()
assert len(hpkb.miners.names()) >= 6
connection = connect("kb.duckdb")
write_handbook(connection, Path("handbook"))
assert Path("handbook/index.html").stat().st_size > 1000
print(hpkb.__file__)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that a build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source") / "hpkb"
    ignore = shutil.ignore_patterns(".*", "demo", "build", "dist", "*.egg-info", "__pycache__", "handbook")
    shutil.copytree(ROOT, folder, ignore=ignore)
    (folder / "handbook").mkdir()
    return folder


@pytest.mark.parametrize("way", ["wheel", "folder", "editable"])
def test_installs_with_templates_and_capture(way: str, source: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    what = [str(source)]
    if way == "wheel":
        run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)], tmp_path)
        what = [str(next(tmp_path.glob("*.whl")))]
    elif way == "editable":
        what = ["-e", str(source)]
    run([*pip, "--python", str(python), "install", "--no-deps", "--no-build-isolation", *what], tmp_path)
    where = run([str(python), "-c", RENDER], tmp_path).strip()
    assert Path(where).is_relative_to(source if way == "editable" else tmp_path)
    version = run([str(python.parent / "hpkb"), "--version"], tmp_path)
    assert version.startswith("hpkb, version")


def environment(folder: Path) -> Path:
    """Makes a virtual environment that sees this one's packages, but not this checkout; returns its Python."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    packages = site / "borrowed"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "hpkb" not in entry.name and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    (site / "borrowed.pth").write_text(f"{packages}\n")
    return folder / "bin" / "python"


def run(command: list[str], folder: Path) -> str:
    """Runs a command that must succeed, and returns its standard output."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
