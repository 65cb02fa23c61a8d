"""A miner's docstring as the text of its page."""

from __future__ import annotations

import re

import pytest

from hpkb.pages.questions import prose, sections

UNDERLINED = """One line.

Question
--------
Does `x` matter?

Method
------
First (Miller 1968, *A title*).

Second.

How to read it
--------------
- one
- two <b>

When it misleads
----------------
Never.
"""
MARKED = re.sub(r"(?m)^(.+)\n-{6,}$", r"*\1.*", UNDERLINED).replace("*Method.*", "**Method**")


@pytest.mark.parametrize("text", [UNDERLINED, MARKED])
def test_the_four_parts_are_found(text: str) -> None:
    parts = sections(text)
    assert list(parts) == ["Question", "Method", "How to read it", "When it misleads"]
    assert parts["Question"] == "Does `x` matter?"
    assert parts["When it misleads"] == "Never."


def test_prose_has_paragraphs_lists_code_and_emphasis_and_nothing_else() -> None:
    parts = sections(UNDERLINED)
    assert prose(parts["Question"]) == "<p>Does <code>x</code> matter?</p>"
    assert prose(parts["Method"]) == "<p>First (Miller 1968, <em>A title</em>).</p>\n<p>Second.</p>"
    assert prose(parts["How to read it"]) == "<ul><li>one</li><li>two &lt;b&gt;</li></ul>"
