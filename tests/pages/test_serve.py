"""The server of `hpkb browse`."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpkb.pages import HandbookError
from hpkb.pages.serve import server


@pytest.fixture
def port(handbook: Path) -> Iterator[int]:
    with server(handbook, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


def get(port: int, path: str, host: str = "127.0.0.1", tag: str = "") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Host": f"{host}:{port}", "If-None-Match": tag})
    return connection.getresponse()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/style.css", "text/css"),
        ("/handbook.js", "text/javascript"),
        ("/search.js", "text/javascript"),
        ("/runs/digits_cnn.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_files_come_with_their_type(port: int, path: str, kind: str) -> None:
    answer = get(port, path)
    assert answer.status == 200
    assert (answer.getheader("Content-Type") or "").startswith(kind)


@pytest.mark.parametrize(
    "path",
    [
        "/tasks/", "/.hpkb-handbook.json", "/%2ehpkb-handbook.json", "/../../etc/passwd", "/none.html",
        "/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_nothing_else_comes(port: int, path: str) -> None:
    assert get(port, path).status == 404


def test_an_unchanged_file_is_not_sent_again_and_a_changed_one_is(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("first")
    with server(tmp_path, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        port = running.server_address[1]
        tag = get(port, "/index.html").getheader("ETag") or ""
        again = get(port, "/index.html", tag=tag)
        assert (again.status, again.read(), again.getheader("ETag")) == (304, b"", tag)
        assert get(port, "/", tag=f'"other", W/{tag}').status == 304
        page.write_text("other")  # as long, and within the same second
        assert get(port, "/index.html", tag=tag).read() == b"other"
        running.shutdown()


def test_another_hosts_name_gets_nothing(port: int) -> None:
    assert get(port, "/index.html", host="evil.example").status == 404


def test_a_missing_handbook_and_a_taken_port_are_one_clear_sentence(
    handbook: Path, port: int, tmp_path: Path
) -> None:
    with pytest.raises(HandbookError, match="hpkb analyze"):
        server(tmp_path, 0)
    with pytest.raises(HandbookError, match="--port"):
        server(handbook, port)
