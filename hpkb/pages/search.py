"""What the search of a handbook finds: its pages and its findings, as a script file.

A script, because a page from the file system may not fetch; a file of its own, because only who searches needs it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from hpkb.findings import VERDICTS
from hpkb.pages.formats import plain
from hpkb.pages.model import Handbook

_LONGEST = 300  # characters of a claim

#: Kind, title, file, other words that lead to it.
Entry = tuple[str, str, str, str]


def script(handbook: Handbook) -> str:
    """Returns the call that hands the index over: JSON in ASCII, so that no text in it ends a line or the script."""
    pages = list(_pages(handbook))
    numbers = {href: number for number, (_, _, href, _) in enumerate(pages)}
    findings = [
        [plain(f.claim, _LONGEST), numbers[page.href], f.anchor, _verdict(f.verdict)]
        for page in handbook.evidence for _, own in page.questions for f in own
    ]  # fmt: skip
    index = {"pages": pages, "findings": findings, "verdicts": VERDICTS}
    return f"hpkb.index({json.dumps(index, separators=(',', ':'))});\n"


def _pages(handbook: Handbook) -> Iterator[Entry]:
    for name in handbook.hyperparameters:
        also = " ".join((plain(name.name, 120), *(plain(alias, 60) for alias in name.aliases)))
        yield "hyperparameter", plain(name.title, 120), name.href, also
    for task in handbook.tasks:
        yield "task", plain(task.title, 120), task.href, plain(task.task.metric, 120)
    for question in handbook.questions:
        yield "question", plain(question.title, 200), question.href, plain(question.miner, 120)
    for page in handbook.evidence:
        yield "evidence", plain(f"Evidence: {page.title}", 200), page.href, ""


def _verdict(verdict: str) -> int:
    """Its number; what is none of the three settles nothing."""
    return VERDICTS.index(verdict) if verdict in VERDICTS else VERDICTS.index("insufficient")
