"""The handbook on loopback, for `hpkb browse`."""

from __future__ import annotations

import contextlib
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hpkb.pages.writer import HandbookError

HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost", "[::1]")


class _Handler(SimpleHTTPRequestHandler):
    """Files only: no listing of a folder, no hidden file, nothing for a page that came in under another host's name."""

    extensions_map = {  # noqa: RUF012  (the attribute that the base class has)
        ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json",
        ".md": "text/markdown; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".yaml": "application/yaml",
        "": "application/octet-stream",
    }  # fmt: skip

    def send_head(self) -> Any:
        host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
        hidden = any(part.startswith(".") for part in self.path.split("?")[0].split("/"))
        if host not in _NAMES or hidden:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        self.send_error(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")  # asks each time, is answered 304 where nothing changed
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a request is no news."""


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
