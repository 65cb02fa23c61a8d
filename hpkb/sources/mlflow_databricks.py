"""An MLflow store on Databricks, read with the requests of `mlflow_http`, which MLflow's own client sends.

How one proves to Databricks who one is (a profile, a token, OAuth, what a notebook has) is the client's business and
changes with it. So the addresses `databricks` and `databricks://PROFILE` are resolved, and every request is signed,
sent and tried again, by MLflow. Where Databricks has no endpoint for many runs at once, they are asked for one by one.
"""

from __future__ import annotations

import configparser
import importlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from hpkb.errors import SourceError
from hpkb.sources.mlflow_http import MlflowHttp
from hpkb.sources.rest import RestError

_RETRIES = 6  # of MLflow's, which doubles its pause from two seconds on
_CONNECT = 10.0  # s
_CREDENTIALS = (
    "Set DATABRICKS_HOST and DATABRICKS_TOKEN, or write a profile: databricks configure --profile NAME"
)


class MlflowDatabricks(MlflowHttp):
    """The runs of a Databricks workspace; raises SourceError where it cannot be had."""

    kind = "mlflow_databricks"

    def __init__(self, uri: str, threads: int = 8) -> None:
        super().__init__(uri, threads, ClientServer(uri))


class ClientServer:
    """The server of a Databricks URI, spoken to by MLflow's client; in form a `RestServer`."""

    def __init__(self, uri: str) -> None:
        self._credentials = _credentials(uri)
        #: The workspace's address; a profile may mean another one tomorrow.
        self.address = str(self._credentials.host).rstrip("/")

    def get(self, path: str, parameters: Any, retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a GET."""
        return _content(self._ask("GET", path, retries, params=_by_name(parameters)), self.address)

    def post(self, path: str, body: Mapping[str, Any], retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a POST, one that changes nothing on the server."""
        return _content(self._ask("POST", path, retries, json=dict(body)), self.address)

    def download(self, path: str, file: Path) -> None:
        """Writes the content at a path to a file."""
        response = self._ask("GET", path, None, stream=True)
        with response, file.open("wb") as target:
            for piece in response.iter_content(1 << 20):
                target.write(piece)

    def close(self) -> None:
        """Has nothing to let go of: the connections are the client's."""

    def _ask(self, method: str, path: str, retries: int | None, **content: Any) -> requests.Response:
        from mlflow.exceptions import MlflowException

        client: Any = importlib.import_module("mlflow.utils.rest_utils")
        tries = _RETRIES if retries is None else retries
        try:
            response: requests.Response = client.http_request(
                self._credentials, f"/{path}", method, max_retries=tries, raise_on_status=False, **content
            )
        except (MlflowException, requests.RequestException, OSError, ValueError) as error:
            raise SourceError(f"Cannot read '{self.address}': {_reason(error)}.") from None
        if response.status_code != 200:
            raise _refusal(response, self.address)
        return response


def _credentials(uri: str) -> Any:
    """What MLflow's client needs to speak to the workspace."""
    try:
        client: Any = importlib.import_module("mlflow.utils.databricks_utils")
    except ImportError:
        raise SourceError(f"'{uri}' is read through MLflow's client: pip install mlflow-skinny") from None
    _check_answers(uri)
    # They would print a page of what was tried; what there is to do stands in the error.
    for name in ("mlflow.utils.databricks_utils", "databricks.sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        found = client.get_databricks_host_creds(uri)
    except Exception:  # every way to prove who one is has errors of its own
        raise SourceError(f"No credentials for '{uri}'. {_CREDENTIALS}") from None
    if not found.host:
        raise SourceError(f"No workspace for '{uri}'. {_CREDENTIALS}")
    return found


def _check_answers(uri: str) -> None:
    """Raises SourceError where nothing answers at the host that is configured: the SDK would try for ten minutes."""
    host = _configured_host(uri)
    if not host:
        return  # the SDK has other ways to find one
    address = host if "://" in host else f"https://{host}"
    try:
        requests.get(address, timeout=_CONNECT, allow_redirects=False, stream=True).close()
    except (requests.RequestException, ValueError) as error:
        what = f"nothing answers there ({type(error).__name__})"
        raise SourceError(f"Cannot read '{address}', the host of '{uri}': {what}.") from None


def _configured_host(uri: str) -> str:
    """The host in the environment or, of a profile, in the configuration file; empty where neither has one."""
    profile = uri.partition("://")[2] or os.environ.get("DATABRICKS_CONFIG_PROFILE", "")
    if not profile and (host := os.environ.get("DATABRICKS_HOST")):
        return host
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(Path(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg")).expanduser(), "utf-8")
    except (configparser.Error, ValueError):
        return ""  # the client says what is wrong with it
    return file.get(profile or "DEFAULT", "host", fallback="")


def _by_name(parameters: Any) -> dict[str, Any]:
    """Parameters as Databricks' SDK takes them: one that comes several times is a list."""
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    grouped: dict[str, list[Any]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in grouped.items()}


def _content(response: requests.Response, address: str) -> dict[str, Any]:
    try:
        content = json.loads(response.content)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RestError(f"'{address}' answers, but not as an MLflow server does.", 200)
    return content


def _refusal(response: requests.Response, address: str) -> RestError:
    try:
        code = str(json.loads(response.content).get("error_code") or "")
    except (ValueError, AttributeError):
        code = ""
    status = response.status_code
    what = f"the workspace refuses access. {_CREDENTIALS}" if status in (401, 403) else "look into its log."
    return RestError(
        f"Cannot read '{address}': HTTP {status}{' ' + code if code else ''}; {what}", status, code
    )


def _reason(error: Exception) -> str:
    """What MLflow's client says, on one line and not in full: it repeats the whole request."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if len(text) < 200 else f"{text[:200]}…"
