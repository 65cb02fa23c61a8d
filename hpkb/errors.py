"""The errors that hpkb raises on purpose: one short sentence each (what, where, what next).

`cli.main` turns each into one line on standard error and its exit status. Capture raises none of them.
"""


class HpkbError(Exception):
    """An error whose message is written for the person who reads it."""

    exit_status = 1


class UsageError(HpkbError):
    """The call itself is wrong: an unknown name, two options that exclude each other."""

    exit_status = 2


class SourceError(HpkbError):
    """A store of runs is not there, cannot be read, or holds nothing that was asked for."""


class KnowledgeBaseError(HpkbError):
    """The knowledge base is not there, is in use, or was written by another version."""


class TrackingError(HpkbError):
    """The MLflow store did not take what was sent; the records are still in the spool."""


class StoreInTroubleError(TrackingError):
    """The store does not answer at all, or says that it is in trouble or asked too much: so it is for every run."""
