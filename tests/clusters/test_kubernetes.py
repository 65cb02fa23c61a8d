"""The manifests of examples/clusters: what they say, and their containers' commands as processes of this machine."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clusters.machine import ROOT, Machine
from tests.faults.proxy import Proxy
from tests.faults.servers import Server
from tests.faults.truth import Truth
from tests.postgres import free_port

FOLDER = ROOT / "examples" / "clusters"
NewMachine = Callable[[str], Machine]


def objects(name: str) -> dict[str, Any]:
    """The objects of a manifest by their kinds."""
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / name).read_text())}


def pod(name: str) -> dict[str, Any]:
    """What the manifest's Job makes pods of."""
    return dict(objects(name)["Job"]["spec"]["template"]["spec"])


def command(container: dict[str, Any], places: dict[str, str]) -> list[str]:
    """The container's command, its paths and ports those of the test."""
    found = re.compile("|".join(map(re.escape, places)))
    return [found.sub(lambda there: places[there[0]], part) for part in container["command"]]


@pytest.mark.parametrize("name", ["job.yaml", "indexed-job.yaml"])
def test_it_is_valid(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed").validate
    for one in objects(name).values():
        validate(one, "1.29", strict=True)


@pytest.mark.parametrize("name", ["job.yaml", "indexed-job.yaml"])
def test_what_is_mounted_is_there_and_secrets_come_from_a_secret(name: str) -> None:
    spec = pod(name)
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert spec["terminationGracePeriodSeconds"] >= 120, "`hpkb log` may take a minute to ship what is left"
    for container in spec["containers"] + spec.get("initContainers", []):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        env = {one["name"]: one for one in container["env"]}
        assert env["HPKB_SPOOL"]["value"] in [mount["mountPath"] for mount in container["volumeMounts"]]
        for secret in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            assert "value" not in env[secret]
            assert env[secret]["valueFrom"]["secretKeyRef"]["name"] == "tracking"


def test_a_service_gives_the_first_pod_its_name() -> None:
    found = objects("indexed-job.yaml")
    name, env = found["Service"]["metadata"]["name"], pod("indexed-job.yaml")["containers"][0]["env"]
    assert found["Service"]["spec"]["selector"] == {"job-name": found["Job"]["metadata"]["name"]}
    assert pod("indexed-job.yaml")["subdomain"] == name
    [address] = [one["value"] for one in env if one["name"] == "MASTER_ADDR"]
    assert address == f"{found['Job']['metadata']['name']}-0.{name}"
    [nodes] = [one["value"] for one in env if one["name"] == "NODES"]
    assert int(nodes) == found["Job"]["spec"]["completions"] == found["Job"]["spec"]["parallelism"]


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty store."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def new_machine(tmp_path: Path) -> Iterator[NewMachine]:
    """Makes a machine, the pod's; what is left on it is ended after the test."""
    made: list[Machine] = []

    def make(uri: str) -> Machine:
        made.append(Machine(tmp_path / f"pod-{len(made)}", uri))
        return made[-1]

    yield make
    for machine in made:
        machine.kill_everything()


def test_the_pod_ships_and_its_sidecar_what_is_left(new_machine: NewMachine, store: str, tmp_path: Path) -> None:
    """MLflow is away when the training ends, and there again when the pod does."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    spec, spool, port = pod("job.yaml"), tmp_path / "spool", free_port()
    places = {"/spool": str(spool), "/checkpoints": str(tmp_path)}
    machine = new_machine(f"http://127.0.0.1:{port}")
    sidecar = machine.start(command(spec["initContainers"][0], places), HPKB_SPOOL=str(spool))
    training = [*command(spec["containers"][0], places), "--epochs", "2"]
    done = machine.run(training, HPKB_SPOOL=str(spool), POD_NAME="digits-abcde")
    assert done.returncode == 0, done.stderr
    assert "still spooled" in done.stderr
    machine_ends(spool)
    server = Server(store, tmp_path, free_port())
    server.start()
    try:
        with Proxy(port, server.port):
            sidecar.send_signal(signal.SIGTERM)
            out, errors = sidecar.communicate(timeout=100)
    finally:
        server.kill()
    assert (sidecar.returncode, out) == (0, "1 run shipped\n"), errors
    [run] = Truth(store).runs().values()
    assert (run.status, run.tags["hpkb.env.kubernetes.pod"]) == ("FINISHED", "digits-abcde")
    assert len(run.points) == 2 * 20


def machine_ends(spool: Path) -> None:
    """Ends the shipper that the training's container has started, as the end of the container does."""
    from tests.faults.place import has_in_environment, kill, processes

    kill(pid for pid, line in processes() if "hpkb.ship" in line and has_in_environment(pid, f"HPKB_SPOOL={spool}"))


def test_two_pods_are_one_run(new_machine: NewMachine, store: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    [container] = pod("indexed-job.yaml")["containers"]
    places = {"29500": str(free_port()), "/checkpoints": str(tmp_path), "train.py": "train.py --epochs 2"}
    own = {"NODES": "2", "PROCESSES": "1", "MASTER_ADDR": "127.0.0.1"}
    pods = [new_machine(store) for _ in range(2)]
    running = [
        machine.start(command(container, places), JOB_COMPLETION_INDEX=str(i), **own) for i, machine in enumerate(pods)
    ]
    said = [one.communicate(timeout=200) for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    [run] = Truth(store).runs().values()
    assert (run.status, len(run.points)) == ("FINISHED", 2 * 10)
    assert ("world_size", "2") in Truth(store).rows("SELECT key, value FROM params")
