"""`python -m hpkb` is the command `hpkb`."""

from hpkb.cli import main

main()
