"""`python -m hpkb.ship RUN_DIR`: ships one run from beside its job, and outlives whoever started it."""

from __future__ import annotations

import os
import sys
import time

from hpkb.ship.address import usable
from hpkb.ship.courier import Courier
from hpkb.ship.liveness import job_alive
from hpkb.ship.rundir import RunDir

POLL = 0.5  # seconds between two looks at the spool
LOCK_PATIENCE = 60.0  # seconds; a `hpkb sync` that passes by lets go of a running job soon
PATIENCE = 600.0  # seconds that a finished job waits for its store; after that, `hpkb sync`


def main() -> int:
    """The exit status: 0 when the run is in the store or another process ships it, 1 when it is left to `hpkb sync`."""
    run = RunDir.open(sys.argv[1])
    os.nice(5)  # the job comes first
    with run.lock(LOCK_PATIENCE) as held:
        if not held:
            return 0
        courier = Courier(run, usable(run.settings.tracking_uri))
        while not run.ended() and job_alive(run):
            courier.ship()
            time.sleep(POLL)
        return 0 if courier.finish(PATIENCE) else 1


if __name__ == "__main__":
    sys.exit(main())
