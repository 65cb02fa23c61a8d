"""Runs functions of a script one after the other, in a session of capture each."""

import sys
from pathlib import Path

from hpkb.capture import session


def run_each(functions, before=lambda: None):
    """Runs the functions that the arguments name, after `before`; the first argument is the sessions' folder or `-`."""
    folder, *names = sys.argv[1:]
    for name in names:
        before()
        if folder != "-":
            place = Path(folder, name)
            place.mkdir()
            session.start(str(place))
        print(f"--- {name}")
        functions[name]()
        session.stop()
