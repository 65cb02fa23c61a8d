"""The handbook on loopback, for `hpkb browse`."""

from __future__ import annotations

import contextlib
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hpkb.pages.writer import HandbookError

HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class _Handler(SimpleHTTPRequestHandler):
    """Files only: no listing of a folder, no hidden file, nothing for a page that came in under another host's name."""

    extensions_map = {  # noqa: RUF012  (the attribute that the base class has)
        ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json",
        ".md": "text/markdown; charset=utf-8", ".txt": "text/plain; charset=utf-8",
        ".yaml": "application/yaml; charset=utf-8", "": "application/octet-stream",
    }  # fmt: skip
    _tag = ""

    def send_head(self) -> Any:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        hidden = any(part.startswith(".") for part in unquote(self.path.split("?")[0]).split("/"))
        if host not in _NAMES or hidden:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        self._tag = _entity_tag(Path(self.translate_path(self.path)))
        known = (self.headers.get("If-None-Match") or "").split(",")
        if self._tag and any(tag.strip().removeprefix("W/") in (self._tag, "*") for tag in known):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.end_headers()
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # asks each time, is answered 304 where nothing changed
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "frame-ancestors 'none'")  # the one that a page cannot set itself
        if self._tag:
            self.send_header("ETag", self._tag)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a request is no news."""


def _entity_tag(path: Path) -> str:
    """What a version of a file is told by, empty where there is none; whole seconds would miss a quick rewrite."""
    path = path / "index.html" if path.is_dir() else path
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


def server(directory: Path, port: int) -> ThreadingHTTPServer:
    """Returns a server of the folder on loopback, bound and ready; port 0 takes a free one.

    Raises HandbookError where there is no handbook or the port is taken.
    """
    if not (directory / "index.html").is_file():
        raise HandbookError(f"No handbook in {directory}. Try: hpkb analyze --handbook {directory}")
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(directory)))
    except OSError as error:
        raise HandbookError(
            f"Port {port} on {HOST} cannot be used ({error.strerror}). Try: --port 0"
        ) from error


def serve(directory: Path, port: int, open_browser: bool) -> None:
    """Serves the handbook on 127.0.0.1 until it is interrupted; prints where it is."""
    with server(Path(directory), port) as running:
        address = f"http://{HOST}:{running.server_address[1]}/index.html"
        print(f"{address}  (Ctrl-C stops it)", flush=True)
        if open_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):
            running.serve_forever()
