"""`python -m hpkb.ship SPOOL FOLDER`: the service of a store, whose address is in MLFLOW_TRACKING_URI."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hpkb.ship.serving import serve


def main() -> None:
    """Serves until there has been no run for a while."""
    os.nice(5)  # the jobs come first
    serve(os.environ["MLFLOW_TRACKING_URI"], Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
