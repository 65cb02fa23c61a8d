"""The state of the code: which commit, and what was changed since without being committed."""

from __future__ import annotations

import os

from .redact import code as without_secrets

_SECONDS = 10.0  # for git to answer
_LONGEST = 200_000  # bytes of a difference that are kept
_MOST_NAMES = 200  # untracked files that are named


def code(cwd: str) -> dict[str, str]:
    """Returns tags `hpkb.code.*`: commit, branch, whether tracked files were changed; nothing outside a repository."""
    commit = _git(cwd, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(cwd, "status", "--porcelain", "--untracked-files=no")
    branch = _git(cwd, "rev-parse", "--abbrev-ref", "HEAD")
    found = {"commit": commit, "branch": branch, "dirty": "true" if changed else "false"}
    return {f"hpkb.code.{name}": text for name, text in found.items() if text}


def difference(cwd: str) -> str:
    """Returns what tracked files differ by from the commit, without secrets and at most 200 kB, and the names of
    untracked files as comments after it; '' where the commit says it all.
    """
    lines = _git(cwd, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short", strip=False)
    cut = len(lines.encode()) >= _LONGEST
    names = _git(cwd, "ls-files", "--others", "--exclude-standard", "--", ":/").splitlines()
    notes = [f"# cut after {_LONGEST} bytes"] if cut else []
    notes += [f"# untracked: {name}" for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        notes.append(f"# and {len(names) - _MOST_NAMES} more untracked files")
    text = without_secrets(lines.rstrip("\n")) if lines else ""
    return "\n".join([*([text] if text else []), *notes, ""]) if text or notes else ""


def _git(cwd: str, *arguments: str, strip: bool = True) -> str:
    """Returns what git prints, as far as it is kept; '' where it fails, is not there or takes too long."""
    import subprocess
    import threading

    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.quotepath=off", "-C", cwd, *arguments]
    try:
        git = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )  # fmt: skip
    except OSError:
        return ""
    watch = threading.Timer(_SECONDS, git.kill)
    watch.daemon = True
    watch.start()
    assert git.stdout is not None
    with git.stdout as output:
        text = output.read(_LONGEST)
        cut = len(text) == _LONGEST
        if cut:
            git.kill()
    status = git.wait()
    watch.cancel()
    decoded = text.decode("utf-8", "replace") if cut or status == 0 else ""
    return decoded.strip() if strip else decoded
