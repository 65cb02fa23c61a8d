"""Jobs for `hpkb log` that bear witness: beside what they log, they write down what `log` had returned from."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Logs `step / 2` as train_loss. The witness's file begins with the pid; each step follows once `log` has returned.
COUNTING = """
import os, struct, sys, time
import hpkb
file, pause, steps = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
until = sys.argv[4] if len(sys.argv) > 4 else ""
witness = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pack, step = struct.Struct("<q").pack, 0
os.write(witness, pack(os.getpid()))
while step < steps and not (until and step % 10 == 0 and os.path.exists(until)):
    step += 1
    hpkb.log({"train_loss": step / 2}, step)
    os.write(witness, pack(step))
    if pause:
        time.sleep(pause)
"""

#: The same inside of `hpkb.run`, as the run that the last argument names: what a notebook does.
IN_NOTEBOOK = COUNTING.replace("import hpkb\n", "import hpkb\nhpkb.run(run_name=sys.argv[-1]).__enter__()\n")

#: COUNTING, which tells of the calls: how long they took, and which of the long ones waited for something. The first
#: call, which opens the spool, is told of by itself.
TIMED = """
import json, os, resource, sys, time
import hpkb
file, pause, steps = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
waits = lambda: resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
calls, waited, began = [], [], time.perf_counter()
for step in range(1, steps + 1):
    yielded, start = waits(), time.perf_counter()
    hpkb.log({"train_loss": step / 2}, step)
    calls.append(time.perf_counter() - start)
    if calls[-1] > 0.005 and waits() > yielded:
        waited.append(calls[-1])
    time.sleep(pause)
seconds, first = time.perf_counter() - began, calls.pop(0)
waited = waited[1:] if first in waited else waited
calls.sort()
told = {"seconds": seconds, "first": first, "longest": calls[-1], "p999": calls[int(0.999 * (len(calls) - 1))]}
with open(file, "w") as out:
    json.dump({**told, "waited": waited}, out)
"""

#: COUNTING, with two more metrics of each step, once the file `go` is there: the job is ready long before it trains.
#: Beside its witness it tells of the loop: its seconds, those of the processor, and the longest call of `log`.
TOGETHER = """
import json, os, struct, sys, time
import hpkb
file, go, pause, steps = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
witness = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pack, longest = struct.Struct("<q").pack, 0.0
os.write(witness, pack(os.getpid()))
while not os.path.exists(go):
    time.sleep(0.2)
processor, began = time.process_time(), time.perf_counter()
for step in range(1, steps + 1):
    asked = time.perf_counter()
    hpkb.log({"train_loss": step / 2, "learning_rate": 0.1, "grad_norm": 1 / step}, step)
    longest = max(longest, time.perf_counter() - asked)
    os.write(witness, pack(step))
    time.sleep(pause)
told = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor, "longest": longest}
with open(file + ".told", "w") as out:
    json.dump(told, out)
"""

_STEP = struct.Struct("<q")


class Witness:
    """What a COUNTING job has written down."""

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def pid(self) -> int | None:
        """The job's process, None before it has begun."""
        return next(self._numbers(), None)

    def acknowledged(self) -> set[int]:
        """The steps for which `log` has returned."""
        return set(list(self._numbers())[1:])

    def _numbers(self) -> Iterator[int]:
        data = self.file.read_bytes() if self.file.exists() else b""
        yield from (number for (number,) in _STEP.iter_unpack(data[: len(data) // _STEP.size * _STEP.size]))


@dataclass(frozen=True)
class Timing:
    """What a TIMED job tells of its calls of `log`, in seconds.

    `waited` are those of more than 5 ms in which the process gave up its processor by itself: on a busy machine a
    call may take long because another process had the processor, and that is nobody's fault.
    """

    seconds: float
    first: float
    longest: float
    p999: float
    waited: list[float]

    @classmethod
    def told(cls, file: Path) -> Timing:
        """What the job wrote at its end."""
        return cls(**json.loads(file.read_text()))

    def __str__(self) -> str:
        calls = {"the first": self.first, "p99.9": self.p999, "the longest later one": self.longest}
        told = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in calls.items())
        return f"loop {self.seconds:.2f} s; log(): {told}"
