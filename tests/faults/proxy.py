"""An HTTP proxy in front of a real server that makes the trouble it is told to, asks for credentials, or speaks TLS."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

Demand = Callable[[str | None], bool]  # whether a request with this Authorization header may pass

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


class Proxy:
    """A context. `mode` says what happens to each request:

    - "pass": it is passed on
    - "hang": it is never answered, as long as the mode stays
    - "slow": it is passed on after a second
    - "429", "500", any number: it is answered with that status and goes nowhere
    - "deaf": it is passed on and takes effect, but of the same request every second answer, the first too, is lost
    """

    def __init__(self, port: int, target: int, mode: str = "pass", demand: Demand | None = None) -> None:
        self.port, self.target, self.mode, self.demand = port, target, mode, demand
        self.requests: Counter[str] = Counter()  # by mode
        self.arrivals: list[tuple[float, str]] = []  # of each request: when, by the monotonic clock, and what it asks
        self._answered: Counter[tuple[str, str, bytes]] = Counter()
        self._counting = threading.Lock()
        self.certificate: Path | None = None
        self._listening: ThreadingHTTPServer | None = None

    def loses(self, request: tuple[str, str, bytes]) -> bool:
        """Whether the answer to this request is lost; one of several at once has no worse luck than the others."""
        with self._counting:
            self._answered[request] += 1
            return self._answered[request] % 2 == 1

    @property
    def address(self) -> str:
        """What a client calls it."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Proxy:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mode = "pass"  # who hangs may go
        self.close()

    def open(self) -> None:
        """Listens; a closed proxy refuses connections."""
        self._listening = _Listening(("127.0.0.1", self.port), type("Handler", (_Handler,), {"proxy": self}))
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._listening.socket = context.wrap_socket(self._listening.socket, server_side=True)
        threading.Thread(target=self._listening.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stops listening, and answers nobody any more."""
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
            self._listening = None

    @property
    def closed(self) -> bool:
        """Whether connections are refused."""
        return self._listening is None


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy, mode = self.proxy, self.proxy.mode
        if proxy.closed:
            return self._drop()
        proxy.requests[mode] += 1
        proxy.arrivals.append((time.monotonic(), f"{self.command} {self.path.partition('?')[0]}"))
        if proxy.demand and not proxy.demand(self.headers.get("Authorization")):
            return self._answer(401, b'{"error_code": "UNAUTHENTICATED", "message": "Say who you are."}')
        if mode.isdigit():
            return self._answer(int(mode), b"trouble")
        if mode == "hang":
            while proxy.mode == "hang":
                time.sleep(0.05)
            return self._drop()
        if mode == "slow":
            time.sleep(1.0)
        status, answer, headers = self._pass_on(body)
        if mode == "deaf" and proxy.loses((self.command, self.path, body)):
            return self._drop()
        self._answer(status, answer, headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle

    def _pass_on(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        onward = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=60)
        own = {name: value for name, value in self.headers.items() if name.lower() not in _HOP | {"host"}}
        try:
            onward.request(self.command, self.path, body, own)
            answer = onward.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
            return answer.status, answer.read(), kept
        except OSError:
            return 502, b"the server is away", {}
        finally:
            onward.close()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def authority(folder: Path) -> tuple[Path, Path]:
    """A private certificate authority: (its certificate, a certificate and key for 127.0.0.1 that it has signed)."""
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1\n")
    key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    ca = ["-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem"]
    own = ["-subj", "/CN=127.0.0.1", "-keyout", "own.key", "-out", "own.csr"]
    signed = ["-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for command in (
        ["req", "-x509", *key, *ca, "-addext", "keyUsage=critical,keyCertSign,cRLSign"],
        ["req", "-new", *key[:3], *own],
        ["x509", "-req", *signed, "-extfile", "names", "-out", "own.pem"],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "own.pem").read_bytes() + (folder / "own.key").read_bytes())
    return folder / "ca.pem", chain
