"""Mirrors as people meet them: the daemon killed, commands without one, status, check, forget."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from keyman import client
from keyman.config import DEFAULT
from keyman.core.model import Secret
from keyman.db.journal import Journal
from keyman.wiring import Stores
from tests.commands.kinds import findings, home_with
from tests.commands.world import GENEROUS, Home, until
from tests.serving.world import UnixConnection

MIRRORED = """\
  partner: {provider: static, mirrors: [copy]}
stores:
  copy: {kind: sealed-file, path: "{home}/elsewhere/copy.db"}
"""


@pytest.fixture
def place() -> Iterator[Home]:
    with home_with(MIRRORED) as made:
        (made.state / "elsewhere").mkdir(parents=True)
        made.state.chmod(0o700)
        yield made


def put(place: Home, secret: str) -> str:
    done = place.keyman("put", "partner", stdin=secret + "\n")
    assert done.status == 0, done.err
    return done.err


def copy_of(place: Home) -> Path:
    return place.state / "elsewhere" / "copy.db"


def held(place: Home, store: str) -> dict[int, Secret | None]:
    """Number → secret, of everything that lies in that store."""
    database = f"sqlite:///{place.state}/keyman.db"
    with closing(Journal.open(database, migrate=False, read_only=True)) as journal:
        stores = Stores(place.settings, journal.installation, read_only=True)
    with closing(stores):
        found = stores[store]
        return {number: found.get(name, number) for name, number in found.list("partner")}


def mirror_of(place: Home) -> dict[str, Any]:
    said: dict[str, Any] = place.keyman("status", "partner", "--json").json["mirrors"][0]
    return said


def follows(place: Home) -> bool:
    status = place.keyman("status", "partner", "--json").json
    (mirror,) = status["mirrors"]
    return bool(mirror["state"] == "ok" and mirror["version"] == status["current"]["version"])


# ---------------------------------------------------------------------------------------- a daemon


def test_whenever_the_daemon_is_killed_its_mirror_comes_to_have_what_lookups_get(
    place: Home,
) -> None:
    dice, tried = random.Random(7), 0
    for _ in range(3):
        with place.daemon() as process:
            for _ in range(2):
                tried += 1
                bring(place, f"sk-{tried}")
            time.sleep(dice.uniform(0, 0.05))
            process.kill()
            process.wait()
    with place.daemon():
        until(lambda: follows(place))
        secret = Secret(place.keyman("get", "partner").out.rstrip("\n"))
        assert secret == Secret(f"sk-{tried}")
        copies, own = held(place, "copy"), held(place, DEFAULT)
        assert secret in copies.values()
        assert copies.items() <= own.items()
        assert len(copies) == 2, "the current and the previous one"


def bring(place: Home, secret: str) -> None:
    path = str(place.state / "agent.sock")
    body = {"secret": secret}
    status, said = client.call(
        "POST", "/api/v1/credentials/partner/put", body, path_to_socket=path, timeout=30
    )
    assert status == 200, said


@pytest.mark.slow
def test_a_mirror_that_does_not_open_stops_nobody_and_is_told_of(place: Home) -> None:
    copy_of(place).write_bytes(b"this is no store of anybody's" * 100)
    copy_of(place).chmod(0o600)
    with place.daemon():
        put(place, "sk-one")
        assert place.keyman("get", "partner").out == "sk-one\n"
        until(lambda: mirror_of(place)["state"] == "failing")
        shown = place.keyman("status", "partner").out
        assert "mirror:" in shown
        assert "copy failing, nothing readable, since" in shown
        assert findings(place)["mirror_failing"] == [("warning", "partner")]
        assert 'keyman_mirror_behind{credential="partner",store="copy"} 1' in metrics(place)
        copy_of(place).unlink()  # somebody puts it right
        until(lambda: follows(place))
        assert "copy ok, version 1" in place.keyman("status", "partner").out
        assert 'keyman_mirror_behind{credential="partner",store="copy"} 0' in metrics(place)
        assert "mirror_failing" not in findings(place)
    assert held(place, "copy") == {1: Secret("sk-one")}


SILENT = """\
  partner: {{provider: static, mirrors: [far]}}
stores:
  far:
    kind: vault
    address: http://127.0.0.1:{port}
    auth: {{kind: token, token: a-token}}
    timeout: 10m
"""


def test_a_mirror_that_never_answers_delays_neither_lookups_nor_the_end() -> None:
    """If anything waited for it, that would take the ten minutes of its timeout."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        place = opened.enter_context(home_with(SILENT.format(port=port)))
        process = opened.enter_context(place.daemon())
        bring(place, "sk-one")
        listener.settimeout(GENEROUS)
        calling, _ = listener.accept()  # and nothing is ever said to it
        opened.enter_context(calling)
        bring(place, "sk-two")
        assert place.keyman("get", "partner").out == "sk-two\n"
        assert mirror_of(place)["state"] == "behind"
        process.terminate()
        assert process.wait(GENEROUS) == 0


def metrics(place: Home) -> str:
    with closing(UnixConnection(place.state / "agent.sock")) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


# ------------------------------------------------------------------------------- without a daemon


def test_a_command_takes_what_it_did_to_the_mirror(place: Home) -> None:
    assert "mirror" not in put(place, "sk-one")
    put(place, "sk-two")
    assert held(place, "copy") == {1: Secret("sk-one"), 2: Secret("sk-two")}
    assert place.keyman("status", "partner", "--json").json["mirrors"] is None


def test_a_mirror_that_fails_is_a_warning_of_the_command(place: Home) -> None:
    copy_of(place).write_bytes(b"this is no store of anybody's" * 100)
    copy_of(place).chmod(0o600)
    said = put(place, "sk-one")
    assert "partner: its mirror copy is behind" in said
    assert "`keyman daemon` goes on" in said
    assert place.keyman("get", "partner").out == "sk-one\n"
    copy_of(place).unlink()
    done = place.keyman("daemon", "--once")
    assert done.status == 0, done.err
    assert held(place, "copy") == {1: Secret("sk-one")}


def test_what_left_the_configuration_stays_in_the_mirror_until_it_is_forgotten(
    place: Home,
) -> None:
    put(place, "sk-one")
    place.edit("  partner: {provider: static, mirrors: [copy]}\n", "  other: {provider: static}\n")
    place.keyman("daemon", "--once")
    assert held(place, "copy") == {1: Secret("sk-one")}
    done = place.keyman("forget", "partner")
    assert done.status == 0, done.err
    assert held(place, "copy") == {}
    assert held(place, DEFAULT) == {}


def test_a_backup_takes_from_a_mirror_what_its_own_store_cannot_give(place: Home) -> None:
    put(place, "sk-1")
    place.keyman("daemon", "--once")
    own = place.state / "secrets.db"
    own.write_bytes(b"no database, whatever its name says" * 200)
    place.environ["WORDS"] = "correct horse"
    done = place.keyman(
        "backup", "--to", str(place.folder / "b"), "--passphrase-env", "WORDS", "--json"
    )
    assert (done.status, done.json["secrets"]) == (0, 1), done.err
    copy_of(place).write_bytes(own.read_bytes())
    done = place.keyman("backup", "--to", str(place.folder / "c"), "--passphrase-env", "WORDS")
    assert (done.status, len(done.err.splitlines())) == (1, 2), done.err
