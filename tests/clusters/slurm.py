"""The commands of Slurm that the batch scripts call, as processes of this machine: a stand-in where there is no Slurm.

`srun` starts one process for each node and sets the variables by which Slurm tells them apart; it passes SIGTERM on, as
Slurm's does. All nodes are this machine, and so share its disk.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.clusters.machine import ROOT, Machine

_SRUN = """
import os, signal, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    command.pop(0)
n = int(os.environ.get("SLURM_NNODES", "1"))
tasks = []
signal.signal(signal.SIGTERM, lambda number, frame: [task.send_signal(number) for task in tasks])
for i in range(n):
    own = {"SLURM_NODEID": str(i), "SLURM_PROCID": str(i), "SLURM_LOCALID": "0", "SLURM_NTASKS": str(n)}
    tasks.append(subprocess.Popen(command, env=os.environ | own))
sys.exit(max(abs(task.wait()) for task in tasks))
"""

_SCONTROL = """
import os, sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print(*(["127.0.0.1"] * int(os.environ["SLURM_NNODES"])), sep=chr(10))
else:
    with open(os.environ["SCONTROL_LOG"], "a") as log:
        print(*sys.argv[1:], file=log)
"""


class Slurm:
    """A cluster: its shared disk is `scratch`, and `log` has what was asked of `scontrol`."""

    def __init__(self, folder: Path, tracking_uri: str) -> None:
        self.scratch, self.log, self._folder = folder / "scratch", folder / "scontrol.log", folder
        self._machine = Machine(folder, tracking_uri, SCRATCH=str(self.scratch), SCONTROL_LOG=str(self.log))
        self._machine.add("srun", "-c", _SRUN)
        self._machine.add("scontrol", "-c", _SCONTROL)

    def submit(self, script: str, *arguments: str, node: str = "node-a", **own: str) -> subprocess.Popen[str]:
        """Starts a batch script of the examples as job 4711, on a node with a disk of its own."""
        disk = self._folder / node
        disk.mkdir(exist_ok=True)
        told = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "node-[1-2]",
                "TMPDIR": str(disk), **own}  # fmt: skip
        return self._machine.start(["bash", str(ROOT / "examples" / "clusters" / script), *arguments], **told)

    def hpkb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`hpkb ARGUMENTS` on another machine, one that sees the shared disk."""
        return self._machine.run(["hpkb", *arguments])

    def kill_everything(self) -> None:
        """Ends every process that a job has left, as Slurm does."""
        self._machine.kill_everything()
