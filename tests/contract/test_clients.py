"""Clients in the journal, and the register between the journal and the door."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from keyman.clock import SystemClock
from keyman.db.journal import Client, Journal
from keyman.errors import Conflict, NotFound
from keyman.register import Register
from tests.blank_journal import lay_down
from tests.contract.journal_cases import NOW, look

LATER = NOW + timedelta(hours=1)
ME = "uid 1000 (ada)"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def client(name: str = "build", token: str = "t1", *grants: str) -> Client:
    return Client(name, digest(token), grants or ("genai", "vertex"), NOW)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal.open(lay_down(tmp_path / "keyman.db"))) as opened:
        yield opened


def history(journal: Journal) -> list[tuple[str, str, str]]:
    return [(line.name, line.kind, line.by) for line in journal.events()]


def test_a_client_comes_back_as_it_was_added(journal: Journal) -> None:
    second = client("all", "t2", "*")
    assert journal.add_client(client(), ME) == client()
    journal.add_client(second, ME)
    assert journal.clients() == [second, client()]
    assert history(journal) == [
        ("client build", "client added", ME),
        ("client all", "client added", ME),
    ]


def test_the_same_client_twice_is_one(journal: Journal) -> None:
    """Whoever asks again, since the answer was lost, is not refused."""
    journal.add_client(client(), ME)
    again = Client("build", digest("t1"), ("genai", "vertex"), LATER)
    assert journal.add_client(again, ME) == client()
    assert len(history(journal)) == 1


@pytest.mark.parametrize("other", [client("build", "t2"), client("build", "t1", "genai")])
def test_a_name_has_one_token(journal: Journal, other: Client) -> None:
    journal.add_client(client(), ME)
    with pytest.raises(Conflict, match="there is a client build already"):
        journal.add_client(other, ME)
    assert journal.clients() == [client()]


def test_a_token_is_given_out_once(journal: Journal) -> None:
    """Not to another name, and not anew after it was revoked."""
    journal.add_client(client(), ME)
    with pytest.raises(Conflict, match="given to somebody before"):
        journal.add_client(client("other"), ME)
    journal.revoke_client("build", LATER, ME)
    with pytest.raises(Conflict, match="given to somebody before"):
        journal.add_client(client(), ME)
    assert journal.clients()[0].revoked_at == LATER


def test_revoking_says_when_and_does_so_once(journal: Journal) -> None:
    journal.add_client(client(), ME)
    assert journal.revoke_client("build", LATER, ME).revoked_at == LATER
    again = journal.revoke_client("build", LATER + timedelta(hours=1), ME)
    assert again.revoked_at == LATER
    assert [kind for _, kind, _ in history(journal)] == ["client added", "client revoked"]
    with pytest.raises(NotFound, match="no client 'nobody'"):
        journal.revoke_client("nobody", NOW, ME)


def test_a_revoked_name_may_have_another_token(journal: Journal) -> None:
    journal.add_client(client(), ME)
    journal.revoke_client("build", NOW, ME)
    second = Client("build", digest("t2"), ("genai",), LATER)
    journal.add_client(second, ME)
    assert journal.clients() == [second]


def test_when_they_asked_is_kept_and_no_time_after_their_end(journal: Journal) -> None:
    for n, name in enumerate(("a", "b", "c")):
        journal.add_client(client(name, f"t{n}"), ME)
    journal.revoke_client("c", NOW, ME)
    journal.clients_used({digest("t0"), digest("t2"), digest("nobody")}, LATER)
    assert [one.used_at for one in journal.clients()] == [LATER, None, NOW]


def test_a_token_that_ended_is_not_taken_for_the_next_of_its_name(journal: Journal) -> None:
    journal.add_client(client(), ME)
    journal.revoke_client("build", NOW, ME)
    journal.add_client(client("build", "t2"), ME)
    journal.clients_used({digest("t1")}, LATER)
    assert journal.clients()[0].used_at is None


def test_no_token_is_in_the_file(journal: Journal, tmp_path: Path) -> None:
    register = Register(journal, SystemClock())
    register.add("build", digest("kmc_canary"), ["genai"], ME)
    assert look(tmp_path, "SELECT digest FROM clients") == [(digest("kmc_canary"),)]
    for path in tmp_path.iterdir():
        assert b"kmc_canary" not in path.read_bytes()
    assert digest("kmc_canary") not in repr(journal.clients())


# The register.


def test_whoever_subscribes_is_told_now_and_at_each_change(journal: Journal) -> None:
    register = Register(journal, SystemClock())
    register.add("a", digest("t1"), ["genai", "genai"], ME)
    told: list[list[str]] = []
    register.subscribe(lambda clients: told.append([one.name for one in clients]))
    register.add("b", digest("t2"), ["*"], ME)
    register.revoke("a", ME)
    assert told == [["a"], ["a", "b"], ["b"]]
    assert [one["grants"] for one in register.every()] == [["genai"], ["*"]]


def test_nothing_is_told_of_what_was_not_recorded(journal: Journal) -> None:
    register = Register(journal, SystemClock())
    told: list[int] = []
    register.add("a", digest("t1"), ["genai"], ME)
    register.subscribe(lambda clients: told.append(len(list(clients))))
    with pytest.raises(Conflict):
        register.add("a", digest("t2"), ["genai"], ME)
    with pytest.raises(NotFound):
        register.revoke("b", ME)
    assert told == [1]


def test_what_is_told_last_is_what_was_recorded_last(journal: Journal) -> None:
    """One is being told of when the next one comes: the next waits for its turn."""
    register = Register(journal, SystemClock())
    told: list[set[str]] = []
    second = threading.Thread(target=register.add, args=("b", digest("t2"), ["genai"], ME))

    def hear(clients: Iterable[Client]) -> None:
        names = {one.name for one in clients}
        if names == {"a"}:
            second.start()
            second.join(0.3)  # it would be through by then, if nothing held it
        told.append(names)

    register.subscribe(hear)
    register.add("a", digest("t1"), ["genai"], ME)
    second.join()
    assert told == [set(), {"a"}, {"a", "b"}]


def test_what_a_person_is_told_of_a_client_has_no_digest(journal: Journal) -> None:
    register = Register(journal, SystemClock())
    added = register.add("build", digest("t1"), ["genai"], ME)
    assert register.every() == [added]
    assert added["created_at"] is not None
    told = {"name": "build", "grants": ["genai"], "used_at": None, "revoked_at": None}
    assert added == {**told, "created_at": added["created_at"]}
    register.used([digest("t1")])
    (used,) = register.every()
    assert used["used_at"] is not None
    ended = register.revoke("build", ME)
    assert ended["revoked_at"] is not None
    assert register.every() == [ended]
