"""Makes the stores of old MLflows anew: `make old-stores`, or `python tests/kb/old_stores/make.py [VERSION ...]`.

Each version is installed in an environment of its own, thrown away afterwards, on a Python of its time (looked for in
pyenv's folder, then on the PATH). There `write.py` fills a SQLite store and a file store and notes what that MLflow's
own client reads in them; all of it becomes `mlflow_VERSION.tar.xz` beside this file, 20 to 35 KB. From 2.0 on it is
`mlflow-skinny` that is installed: the same client and the same stores without the server.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
_OLD = ("sqlalchemy<1.4", "alembic<1.5", "protobuf<3.21", "setuptools<66", "flask<2.1", "jinja2<3.1", "markupsafe<2.1",
        "werkzeug<2.1")  # fmt: skip
_MIDDLE = ("sqlalchemy<2", "protobuf<3.21", "setuptools<66")
_SKINNY = ("sqlalchemy<2", "alembic<1.14", "setuptools<81")

# Version: the Python it ran on in its time, and what pip would choose too new for it.
VERSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "1.4.0": ("3.7", _OLD),
    "1.7.2": ("3.7", _OLD),
    "1.10.0": ("3.7", _OLD),
    "1.14.1": ("3.7", _OLD),
    "1.20.2": ("3.7", _MIDDLE),
    "1.30.1": ("3.8", _MIDDLE),
    "2.0.1": ("3.10", _SKINNY),
    "2.9.2": ("3.10", _SKINNY),
    "2.13.0": ("3.10", _SKINNY),
    "2.13.2": ("3.10", _SKINNY),
    "2.16.2": ("3.10", _SKINNY),
    "2.20.4": ("3.10", _SKINNY),
    "3.1.4": ("3.11", ("sqlalchemy<2.1", "alembic")),
    "3.8.1": ("3.11", ("sqlalchemy<2.1", "alembic")),
    "3.17.2": ("3.11", ("sqlalchemy", "alembic")),
}
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_ALLOW_FILE_STORE": "true",
    "GIT_PYTHON_REFRESH": "quiet", "PYTHONWARNINGS": "ignore", "PYTHONUTF8": "1",
}  # fmt: skip


def main(versions: list[str]) -> None:
    """Makes the archives of these versions, or of all."""
    for version in versions or VERSIONS:
        with tempfile.TemporaryDirectory(prefix="old-mlflow-") as folder:
            made = _make(version, Path(folder))
        print(f"{made.name}: {made.stat().st_size:,} bytes", flush=True)


def _make(version: str, folder: Path) -> Path:
    python = _install(version, folder / "environment")
    stores = folder / "stores"
    stores.mkdir()
    log = folder / "log"
    with log.open("w") as output:
        command = [str(python), str(HERE / "write.py"), str(stores)]
        done = subprocess.run(command, env={**os.environ, **_ENVIRONMENT}, stdout=output, stderr=output)
    lines = log.read_text().splitlines()
    if done.returncode:
        raise SystemExit("\n".join([*lines[-30:], f"MLflow {version} could not write its stores."]))
    print(*(line for line in lines if line.startswith("refused")), sep="\n")
    _check_neutral(stores)
    return _pack(stores, HERE / f"mlflow_{version}.tar.xz")


def _install(version: str, environment: Path) -> Path:
    """The interpreter of a new environment with this MLflow."""
    release, requirements = VERSIONS[version]
    package = "mlflow" if version.startswith("1.") else "mlflow-skinny"
    subprocess.run([_interpreter(release), "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--prefer-binary"]
    subprocess.run([*pip, f"{package}=={version}", *requirements], check=True)
    return python


def _interpreter(release: str) -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = next(iter(sorted(pyenv.glob(f"{release}.*/bin/python"))), None) or shutil.which(f"python{release}")
    if found is None:
        raise SystemExit(f"No Python {release} here. Install it with: pyenv install {release}")
    return str(found)


def _check_neutral(stores: Path) -> None:
    """Stops where a store holds the name of a folder, machine or user of this machine."""
    names = {str(Path.home()), str(stores), tempfile.gettempdir() + "/", socket.gethostname(), str(HERE.parents[2])}
    names |= {getpass.getuser()} - {"root", "user"}
    for file in (file for file in stores.rglob("*") if file.is_file()):
        content = file.read_bytes() + str(file.relative_to(stores)).encode()
        if held := [name for name in names if name.encode() in content]:
            raise SystemExit(f"{file} holds {held}: a store that is kept may not name a place or person.")


def _pack(stores: Path, archive: Path) -> Path:
    def neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 1_600_000_060
        return member

    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for entry in sorted(stores.iterdir()):
            tar.add(entry, entry.name, filter=neutral)
    return archive


if __name__ == "__main__":
    main(sys.argv[1:])
