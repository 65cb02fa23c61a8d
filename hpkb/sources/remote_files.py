"""Files from object storage, or through the MLflow server that keeps them: several at once, none of them indispensable.

Credentials are those that MLflow itself would use: of boto3, of Google's and of Azure's environment. What cannot be
fetched is counted by its reason and raises nothing. A bucket whose first files fail is not asked for the rest.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from hpkb.errors import SourceError

#: Writes the file at an `mlflow-artifacts:` address to a path, or raises SourceError.
Download = Callable[[str, Path], None]

_THREADS = 8
_TRIES = 3  # files of one bucket that may fail before its others are given up
# By the address's scheme: the module that reads it, and the extra that installs that.
_BACKENDS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "wasbs": ("adlfs", "azure"), "abfss": ("adlfs", "azure")}
_IN_PROCESS = "memory"  # fsspec's own, which needs nothing
_REFUSALS = (
    "NoCredentialsError", "PartialCredentialsError", "ClientAuthenticationError", "CredentialUnavailableError",
    "DefaultCredentialsError",
)  # fmt: skip


class RemoteFiles:
    """Fetches files; `unread` counts those that could not be had, by the reason."""

    def __init__(self, through_server: Download | None = None) -> None:
        self.unread: Counter[str] = Counter()
        self._through_server = through_server
        self._systems: dict[str, Any] = {}
        self._failures: Counter[str] = Counter()  # by place, since the last file that came
        self._reasons: dict[str, str] = {}
        self._lock = threading.Lock()

    def fetch(self, addresses: Mapping[str, str], folder: Path) -> dict[str, Path]:
        """Returns where the files are now, by the names that their addresses have; not those that cannot be had."""
        wanted = {name: (address, folder / str(i)) for i, (name, address) in enumerate(addresses.items())}
        with ThreadPoolExecutor(_THREADS) as pool:
            came = list(pool.map(lambda pair: self._fetch_one(*pair), wanted.values()))
        return {name: file for (name, (_, file)), is_here in zip(wanted.items(), came, strict=True) if is_here}

    def _fetch_one(self, address: str, file: Path) -> bool:
        parts = urlsplit(address)
        place = f"{parts.scheme}://{parts.netloc}"
        if self._failures[place] >= _TRIES:
            return self._fail(place, self._reasons[place])
        try:
            self._read(address, parts, file)
        except FileNotFoundError:
            return self._fail("", "the file is not there")  # says nothing of the others
        except Exception as error:  # every backend has errors of its own; none of them is worth an analysis
            file.unlink(missing_ok=True)
            return self._fail(place, reason_of(parts.scheme, error))
        self._failures[place] = 0
        return True

    def _fail(self, place: str, reason: str) -> bool:
        with self._lock:
            self.unread[reason] += 1
            if place:
                self._failures[place] += 1
                self._reasons[place] = reason
        return False

    def _read(self, address: str, parts: SplitResult, file: Path) -> None:
        if parts.scheme != "mlflow-artifacts":
            system = self._system(parts)
            system.get_file(system._strip_protocol(for_fsspec(address)), str(file))
        elif self._through_server is None:
            raise SourceError("they are behind an MLflow server; give its address instead of its database")
        else:
            self._through_server(address, file)

    def _system(self, parts: SplitResult) -> Any:
        """The file system of a bucket or container, made once for all threads."""
        with self._lock:
            key = f"{parts.scheme}://{parts.netloc}"
            if key not in self._systems:
                self._systems[key] = file_system(key)
            return self._systems[key]


def file_system(address: str) -> Any:
    """Returns fsspec's file system for an address; raises SourceError where hpkb or this installation has none."""
    parts = urlsplit(address)
    scheme = parts.scheme
    if scheme not in _BACKENDS and scheme != _IN_PROCESS:
        raise SourceError(f"hpkb does not read '{scheme}:'")
    module, extra = _BACKENDS.get(scheme, ("fsspec", "remote"))
    try:
        fsspec = importlib.import_module("fsspec")
        importlib.import_module(module)
    except ImportError:
        raise SourceError(f"'{scheme}:' needs {module}: pip install 'hpkb[{extra}]'") from None
    name = "abfss" if scheme == "wasbs" else scheme
    return fsspec.filesystem(name, skip_instance_cache=scheme != _IN_PROCESS, **_options(parts))


def _options(parts: SplitResult) -> dict[str, Any]:
    """What the file system is opened with, beside what it finds in the environment by itself."""
    if parts.scheme == "s3":
        insecure = os.environ.get("MLFLOW_S3_IGNORE_TLS", "").lower() in ("true", "1")
        return {
            "endpoint_url": os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None,
            "client_kwargs": {"verify": False} if insecure else {},
            "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}},
            "use_listings_cache": False,
        }
    if parts.scheme in ("wasbs", "abfss"):
        # Of wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH; MLflow's name for the key is not Azure's.
        account = parts.netloc.rpartition("@")[2].partition(".")[0]
        connection = os.environ.get("AZURE_STORAGE_CONNECTION_STRING") or None
        key = os.environ.get("AZURE_STORAGE_ACCESS_KEY") or None
        return {"account_name": account, "account_key": key, "connection_string": connection, "anon": False}
    return {}


def for_fsspec(address: str) -> str:
    """Returns the address with a container alone before the path, where Azure's has the account as well."""
    parts = urlsplit(address)
    if parts.scheme in ("wasbs", "abfss"):
        return f"abfss://{parts.netloc.partition('@')[0]}{parts.path}"
    return address


def reason_of(scheme: str, error: Exception) -> str:
    """Returns why a file of such an address could not be had, for a person."""
    if isinstance(error, SourceError):
        return str(error).rstrip(".")
    if isinstance(error, PermissionError) or type(error).__name__ in _REFUSALS:
        return f"'{scheme}:' refuses access; set the credentials that MLflow would use"
    return f"'{scheme}:' does not answer as it should, {type(error).__name__}"
