"""JSON from an MLflow server over HTTP, by several threads at once; what passes by itself is tried again.

Credentials and TLS settings are those of MLflow's own environment variables, or stand in the URI; they are in no
name, no error and no log.
"""

from __future__ import annotations

import base64
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from hpkb.errors import SourceError

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_PATIENCE = 120.0  # seconds after which no request is tried again
_LONGEST_PAUSE = 20.0  # seconds; also where a server asks for more with Retry-After
_REFUSED = "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
_AUTHENTICATION = "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"


class RestError(SourceError):
    """An answer other than 200; `status` is its number, `code` is MLflow's `error_code` or empty."""

    def __init__(self, message: str, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class JsonServer(Protocol):
    """What answers requests with JSON, and gives out files; `address` is without credentials."""

    address: str

    def get(self, path: str, parameters: Any, retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a GET; raises RestError for a refusal, SourceError where none comes."""

    def post(self, path: str, body: Mapping[str, Any], retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a POST."""

    def download(self, path: str, file: Path) -> None:
        """Writes the content at a path to a file."""

    def close(self) -> None:
        """Lets go of the connections."""


class RestServer:
    """A server at an `http://` or `https://` address, `threads` connections to it at most."""

    def __init__(self, uri: str, threads: int) -> None:
        try:
            parts = urlsplit(uri)
            host = parts.netloc.rpartition("@")[2] if parts.hostname and parts.port != 0 else ""
        except ValueError:
            host = ""
        if not host:
            raise SourceError("The address names no server. Write http://HOST:PORT")
        #: The address without credentials.
        self.address = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        if used := [
            name for name in _AUTHENTICATION if os.environ.get(name, "").lower() not in ("", "0", "false")
        ]:
            raise SourceError(f"Cannot read '{self.address}': hpkb does not support {used[0]}. {_REFUSED}")
        self._authorization = _authorization(parts.username, parts.password)
        self._verify = _verify()
        self._timeout = float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or 60)
        self._retries = int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") or 6)
        self._backoff = 0.5  # seconds before the first of them; twice as long before each further one
        self._stop = threading.Event()
        self._session = requests.Session()
        self._session.auth = self._authorize  # even without credentials, or a .netrc would be asked for them
        self._session.cert = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=threads))

    def get(self, path: str, parameters: Any, retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a GET."""
        return self._call("GET", path, retries, params=parameters)

    def post(self, path: str, body: Mapping[str, Any], retries: int | None = None) -> dict[str, Any]:
        """Returns the answer to a POST, one that changes nothing on the server."""
        return self._call("POST", path, retries, json=body)

    def download(self, path: str, file: Path) -> None:
        """Writes the content at a path to a file."""

        def save(response: requests.Response) -> dict[str, Any]:
            if response.status_code != 200:
                raise self._refusal(response)
            with file.open("wb") as target:
                for piece in response.iter_content(1 << 20):
                    target.write(piece)
            return {}

        self._call("GET", path, None, save, stream=True)

    def close(self) -> None:
        """Lets go of the connections; a thread that waits to try again gives up."""
        self._stop.set()
        self._session.close()

    def _call(
        self,
        method: str,
        path: str,
        retries: int | None,
        take: Callable[[requests.Response], dict[str, Any]] | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """Raises SourceError where the last try fails too, RestError where the server would not do it."""
        retries = self._retries if retries is None else min(retries, self._retries)
        deadline = time.monotonic() + _PATIENCE
        for attempt in range(retries + 1):
            asked: float | None = None
            try:
                # `verify` is given with each request: a session's own is overruled by REQUESTS_CA_BUNDLE.
                response = self._session.request(
                    method, f"{self.address}/{path}", verify=self._verify, timeout=self._timeout,
                    allow_redirects=False, **content,
                )  # fmt: skip
                if response.status_code not in _PASSING:
                    return (take or self._content)(response)
                error: SourceError = self._refusal(response)
                asked = _retry_after(response)
            except (
                requests.exceptions.SSLError,
                requests.exceptions.InvalidURL,
                ValueError,
                OSError,
            ) as trouble:
                error = SourceError(f"Cannot read '{self.address}': {_reason(trouble)}")
                if not _passes(trouble):
                    raise error from None
            pause = self._backoff * 2**attempt * random.uniform(0.5, 1.5)
            over = attempt == retries or time.monotonic() > deadline
            if over or self._stop.wait(min(max(pause, asked or 0), _LONGEST_PAUSE)):
                break
        raise error from None

    def _content(self, response: requests.Response) -> dict[str, Any]:
        if response.status_code != 200:
            raise self._refusal(response)
        try:
            content = json.loads(response.content)  # not response.json(), which guesses the encoding first
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise RestError(f"'{self.address}' answers, but not as an MLflow server does.", 200)
        return content

    def _refusal(self, response: requests.Response) -> RestError:
        status = response.status_code
        code = _error_code(response)
        if status in (401, 403):
            what = f"the server refuses access (HTTP {status}). {_REFUSED}"
        elif 300 <= status < 400:
            what = f"the server sends on to another address (HTTP {status}). Give that one."
        elif status == 429:
            what = "the server has too many requests to answer (HTTP 429). Try again later."
        else:
            what = f"HTTP {status}{' ' + code if code else ''}. Look into the server's log."
        return RestError(f"Cannot read '{self.address}': {what}", status, code)

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        return request


def _authorization(user: str | None, password: str | None) -> str:
    """The header's value, with MLflow's precedence: name and password of the environment, token, those of the URI."""
    given = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if not all(given):
        if token:
            return f"Bearer {token}"
        if user is None:
            return ""
        given = unquote(user), unquote(password or "")
    return "Basic " + base64.b64encode(":".join(map(str, given)).encode()).decode()


def _verify() -> bool | str:
    """What `requests` takes as `verify`."""
    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    certificate = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    if insecure and certificate:
        raise SourceError(
            "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other. Unset one of them."
        )
    if insecure:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return False
    if certificate and not Path(certificate).exists():
        raise SourceError(f"No certificate at '{certificate}', which MLFLOW_TRACKING_SERVER_CERT_PATH names.")
    return certificate or os.environ.get("REQUESTS_CA_BUNDLE") or True


def _passes(trouble: Exception) -> bool:
    """Whether trouble with a connection may pass by itself."""
    lasting = requests.exceptions.SSLError, requests.exceptions.InvalidURL
    return isinstance(trouble, requests.RequestException) and not isinstance(trouble, lasting)


def _reason(trouble: Exception) -> str:
    """What is wrong, in a sentence; the library's own would show the whole request."""
    if isinstance(trouble, requests.exceptions.SSLError):
        return "its certificate does not hold; name it with MLFLOW_TRACKING_SERVER_CERT_PATH."
    if isinstance(trouble, requests.exceptions.ProxyError):
        return "the proxy of HTTP_PROXY or HTTPS_PROXY does not answer."
    if isinstance(trouble, requests.exceptions.ConnectTimeout | requests.exceptions.ReadTimeout):
        return "it does not answer in time (MLFLOW_HTTP_REQUEST_TIMEOUT)."
    if isinstance(trouble, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "the connection fails; is the server running?"
    return f"the request cannot be sent ({type(trouble).__name__})."


def _error_code(response: requests.Response) -> str:
    try:
        return str(json.loads(response.content).get("error_code", ""))
    except (ValueError, AttributeError):
        return ""


def _retry_after(response: requests.Response) -> float | None:
    """The seconds for which the server asks; a date instead of a number counts as nothing."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
