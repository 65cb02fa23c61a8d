"""Tracking URIs: which one is meant, what of it may be written down, and what it needs to be used again."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

DEFAULT_URI = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT = "Default"

_SQLITE = "sqlite:///"
_USERINFO = re.compile(r"(?<=://)[^/@\s]*@")


def tracking_uri(given: str | None = None) -> str:
    """The tracking URI that is meant: the one given, else `MLFLOW_TRACKING_URI`, else `sqlite:///mlflow.db`."""
    return absolute(as_meant(given))


def as_meant(given: str | None = None) -> str:
    """The same as its user wrote it: a file's path is not made absolute."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def experiment(given: str | None = None) -> str:
    """The experiment that is meant: the one given, else `MLFLOW_EXPERIMENT_NAME`, else `Default`."""
    return given or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT


def absolute(uri: str) -> str:
    """The same store named so that it is found from another working directory; only SQLite files and folders change."""
    file = sqlite_file(uri)
    if file:
        rest = uri.partition("?")
        return f"{_SQLITE}{file.absolute()}{rest[1]}{rest[2]}"
    if uri and "://" not in uri and not uri.startswith(("file:", "databricks", "uc:")):
        return str(Path(uri).absolute())
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite tracking URI, or None for any other store (an in-memory one as well)."""
    path = uri.partition("?")[0].removeprefix(_SQLITE)
    return Path(path) if uri.startswith(_SQLITE) and path not in ("", ":memory:") else None


def is_server(uri: str) -> bool:
    """Whether the store is asked over HTTP."""
    return uri.startswith(("http://", "https://", "databricks"))


def without_password(uri: str) -> str:
    """The URI without the password in it: what may be written to a file, a log or a message."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    user, _, _ = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def without_credentials(text: str) -> str:
    """The text with the `user:password@` of every URL in it taken out."""
    return _USERINFO.sub("", text)


def usable(stored: str) -> str:
    """The stored URI with the password that `MLFLOW_TRACKING_URI` has for the same store, where it has one."""
    current = os.environ.get("MLFLOW_TRACKING_URI", "")
    return current if current and without_password(absolute(current)) == stored else stored
