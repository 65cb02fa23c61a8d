"""Samples the GPUs beside the job: what they draw, how busy they are, and the energy of the whole run."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType

from hpkb.capture.nvml import Sampler
from hpkb.ship.rundir import RunDir

PERIOD = 5.0  # seconds between two samples
_PATIENCE = 2.0  # seconds that the end of the job waits for the last one


class Meter(threading.Thread):
    """A context, of one job's length, in which the GPUs are sampled; without any it does nothing.

    The step of a sample is the number of seconds since the job began: which optimizer step that was, only the job
    knows, and the time beside it tells.
    """

    def __init__(self, run: RunDir, period: float = PERIOD) -> None:
        super().__init__(name="hpkb-gauge", daemon=True)
        self._run_dir = run
        self._period = period
        self._ended = threading.Event()

    def __enter__(self) -> Meter:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join(_PATIENCE)

    def run(self) -> None:
        """Samples until the job has ended, then records the energy. A disk that is full costs the samples."""
        try:
            sampler = Sampler(os.environ)
        except OSError:
            return
        began = time.monotonic()
        try:
            while True:
                if values := sampler.sample():
                    self._run_dir.points(round(time.monotonic() - began), values)
                if self._ended.wait(self._period):
                    break
            if totals := sampler.totals():
                self._run_dir.record({"type": "tags", "values": totals})
        except (OSError, ValueError):  # ValueError: a step that no file can hold, or a closed file
            return
