"""Which names and values are kept back, and that nothing else is."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpkb.capture import redact

SECRET_NAMES = (
    "api_key apiKey API-KEY HF_TOKEN token auth password passwd secret aws_secret_access_key AWS_ACCESS_KEY_ID dsn "
    "db.password wandb_key openai_api_key authorization private_key hub_token clientSecret connection_string my_key"
).split()
PLAIN_NAMES = (
    "max_tokens key_dim num_keys tokenizer pad_token tokens_per_batch n_tokens key_size monitor_key image_key author "
    "mask_token token_dim keys monkey secretary max_token text_key use_keypoints tokenizer_name lr cls_token mask_key"
).split()
ISSUED = (
    "sk-abcdEFGH1234567890abcd", "hf_abcdefghijklmnopqrst", "ghp_abcdefghijklmnop1234", "glpat-abcdefghij1234567890",
    "AKIAIOSFODNN7EXAMPLE", "xoxb-123456789012-abcdef", "AIzaSyA1234567890abcdefghijklmnop",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdef", "SG.abcdefghijklmnopqrst.abcdefghijklmnopqrst",
)  # fmt: skip
WORDS = st.text(string.ascii_letters + string.digits, min_size=6, max_size=30).map(lambda text: "x9" + text)


@pytest.mark.parametrize("name", SECRET_NAMES)
@given(secret=WORDS)
def test_what_a_secret_name_stands_for_is_never_shown(name: str, secret: str) -> None:
    texts = [
        *redact.command(["train.py", f"--{name}", secret, f"--{name}={secret}"]),
        *redact.command([f"{name}={secret}", f"+a.{name}={secret}"]),
        str(redact.parameter(name, secret)),
        str(redact.parameter("config", {"a": {name: secret}})),
        redact.free(f'{{"{name}": "{secret}", "lr": 1}}'),
        redact.free(f"a: {name}={secret}"),
        redact.code(f'+    {name}: str = "{secret}"\n {name}: {secret}\n'),
        redact.code(f'parser.add_argument("--{name}", default="{secret}")'),
        redact.code(f'os.environ["{name}"] = "{secret}"'),
    ]  # fmt: skip
    assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("name", PLAIN_NAMES)
@given(text=st.text(string.ascii_lowercase + "<>_ ", max_size=20))
def test_a_name_that_only_sounds_like_one_hides_nothing(name: str, text: str) -> None:
    assert redact.parameter(name, text) == text
    assert redact.command([f"--{name}", text or "x"]) == [f"--{name}", text or "x"]
    assert redact.command([f"--{name}={text}"]) == [f"--{name}={text}"]
    assert redact.parameter(name, 512) == 512


@pytest.mark.parametrize("secret", ISSUED)
@given(before=st.sampled_from(["", "x ", "a=", "('", "Bearer "]), after=st.sampled_from(["", " y", "')", ";"]))
def test_what_looks_like_a_secret_is_hidden_anywhere(secret: str, before: str, after: str) -> None:
    shown = redact.value("note", before + secret + after)
    assert secret not in shown
    assert redact.HIDDEN in shown
    assert secret not in redact.code(f"x = '{before}{secret}'")


@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    redact.free(text)
    redact.value(text, text)
    redact.command(text.split(" "))
    assert redact.code(text).count("\n") == text.count("\n")


@given(st.lists(st.sampled_from(["lr", "model", "=", ": ", "resnet50", "0.1", ", ", "[1, 2]", "{", "}", "'a'", "\n"])))
def test_ordinary_settings_stay_as_they_are(parts: list[str]) -> None:
    text = "".join(parts)
    assert redact.free(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:word@host/db", "postgresql://***@host/db"),
        ("https://host/a?lr=1&token=abcdef&b=2", "https://host/a?lr=1&token=***&b=2"),
        ("sk-learn-resnet50-imagenet1k", "sk-learn-resnet50-imagenet1k"),
        ("hf_internal_testing/tiny", "hf_internal_testing/tiny"),
        ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_values(text: str, shown: str) -> None:
    assert redact.value("data", text) == shown


def test_numbers_are_hidden_only_where_there_is_no_doubt() -> None:
    assert redact.parameter("password", 123456) == redact.HIDDEN
    assert redact.parameter("use_token", True) is True
    assert redact.command(["--token", "5", "--password", "5"]) == ["--token", "5", "--password", "***"]


def test_a_key_over_several_lines_keeps_their_number() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n+abc\n+def\n-----END RSA PRIVATE KEY-----"
    assert redact.code(f"+a\n{key}\n+b") == "+a\n***\n***\n***\n***\n+b"
    assert "def" not in redact.parameter("text", key[:40] + "def")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["a", "a.", "a:", "sk-", "b ", "://", '"', "key: ", "x=1,", "eyJaaaaaaaaa.", "'\\"])
def test_no_text_keeps_the_patterns_busy(piece: str) -> None:
    redact.free(piece * (8000 // len(piece)))
    redact.code(piece * (8000 // len(piece)))
