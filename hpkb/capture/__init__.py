"""What a training process is seen doing, without an edit of its script: standard library only, Python 3.9 and later.

`inject/sitecustomize.py` starts it in a child of `hpkb log`, `session.start` inside a script or a notebook. Hooks on
argparse, torch, the random number generators and the output put what they see into the process's spool file
(`spool.py`). Nothing here blocks the job, raises into it, or changes its exit status and its random numbers.

Modules here import names from each other, `from .session import current`, never each other, `from . import session`:
the second makes Python import `hpkb`, which the environment of the training need not have.
"""
