"""A real Ray cluster on this machine: a head and other nodes, each with a core to itself, that can be killed."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.postgres import free_port


class RayCluster:
    """A cluster of three nodes, for as long as the context lasts; `address` is that of its client server."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._patch = pytest.MonkeyPatch()  # a node's processes have the environment that it was started in
        self._patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        port = free_port()
        head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.others = [self._cluster.add_node(num_cpus=1) for _ in range(2)]
        self._cluster.wait_for_nodes()
        self.address = f"ray://127.0.0.1:{port}"

    def whole(self) -> RayCluster:
        """Returns it with a node in the place of each that was killed; two clusters are too much for one machine."""
        while len(self.others) < 2:
            self.others.append(self._cluster.add_node(num_cpus=1))
        self._cluster.wait_for_nodes()
        return self

    def kill_one(self) -> None:
        """Kills a node that is not the head, with the processes on it."""
        self._cluster.remove_node(self.others.pop(), allow_graceful=False)

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()
        self._patch.undo()
