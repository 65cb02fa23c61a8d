"""The commands of Slurm that the batch scripts call, as processes of this machine: a stand-in where there is no Slurm.

`srun` starts one process for each node and sets the variables by which Slurm tells them apart; it passes SIGTERM on, as
Slurm's does. All nodes are this machine, and so share its disk.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

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
    """A folder of commands, a shared disk, and the disks of nodes."""

    def __init__(self, folder: Path, tracking_uri: str, **environment: str) -> None:
        self.scratch, self.log = folder / "scratch", folder / "scontrol.log"
        self._folder, self._commands = folder, folder / "bin"
        for made in (self.scratch, self._commands):
            made.mkdir(parents=True)
        for name, code in {"srun": _SRUN, "scontrol": _SCONTROL}.items():
            self._command(name, ["-c", code])
        self._command("hpkb", ["-m", "hpkb"])
        self._command("python", [])
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "HPKB_", "SLURM_"))}
        self.environment = inherited | {
            "PATH": f"{self._commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SCRATCH": str(self.scratch),
            "SCONTROL_LOG": str(self.log), "MLFLOW_TRACKING_URI": tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true",
            "HPKB_LINGER": "1", "OMP_NUM_THREADS": "1", **environment,
        }  # fmt: skip

    def submit(self, script: str, *arguments: str, node: str = "node-a", **own: str) -> subprocess.Popen[str]:
        """Starts a batch script of the examples as job 4711, on a node with a disk of its own."""
        disk = self._folder / node
        disk.mkdir(exist_ok=True)
        told = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "node-[1-2]",
                "TMPDIR": str(disk), **own}  # fmt: skip
        return subprocess.Popen(
            ["bash", str(ROOT / "examples" / "clusters" / script), *arguments], cwd=ROOT, text=True,
            env=self.environment | told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def hpkb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`hpkb ARGUMENTS` on another machine, one that sees the shared disk."""
        command = [str(self._commands / "hpkb"), *arguments]
        own = {"HPKB_SPOOL": str(self._folder / "login" / "spool")}
        return subprocess.run(command, env=self.environment | own, capture_output=True, text=True, timeout=100)

    def _command(self, name: str, arguments: list[str]) -> None:
        file = self._commands / name
        file.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *arguments])} "$@"\n')
        file.chmod(0o755)
