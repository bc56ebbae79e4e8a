"""Files that others may have written: the configuration, keys, backups, the page, the history.

Each is read whole, or refused with the errors that its reader declares.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyman import audit_verify, errors
from keyman.client import page
from keyman.config.loading import judge as settings_of
from keyman.core.model import Secret
from keyman.housekeeping import backup_file, contents
from keyman.stores import sealing_key
from tests import histories
from tests.fuzz.parser import SECRET, Parser, Try, must, silent_about
from tests.scratch import MEMORY

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keyman-fuzz-", dir=MEMORY) as made:
        yield Path(made)


@contextmanager
def config() -> Iterator[Try]:
    with folder() as here:
        path, home = here / "config.yaml", here / "home"

        def attempt(data: bytes) -> None:
            try:
                settings_of(data.decode("utf-8", "replace"), path, home=home, environ={})
            except errors.ConfigError as error:
                # As a key it may be named, since then it is in the wrong place for all to see.
                said = f"{error} {error.hint} {error.problems}"
                must(SECRET not in said or _as_a_key(data), "an error repeats a secret")
                must(len(said) < 200_000, "an error without end")

        yield attempt


def _as_a_key(data: bytes) -> bool:
    """Not as the value of a key on its own line."""
    usual = f"admin_key: {SECRET}".encode()
    return data.replace(usual, b"").count(SECRET.encode()) > 0


@contextmanager
def keys() -> Iterator[Try]:
    with folder() as here:
        path = here / "salt"
        path.touch(0o600)

        def attempt(data: bytes) -> None:
            try:
                must(len(sealing_key._decoded(data, "the file")) == 32, "a key of another length")
            except errors.StoreFailed as error:
                silent_about(data.decode("latin-1") if len(data) > 20 else SECRET, error)
            path.write_bytes(data)
            try:
                found = sealing_key._Costs.read(path)
            except errors.StoreFailed:
                return
            must(found.memory <= 1024 * 1024 and len(found.salt) == 16, "costs out of bounds")

        yield attempt


@contextmanager
def headers() -> Iterator[Try]:
    path = Path("a.backup")

    def attempt(data: bytes) -> None:
        try:
            header = backup_file._checked(data[: backup_file.HEADER.size], path)
        except errors.StoreFailed:
            return
        _, version, cost, block, lanes, _ = backup_file.HEADER.unpack(header)
        must(version == 1 and 14 <= cost <= 20 and block == 8 and lanes <= 4, "costs out of bounds")

    yield attempt


@contextmanager
def backups() -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        try:
            found = contents.from_bytes(data)
        except errors.StoreFailed as error:
            silent_about(SECRET, error, error.hint)
            return
        silent_about(SECRET, repr(found))

    yield attempt


@contextmanager
def pages() -> Iterator[Try]:
    with folder() as here:
        socket, path = here / "agent.sock", here / page.FILE
        for each in (socket, path):
            each.touch(0o600)

        def attempt(data: bytes) -> None:
            path.write_bytes(data)
            found = page._mapped(str(path), str(socket))
            if found is None:
                return
            must(data.startswith(page.SIGNATURE), "a page of another format")
            for index in (0, 1, 2**31):
                if found.shows(index, TAG):
                    at = page.place(index)
                    must(data[(at - page.TAG) * 8 : at * 8] == TAG, "a place of another name")
                    must(index < int(found.words[page.COUNT]), "a place that is not in use")
            found.words.release()

        yield attempt


@contextmanager
def history() -> Iterator[Try]:
    truth: list[Any] = []
    with closing(sqlite3.connect(":memory:")) as whole:
        whole.deserialize(HISTORY)
        truth = _rows(whole)
        said = [whole.execute("SELECT seq, hash FROM chain").fetchone()]

    def attempt(data: bytes) -> None:
        with closing(sqlite3.connect(":memory:")) as journal:
            try:
                journal.deserialize(data)
                found = audit_verify.judge(journal, said)
                same = _rows(journal) == truth
            except audit_verify.UNREADABLE:
                return
            json.dumps(found)
            must(same or found["misfit"] is not None, "a changed history is called whole")

    yield attempt


def _rows(journal: sqlite3.Connection) -> list[Any]:
    journal.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    asked = (audit_verify.CHAIN, audit_verify.ENTRIES)
    return [journal.execute(one).fetchall() for one in asked]


@contextmanager
def logs() -> Iterator[Try]:
    with folder() as here:
        path = here / "log"

        def attempt(data: bytes) -> None:
            path.write_bytes(data)
            try:
                found = audit_verify.said_in(path)
            except OSError:
                return
            for one in found:
                ours = isinstance(one, audit_verify.Pruning) or len(one[1]) == 64
                must(ours, "a head that is none")

        yield attempt


def _history() -> bytes:
    with folder() as here:
        histories.write(here, 12)
        with closing(sqlite3.connect(":memory:")) as small:
            small.execute("PRAGMA page_size = 1024")
            with closing(sqlite3.connect(here / "keyman.db")) as there:
                for table in ("events", "chain"):
                    asked = "SELECT sql FROM sqlite_master WHERE name = ?"
                    small.execute(there.execute(asked, (table,)).fetchone()[0])
                    rows = there.execute(f"SELECT * FROM {table}").fetchall()
                    marks = ", ".join("?" * len(rows[0]))
                    small.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            small.commit()
            return small.serialize()


TAG = bytes(range(16))
HISTORY = _history()
_ONE = b"""\
credentials:
  genai: {provider: oci-genai, region: us-chicago-1, key_id: ocid1.generativeaiapikey.oc1..x}
"""
_TWO = f"""\
credentials:
  openai-main:
    provider: openai
    project_id: proj_abc
    service_account_id: svc_acct_x
    admin_key: {SECRET}
    policy: {{lifetime: 30d, rotate_before: 10d, overlap: 1h}}
""".encode()
_THREE = b"""\
home: /tmp/k
agent: {listen: "127.0.0.1:8425", allow_uids: [1000]}
stores: {second: {kind: sealed-file, path: /tmp/s}}
credentials:
  vertex: {provider: google, project: my-project, location: eu, source: {kind: metadata}}
  x: !env FOO
"""
_SAFE = b"argon2id m=65536 t=3 p=4 salt=abcdefghijklmnopqrstuv\n"
_HEADER = backup_file.HEADER.pack(backup_file.MAGIC, 1, 17, 8, 1, bytes(32))
_CONTENTS = contents.to_bytes(
    contents.Contents(
        "0" * 32,
        NOW,
        "1.0",
        (contents.KeptSecret("default", "genai", 7, "key-one", Secret(SECRET)),),
        (("vertex", 1),),
        b"SQLite format 3\x00",
    )
)
_WORDS = [int.from_bytes(page.SIGNATURE, "little"), 1, 1, 0, 0, 0, 0, 0]
_PAGE = (
    b"".join(n.to_bytes(8, "little") for n in _WORDS) + TAG + b"\1" + bytes(7) + b"\7" + bytes(39)
)
_HEAD = "ab" * 32
_LOG = (
    f"INFO keyman.audit: audit: entry 12, head {_HEAD}\n"
    f'{{"logger": "keyman.audit", "message": "audit: entry 13, head {_HEAD}"}}\n'
    f"keyman.audit: audit: pruned 3 entries, after entry 1, {_HEAD}, up to entry 4, {_HEAD}\n"
).encode()
_INDENTED = (
    b"\n  ",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"&a",
    b"*a",
    b"!env ",
    b"provider",
    b"policy",
    b"|\n",
)
PARSERS = (
    Parser("configuration", (_ONE, _TWO, _THREE), config, _INDENTED),
    Parser(
        "keys and costs of the sealed file",
        (_SAFE, b"A" * 43 + b"=", os.urandom(0)),
        keys,
        (b"m=", b"="),
    ),
    Parser("header of a backup", (_HEADER,), headers, (b"\x00", b"\xff", b"\n")),
    Parser("contents of a backup", (_CONTENTS,), backups, (b'"', b"[]", b"null", b"{}")),
    Parser("page that clients map", (_PAGE, _PAGE + bytes(64)), pages, (TAG, page.SIGNATURE)),
    Parser("judge of the history", (HISTORY,), history, (b"\x00", b"\xff")),
    Parser(
        "log beside the history", (_LOG,), logs, (b"keyman.audit: ", b"head ", b"\n", b"entry ")
    ),
)
