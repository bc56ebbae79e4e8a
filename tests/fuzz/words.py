"""Single words that people and clients write: names, spans, moments, tokens, values for shells.

Each is read into something that means the same when it is written again, or refused with a
ValueError (or keyman's error) that does not repeat it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import ModuleType

import dotenv as python_dotenv

from keyman import dotenv, errors, quoting
from keyman.client import remote
from keyman.config import values
from keyman.core.model import Secret
from keyman.core.policy import Window
from keyman.db.clients import Client
from keyman.serving.doors import Doors
from tests.fuzz.parser import SECRET, Parser, Try, Wrong, must, silent_about

NOW = datetime(2026, 11, 21, tzinfo=UTC)
TOKEN = "kmc_" + "Ab3-_" * 8 + "xyz"


def plain(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def refusing(read: Callable[[str], object], text: str) -> object:
    """What it makes of it; None if it refuses, in words of its own."""
    try:
        return read(text)
    except ValueError as error:
        said = str(error)
        must(said.isprintable() and len(said) < 200, f"it refuses with {said!r}")
        _SENTENCES.add(said)
        must(len(_SENTENCES) < 100, "refusals depend on what they are given")
        return None


_SENTENCES: set[str] = set()  # a refusal is one of a few sentences, whatever was given
NAMED = {
    "name": values.name,
    "target": values.target,
    "slot": values.slot,
    "variable": values.variable,
    "region": values.region,
    "model": values.model,
    "profile": values.profile,
    "api_key_id": values.api_key_id,
    "compartment_id": values.compartment_id,
    "project": values.project,
    "account": values.account,
    "vault_path": values.vault_path,
    "secret_path": values.secret_path,
}
IN_A_PATH = {"name", "target", "slot", "variable", "region", "vault_path", "api_key_id", "project"}


@contextmanager
def names() -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        text = plain(data)
        for what, read in NAMED.items():
            found = refusing(read, text)
            must(found is None or found == text, f"{what} becomes another one")
            if found is not None and what in IN_A_PATH:
                must(re.fullmatch(r"[!-~]+", text) is not None, f"{what} has an odd character")
                parts = text.split("/")
                must(".." not in parts and "." not in parts, f"{what} leads elsewhere")

    yield attempt


@contextmanager
def times() -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        text = plain(data)
        span = refusing(values.duration, text)
        if isinstance(span, timedelta):
            must(timedelta(0) <= span <= values.LONGEST, "a span out of bounds")
        moment = refusing(values.moment, text)
        if isinstance(moment, datetime):
            must(moment.utcoffset() == timedelta(0), "a moment not in UTC")
            must(values.moment(moment.isoformat()) == moment, "a moment written again differs")
        window = refusing(values.window, text)
        if isinstance(window, Window):
            must(window.opening(NOW) >= NOW, "a window opens in the past")

    yield attempt


@contextmanager
def addresses(values: ModuleType = values) -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        text = plain(data)
        for read in (values.url, values.proxy):
            found = refusing(read, text)
            if found is not None:
                must(
                    re.fullmatch(r"https?://[!-~]+", str(found).lower()) is not None,
                    "an odd address",
                )
                must("@" not in str(found).split("/")[2], "an address with a password")
        host = refusing(values.host, text)
        must(host is None or re.fullmatch(r"[!-~]+", str(host)) is not None, "an odd host")
        listen = refusing(values.listen, text)
        must(not isinstance(listen, tuple) or 0 < listen[1] < 65536, "a port that is none")
        refusing(values.notify_url, text)

    yield attempt


@contextmanager
def tokens() -> Iterator[Try]:
    doors = Doors((), ())
    digest = sha256(TOKEN.encode()).hexdigest()
    doors.admit([Client("one", digest, ("*",), NOW)])
    right = re.compile(rb"(?i:bearer) +" + re.escape(TOKEN.encode()))

    def attempt(data: bytes) -> None:
        let_in = doors.client(data) is not None
        must(let_in == (right.fullmatch(data) is not None), "a token that is not the token")
        try:
            kept = remote._checked("KEYMAN_TOKEN", plain(data))
        except errors.ConfigError as error:
            silent_about(TOKEN, error, error.hint)
        else:
            must(re.fullmatch(r"[!-~]+", kept) is not None, "a token that no header carries")

    yield attempt


@contextmanager
def dotenv_values() -> Iterator[Try]:
    """Any value, written by us and read by python-dotenv, is that value."""

    def attempt(data: bytes) -> None:
        value = plain(data)
        try:
            line = quoting.lines({"A_KEY": value}, "dotenv")
            quoting.lines({"A_KEY": value}, "sh")
        except errors.UsageError as error:
            must(len(value) < 16 or value not in f"{error} {error.hint}", "it repeats the value")
            return
        read = python_dotenv.dotenv_values(stream=io.StringIO(line), interpolate=True)
        must(read == {"A_KEY": value}, "python-dotenv reads another value")

    yield attempt


@contextmanager
def dotenv_files(files: ModuleType = dotenv) -> Iterator[Try]:
    """Any file: the new value is found in it, and all others are what they were."""

    def attempt(data: bytes) -> None:
        made = files.put(data, {"A_KEY": quoting.dotenv_value(SECRET)})
        again = files.put(made, {"A_KEY": quoting.dotenv_value(SECRET)})
        must(again == made, "put twice is not put once")
        before, after = _read(data), _read(made)
        if before is None or after is None:
            return
        must(after.get("A_KEY") == SECRET, "the new value is not found")
        rest = {name: value for name, value in after.items() if name != "A_KEY"}
        must(rest == {k: v for k, v in before.items() if k != "A_KEY"}, "another value changed")

    yield attempt


def _read(data: bytes) -> dict[str, str | None] | None:
    """What python-dotenv makes of it; None where it finds lines that it can't read."""
    stream = io.StringIO(data.decode("utf-8", "surrogateescape"))
    found = list(python_dotenv.parser.parse_stream(stream))
    if any(one.error for one in found):
        return None
    # A name without `=` sets nothing, so what stands above it holds.
    return {one.key: one.value for one in found if one.key and one.value is not None}


@contextmanager
def fingerprints() -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        secret = Secret(data.decode("utf-8", "replace"))
        must(str(secret) == repr(secret) == "Secret(···)" and f"{secret:>20}" == "···", "it shows")
        must(secret == Secret(secret.reveal()), "a secret is not itself")

    yield attempt


_SPANS = (
    b"90d",
    b"12h",
    b"0.5s",
    b"100ms",
    b"1w",
    b"2027-01-31T00:00:00Z",
    b"2026-02-29 23:59:60+09:00",
)
_WINDOWS = (
    b"Mon-Fri 09:00-17:00 Asia/Tokyo",
    b"Sat,Sun 00:00-24:00 UTC",
    b"fri-mon 01:30-02:30 Europe/Berlin",
)
_NAMES = (
    b"genai",
    b"openai-main_1",
    b"key-one",
    b"us-chicago-1",
    b"team/keyman",
    b"my-project",
    b"GENAI_KEY",
)
_IDS = (
    b"ocid1.generativeaiapikey.oc1.us-chicago-1.amaaaaaac90bef545dada",
    b"ocid1.compartment.oc1..sandbox",
    b"robot@my-project.iam.gserviceaccount.com",
    b"meta.llama-3.3-70b-instruct",
)
_URLS = (
    b"https://api.openai.com/v1",
    b"http://127.0.0.1:8425/x",
    b"http://proxy.example:3128",
    b"[::1]:8425",
    b"0.0.0.0:443",
    b"mailto://user:pass@example.org",
)
_BEARER = (f"Bearer {TOKEN}".encode(), f"bearer   {TOKEN}".encode(), TOKEN.encode())
_VALUES = (
    b"sk-abc123",
    b'it\'s "quoted" and $HOME',
    b"a\\nb\\\\c",
    b" padded ",
    b"#no comment",
    b"${A}-b",
    b"x=y",
    "schlüssel✓".encode(),
)
_FILES = (
    b"# settings\nexport A_KEY='old'  # why\nB=\"two\\nlines\"\nC = three\n",
    b"A_KEY=one\r\nB=two\r\n",
    b"B='multi\nline'\nA_KEY=x",
    b"\xef\xbb\xbfB=1\nA_KEY =\n",
    b'A_KEY="a\\"b"\nexport B\nD=${A_KEY}\n',
)
PARSERS = (
    Parser("names", (*_NAMES, *_IDS), names, (b"-", b"_", b".", b"/", b"..", b"@")),
    Parser("spans and moments", (*_SPANS, *_WINDOWS), times, (b"d", b"ms", b"Z", b"24:00", b"Feb")),
    Parser("addresses", _URLS, addresses, (b"@", b"?", b"#", b"://", b"%2e", b"localhost", b":0")),
    Parser("client tokens", _BEARER, tokens, (b"Bearer ", b"kmc_", b",", TOKEN.encode())),
    Parser("values for a .env", _VALUES, dotenv_values, (b"'", b'"', b"\\", b"$", b"#", b"\n")),
    Parser(".env files", _FILES, dotenv_files, (b"A_KEY=", b"export ", b"'", b'"', b"\\", b"\n#")),
    Parser("secrets as values", _VALUES, fingerprints),
)
__all__ = ["PARSERS", "Wrong"]
