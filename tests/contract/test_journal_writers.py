"""Several threads and processes at one journal: who may write, and what a kill leaves."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection as Pipe

import pytest

from keyman.core.model import (
    Credential,
    Observed,
)
from keyman.db.journal import Event, Journal, Lease
from keyman.errors import Conflict
from tests.contract.journal_cases import MINUTE, NOW, SPEC, order, start, taken, version


def test_a_stale_revision_conflicts(journal: Journal) -> None:
    first = journal.save(Credential(SPEC), None)
    second = journal.save(replace(first, failures=2), None)
    for stale in (Credential(SPEC), first, replace(second, revision=9)):
        with pytest.raises(Conflict, match="first"):
            journal.save(replace(stale, failures=7), None)
    assert journal.load(SPEC)[0] == second
    assert journal.revision("genai") == 2


def test_of_two_threads_exactly_one_wins(journal: Journal) -> None:
    for _ in range(10):
        loaded = journal.load(SPEC)[0]
        together = threading.Barrier(4)
        with ThreadPoolExecutor(4) as threads:
            turns = [threads.submit(save_together, journal, loaded, together) for _ in range(4)]
        assert sorted(turn.result() for turn in turns) == ["conflict"] * 3 + ["saved"]


def save_together(journal: Journal, loaded: Credential, together: threading.Barrier) -> str:
    together.wait()
    return attempt(journal, loaded)


def attempt(journal: Journal, loaded: Credential) -> str:
    number = loaded.revision + 1
    try:
        journal.save(replace(loaded, versions=(*loaded.versions, version(number))), None)
    except Conflict:
        return "conflict"
    return "saved"


def test_of_two_processes_exactly_one_wins(journal: Journal, url: str) -> None:
    workers = [start(save_when_told, url) for _ in range(2)]
    for turn in range(20):
        for pipe in (pipe for _, pipe in workers):
            pipe.send("load")
            assert pipe.recv() == turn
        for _, pipe in workers:
            pipe.send("save")
        assert sorted(pipe.recv() for _, pipe in workers) == ["conflict", "saved"]
    for process, pipe in workers:
        pipe.send("stop")
        process.join()
    assert [v.number for v in journal.load(SPEC)[0].versions] == list(range(1, 21))


def save_when_told(url: str, pipe: Pipe) -> None:
    journal = Journal.open(url, migrate=False)
    while pipe.recv() == "load":
        loaded = journal.load(SPEC)[0]
        pipe.send(loaded.revision)
        pipe.recv()
        pipe.send(attempt(journal, loaded))


def test_an_order_from_another_process_makes_the_rotator_decide_again(
    journal: Journal, url: str
) -> None:
    lease = taken(journal, "rotator")
    loaded = journal.save(Credential(SPEC), None, lease=lease, now=NOW)
    process, pipe = start(give_an_order, url)
    assert pipe.recv() == "given"
    process.join()
    with pytest.raises(Conflict):
        journal.save(replace(loaded, failures=1), None, lease=lease, now=NOW)
    reloaded = journal.load(SPEC)[0]
    assert [o.id for o in reloaded.orders] == ["o1"]
    assert journal.save(reloaded, None, lease=lease, now=NOW).revision == 3


def give_an_order(url: str, pipe: Pipe) -> None:
    journal = Journal.open(url, migrate=False)
    loaded, observed = journal.load(SPEC)
    journal.save(replace(loaded, orders=(order(),)), observed)
    pipe.send("given")


def test_a_kill_leaves_every_record_whole_and_loses_nothing(url: str) -> None:
    Journal.open(url).close()
    dice = random.Random(20261121)
    told = 0
    for _ in range(30):
        process, pipe = start(save_for_ever, url)
        for _ in range(dice.randrange(1, 6)):
            told = pipe.recv()
        time.sleep(dice.uniform(0, 0.001))  # somewhere within the next save or two
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        told = last_told(pipe, told)
        check_whole(url, told)


def save_for_ever(url: str, pipe: Pipe) -> None:
    journal = Journal.open(url, migrate=False)
    credential = journal.load(SPEC)[0]
    while True:
        at = credential.revision + 1
        changed = replace(
            credential,
            epoch=at,
            versions=(*(replace(v, successes=at) for v in credential.versions[:20]),)
            if credential.versions
            else tuple(map(version, range(1, 21))),
            orders=(order("o", until=NOW + at * MINUTE),),
        )
        events = [Event(NOW, "genai", "turn", version=at)]
        credential = journal.save(changed, Observed(NOW + at * MINUTE, ()), events=events)
        pipe.send(credential.revision)


def last_told(pipe: Pipe, told: int) -> int:
    try:
        while True:
            told = pipe.recv()
    except EOFError:
        return told


def check_whole(url: str, told: int) -> None:
    journal = Journal.open(url, migrate=False)
    credential, observed = journal.load(SPEC)
    at = credential.revision
    assert at - told in (0, 1)  # what was acknowledged is there; one more may be
    assert (credential.epoch, observed) == (at, Observed(NOW + at * MINUTE, ()))
    assert {v.successes for v in credential.versions} == {at if at > 1 else 0}
    assert credential.orders == (order("o", until=NOW + at * MINUTE),)
    assert [e.version for e in journal.events(limit=9999)] == list(range(1, at + 1))
    journal.close()


def test_a_lease_excludes_others_until_it_runs_out(journal: Journal) -> None:
    assert taken(journal, "a") == Lease("genai", "a", 1, clean=True)
    assert journal.take_lease("genai", "b", "/home/b", MINUTE, NOW) is None
    almost = NOW + MINUTE - timedelta(microseconds=1)
    assert journal.take_lease("genai", "b", "/home/b", MINUTE, almost) is None
    assert journal.take_lease("other", "b", "/home/b", MINUTE, NOW) is not None
    assert taken(journal, "b", NOW + MINUTE) == Lease("genai", "b", 2, clean=False)


def test_its_owner_extends_it_under_the_same_fence(journal: Journal) -> None:
    first = taken(journal, "a")
    assert taken(journal, "a", NOW + MINUTE / 2) == first
    assert journal.take_lease("genai", "b", "/home/b", MINUTE, NOW + MINUTE) is None
    assert taken(journal, "a", NOW + 5 * MINUTE) == first


def test_a_released_lease_is_free_at_once_and_clean(journal: Journal) -> None:
    journal.release_lease(taken(journal, "a"))
    assert taken(journal, "b") == Lease("genai", "b", 2, clean=True)


def test_releasing_what_was_taken_over_ends_nothing(journal: Journal) -> None:
    old = taken(journal, "a")
    new = taken(journal, "b", NOW + MINUTE)
    journal.release_lease(old)
    assert journal.take_lease("genai", "c", "/home/c", MINUTE, NOW + MINUTE) is None
    assert journal.save(Credential(SPEC), None, lease=new, now=NOW + MINUTE).revision == 1


@pytest.mark.parametrize("revision", [0, 1])
def test_only_the_holder_of_the_lease_saves_with_it(journal: Journal, revision: int) -> None:
    credential = Credential(SPEC)
    if revision:
        credential = journal.save(credential, None)
    lease = taken(journal, "a")
    with pytest.raises(Conflict, match="lease"):
        journal.save(credential, None, lease=lease, now=NOW + MINUTE)
    later = NOW + MINUTE
    taken(journal, "b", later)
    with pytest.raises(Conflict, match="lease"):
        journal.save(credential, None, lease=lease, now=NOW)
    assert journal.revision("genai") == revision
    journal.save(credential, None, lease=taken(journal, "b", later), now=later)
    assert journal.revision("genai") == revision + 1


def test_a_released_lease_saves_nothing(journal: Journal) -> None:
    lease = taken(journal, "a")
    journal.release_lease(lease)
    with pytest.raises(Conflict, match="lease"):
        journal.save(Credential(SPEC), None, lease=lease, now=NOW)


def test_dead_owners_of_a_home_are_void_and_unclean(journal: Journal) -> None:
    dead = taken(journal, "dead", home="/home/a")
    released = journal.take_lease("clean", "dead", "/home/a", MINUTE, NOW)
    elsewhere = journal.take_lease("elsewhere", "alive", "/home/b", MINUTE, NOW)
    assert released
    assert elsewhere
    journal.release_lease(released)
    journal.void_leases("/home/a")
    with pytest.raises(Conflict, match="lease"):
        journal.save(Credential(SPEC), None, lease=dead, now=NOW)
    assert taken(journal, "heir") == Lease("genai", "heir", 2, clean=False)
    assert journal.take_lease("clean", "heir", "/home/a", MINUTE, NOW) == Lease(
        "clean", "heir", 2, clean=True
    )
    assert journal.take_lease("elsewhere", "heir", "/home/a", MINUTE, NOW) is None
