"""Every kind of server that MLflow has, and its credentials, which are nowhere afterwards."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import NewPlace, free_port
from tests.faults.place import Place, processes, wait_for
from tests.faults.proxy import Proxy, authority
from tests.faults.servers import Server
from tests.faults.truth import Truth
from tests.postgres import Database

PASSWORD = "correct-horse-battery"
BASIC = "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
STEPS = 200


class Lookout(threading.Thread):
    """Watches the command lines of all processes for a secret, as long as the context lasts."""

    def __init__(self, secret: str) -> None:
        super().__init__(daemon=True)
        self.seen: list[list[str]] = []
        self._secret, self._over = secret, threading.Event()

    def __enter__(self) -> Lookout:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.seen += [command for _, command in processes() if self._secret in "\0".join(command)]


def files_with(folder: Path, secret: str) -> list[str]:
    """The files below the folder that hold the secret, as it is or as HTTP has it."""
    needles = (secret.encode(), BASIC.removeprefix("Basic ").encode())
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [str(file) for file in files if any(needle in file.read_bytes() for needle in needles)]


def log_once(place: Place, name: str = "job", steps: int = STEPS) -> str:
    """Logs a short job; returns what `hpkb log` said."""
    supervisor, _ = place.count(name, 0.0005, steps)
    out, errors = supervisor.communicate(timeout=90)
    assert (supervisor.returncode, out) == (0, "")
    return errors


def holds_all(uri: str, steps: int = STEPS) -> None:
    """The store's only run is whole."""
    [run] = Truth(uri).runs().values()
    assert sorted(run.points) == [(step, step / 2) for step in range(1, steps + 1)]
    assert run.status == "FINISHED"


def test_a_server_in_front_of_postgresql(
    new_place: NewPlace, new_server: Callable[[str], Server], database: Database
) -> None:
    uri = database.create("behind-a-server")
    place = new_place(uri=new_server(uri).address)
    assert log_once(place) == ""
    holds_all(uri)


def test_credentials_and_a_private_authority(
    new_place: NewPlace, new_server: Callable[[str], Server], new_store: Callable[[str], str], tmp_path: Path
) -> None:
    """Basic authentication, a token, and a password in the address; the last over TLS with a private authority."""
    uri = new_store("behind-a-server")
    server = new_server(uri)
    trusted, chain = authority(tmp_path)
    ways = {
        "basic": ({"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": PASSWORD}, BASIC, False),
        "token": ({"MLFLOW_TRACKING_TOKEN": PASSWORD}, f"Bearer {PASSWORD}", True),
        "in the address": ({}, BASIC, True),
    }
    for name, (environment, wanted, encrypted) in ways.items():
        with Proxy(free_port(), server.port, demand=lambda given, wanted=wanted: given == wanted) as proxy:  # type: ignore[misc]
            if encrypted:
                proxy.close()
                proxy.certificate = chain
                proxy.open()
                environment |= {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(trusted)}
            address = proxy.address
            if name == "in the address":
                address = address.replace("//", f"//ada:{PASSWORD}@")
            place = new_place(name.replace(" ", "-"), address, **environment)
            with Lookout(PASSWORD) as lookout:
                said = log_once(place, name)
            assert said == "", name
            assert (lookout.seen, files_with(place.folder, PASSWORD)) == ([], []), name
    runs = Truth(uri).runs()
    assert {name: len(run.points) for name, run in runs.items()} == dict.fromkeys(ways, STEPS)


@pytest.mark.parametrize("trouble", ["password", "authority", "away"])
def test_what_is_wrong_is_said_and_the_secret_is_not(
    new_place: NewPlace, new_server: Callable[[str], Server], new_store: Callable[[str], str],
    tmp_path: Path, trouble: str,
) -> None:  # fmt: skip
    """A wrong password, an authority that nobody has told of, no server: spooled, and delivered once it is right."""
    uri = new_store("behind-a-server")
    server = new_server(uri)
    trusted, chain = authority(tmp_path)
    with Proxy(free_port(), server.port, demand=lambda given: given == BASIC) as proxy:
        proxy.close()
        proxy.certificate = chain
        if trouble != "away":
            proxy.open()
        right = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(trusted), "MLFLOW_TRACKING_PASSWORD": PASSWORD}
        at_first = {
            "password": right | {"MLFLOW_TRACKING_PASSWORD": f"{PASSWORD}-of-yesterday"},
            "authority": {"MLFLOW_TRACKING_PASSWORD": PASSWORD},
            "away": right,
        }[trouble]
        place = new_place("here", proxy.address, MLFLOW_TRACKING_USERNAME="ada", **at_first)
        with Lookout(PASSWORD) as lookout:
            said = log_once(place)
            print(said)
            assert "still spooled" in said
            assert place.left()
            assert PASSWORD not in said
            assert files_with(place.folder, PASSWORD) == []
            if proxy.closed:
                proxy.open()
            done = place.sync(**right)
            assert done.returncode == 0, done.stderr
            wait_for(lambda: not place.left(), 45)
        assert lookout.seen == []
    holds_all(uri)
