"""What is recorded, without the secrets that people put into command lines, configurations and code.

Two things give a secret away: the name that it stands under (`--api-key`, `HF_TOKEN`, `db.password`) and its own look
(an issuer's prefix, a JSON web token, a PEM block, an address with a password in it). A name that only shares a word
with one, `max_tokens`, `pad_token`, `key_dim`, gives nothing away.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

HIDDEN = "***"
LONGEST = 2000  # characters of a value that are recorded

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STRONG = frozenset(
    "password passwords passwd pwd passphrase passcode secret secrets credential credentials authorization bearer dsn "
    "jwt apikey apikeys apitoken accesskey secretkey privatekey authtoken accesstoken hftoken webhook".split()
)
_PAIRS = frozenset(  # two words that are a secret only together
    [f"{kind} key" for kind in "api access secret private signing encryption account license ssh service master deploy "
     "subscription shared wandb openai comet neptune".split()]
    + [f"{kind} token" for kind in "auth access api refresh bearer secret bot hf hub github gitlab wandb sas".split()]
    + ["api keys", "access keys", "secret keys", "private keys", "api tokens", "access tokens", "auth tokens",
       "pass word", "pass phrase", "connection string", "conn str"]
)  # fmt: skip
_WEAK = frozenset(["key", "token", "auth"])  # as the last word, of a text that is no number
_HARMLESS_BEFORE = frozenset(
    "pad bos eos unk mask sep cls class special start end begin first last next prev stop image img audio video text "
    "word char prompt label target input output source sort primary foreign data metric monitor dict group column "
    "col batch feature sample caption query value cache partition state config rng prng random loss num n max min per "
    "new total by reg register pool lang language task join index hash lookup score rank best param music".split()
)

# The patterns that few texts need are left uncompiled, which takes milliseconds, until one does; `re` keeps them.
_URL_USER = r"(?P<url>(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s\"']+@"
_MARKS = (  # without one of which nothing can look like a secret
    "sk-", "sk_", "rk_", "pk_", "whsec_", "hf_", "gh", "glpat-", "xox", "xapp-", "AKIA", "ASIA", "AIza", "ya29.",
    "npm_", "pypi-", "nvapi-", "gsk_", "dapi", "SG.", "r8_", "shp", "wandb_v1_", "eyJ", "Bearer", "Basic", "token",
    "hooks.", "?", "&", "://",
)  # fmt: skip
_LOOKS = (
    r"(?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}"  # keys and tokens by their issuer
    r"|\b(?:sk|rk|pk|whsec)_(?:live_|test_)?(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}"
    r"|\bhf_[A-Za-z0-9]{14,}|\bgh[pousr]_[A-Za-z0-9]{14,}|\bgithub_pat_\w{14,}|\bglpat-[\w-]{14,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\bxapp-[\w-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bAIza[\w-]{20,}|\bya29\.[\w-]{20,}"
    r"|\bnpm_[A-Za-z0-9]{30,}|\bpypi-[\w-]{30,}|\bnvapi-[\w-]{20,}|\bgsk_[A-Za-z0-9]{20,}|\bdapi[0-9a-f]{32}\b"
    r"|\bSG\.[\w-]{16,}\.[\w-]{16,}|\br8_[A-Za-z0-9]{30,}|\bshp(?:at|ss)_[0-9a-f]{32}|\bwandb_v1_\w{20,}"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}"  # a JSON web token
    r"|\b(?:Bearer|Basic|token)\s+(?=[\w.+/=-]*\d)[\w.+/=-]{16,}"
    r"|hooks\.slack\.com/services/[\w/]+"
    r"|(?P<parameter>[?&](?:\w*token|\w*key|sig|signature|password|secret)=)[^&\s\"']+"
    rf"|{_URL_USER}"
)
_PEM = r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
_NAMED = r"(?<![\w.-])([A-Za-z_][\w.-]*)[\"']?\s*(?::=|=>|[:=](?!=))\s*"
_ASSIGNED = (
    r"(?:(?:Optional|str|bytes|Final|SecretStr|typing)\b[\w.\[\]| ]*=\s*)?"  # `api_key: str = "..."`
    r"(?P<value>[rbfu]{0,2}\"[^\"]*\"|[rbfu]{0,2}'[^']*'|[^\s,;&)}\]\"']+)"
)
_QUOTED = r"(?P<quote>[\"'])(?P<inside>(?:(?!(?P=quote)).)+)(?P=quote)"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_NUMBER = re.compile(r"[-+]?\.?\d[\d_.]{0,11}(?:[eE][-+]?\d+)?")
_PLAIN = frozenset(["", "none", "null", "true", "false", "yes", "no", "on", "off", "auto"])
_LONG = r"[A-Za-z0-9_+=-]{32,}"


def names_secret(name: str) -> bool:
    """Whether what stands under that name is a secret: `--api-key`, `HF_TOKEN`; not `--max-tokens`, `pad_token`."""
    return _strength(name) > 0


def value(name: str, text: str) -> str:
    """Returns the argument's text, or `***` where its name or its look says that it is a secret."""
    return HIDDEN if _hides(name, text) else free(text)


def parameter(name: str, content: Any) -> Any:
    """Returns the argument as it is recorded: numbers and truth values as they are, the rest as text."""
    if content is None or isinstance(content, bool):
        return content
    if isinstance(content, (int, float)):
        return HIDDEN if _ends_in_strong(name) else content
    return value(name, str(content)[: 4 * LONGEST])[:LONGEST]


def free(text: str) -> str:
    """Returns a text without what looks like a secret or is assigned to a name of one."""
    if len(text) < 5:
        return text
    if "PRIVATE KEY" in text:
        text = re.sub(_PEM, _hide_block, text)
    if any(mark in text for mark in _MARKS):
        text = re.sub(_LOOKS, _hide_look, text)
    return _without_assigned(text) if "=" in text or ":" in text else text


def code(text: str) -> str:
    """Returns a program text or a difference of two without secrets, line by line.

    A line with the name of a secret loses all that is quoted in it, and any line what is long and looks random.
    """
    return "\n".join(_code_line(line[:LONGEST]) for line in re.sub(_PEM, _hide_block, text).split("\n"))


def command(arguments: Sequence[str]) -> list[str]:
    """Returns the command line with the values of secret options replaced by `***`."""
    shown: list[str] = []
    secret = ""  # the option whose values are hidden
    for argument in arguments:
        name, equals, rest = argument[: 4 * LONGEST].partition("=")
        option = argument.startswith("-") and not _NUMBER.fullmatch(argument)
        if secret and not option:
            shown.append(value(secret, argument))
            secret = secret if secret.endswith("s") else ""  # --api-keys takes several
            continue
        if equals and _NAME.fullmatch(name.lstrip("-+~")):
            shown.append(f"{name}={value(name, rest)}")
        else:
            shown.append(free(argument[: 4 * LONGEST]))
        secret = argument if option and not equals and names_secret(argument) else ""
    return shown


def _hides(name: str, text: str) -> bool:
    """Whether the name makes a secret of the text; a number is one only under a name that leaves no doubt."""
    strength, plain = _strength(name), text.strip().lower()
    return strength > 0 and plain not in _PLAIN and not (strength == 1 and bool(_NUMBER.fullmatch(plain)))


def _strength(name: str) -> int:
    """Returns 2 for the name of a secret, 1 for one that may well be, 0 for others."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not _STRONG.isdisjoint(words) or any(f"{a} {b}" in _PAIRS for b, a in zip(words[1:], words)):
        return 2
    if not words or words[-1] not in _WEAK:
        return 0
    return 0 if len(words) > 1 and words[-2] in _HARMLESS_BEFORE else 1


def _ends_in_strong(name: str) -> bool:
    words = _WORD.findall(name)
    return bool(words) and words[-1].lower() in _STRONG and not words[-1].lower().endswith("s")


def _hide_look(match: re.Match[str]) -> str:
    if match["url"]:
        return f"{match['url']}{HIDDEN}@"
    return f"{match['parameter'] or ''}{HIDDEN}"


def _hide_block(match: re.Match[str]) -> str:
    return "\n".join([HIDDEN] * (match[0].count("\n") + 1))


def _without_assigned(text: str) -> str:
    parts, done = [], 0
    for named in re.finditer(_NAMED, text):
        if named.start() < done or not names_secret(named[1]):
            continue
        found = re.compile(_ASSIGNED).match(text, named.end())
        if found is None:
            continue
        written = found["value"]
        quote = written[-1] if written[-1] in "\"'" else ""
        if _hides(named[1], written.lstrip("rbfu").strip(quote) if quote else written):
            parts += [text[done : found.start("value")], quote, HIDDEN, quote]
            done = found.end()
    return "".join([*parts, text[done:]])


def _code_line(line: str) -> str:
    if any(_strength(name) for name in _NAME.findall(line)):
        line = _without_quoted(line)
    return re.sub(_LONG, _hide_random, free(line))


def _without_quoted(line: str) -> str:
    """Returns the line without what is quoted in it but for options and the first name of a secret."""
    named = False

    def hide(match: re.Match[str]) -> str:
        nonlocal named
        inside = match["inside"]
        is_name = not named and names_secret(inside) and _NAME.fullmatch(inside.lstrip("-")) is not None
        named = named or is_name
        return match[0] if is_name or len(inside) < 4 else f"{match['quote']}{HIDDEN}{match['quote']}"

    return re.sub(_QUOTED, hide, line)


def _hide_random(match: re.Match[str]) -> str:
    """Hides what has capitals, small letters and digits and changes between them as chance does."""
    text = match[0]
    kinds = ["A" if c.isupper() else "a" if c.islower() else "0" if c.isdigit() else "_" for c in text]
    changes = sum(a != b for a, b in zip(kinds[1:], kinds))
    random = {"A", "a", "0"} <= set(kinds) and changes > len(text) / 3
    return HIDDEN if random else text
