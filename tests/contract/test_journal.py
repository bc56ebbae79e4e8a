"""What the journal keeps of a credential, and that nothing else gets in."""

from __future__ import annotations

import typing
from contextlib import closing
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderState,
    Secret,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from keyman.db import records
from keyman.db.journal import Event, Journal
from keyman.errors import ConfigError, Conflict, Error, StoreFailed
from tests.contract.journal_cases import (
    CANARY,
    MINUTE,
    NOW,
    SPEC,
    full,
    full_credential,
    full_observed,
    look,
    order,
    taken,
    version,
)


def test_a_credential_that_was_never_saved_is_empty(journal: Journal) -> None:
    assert journal.load(SPEC) == (Credential(SPEC), None)
    assert journal.revision("genai") == 0
    assert journal.names() == []


def test_every_field_survives_the_round_trip(journal: Journal, url: str) -> None:
    credential, observed = full_credential(), full_observed()
    saved = journal.save(credential, observed)
    assert saved == replace(credential, revision=1)
    journal.close()
    with closing(Journal.open(url)) as reopened:
        assert reopened.load(SPEC) == (saved, observed)


def test_every_field_survives_a_change(journal: Journal) -> None:
    before = Credential(SPEC, versions=tuple(map(version, range(1, 7))))
    before = journal.save(replace(before, orders=(order("id of 0 ☂ 'quoted'"),)), None)
    saved = journal.save(replace(full_credential(), revision=1), full_observed())
    assert journal.load(SPEC) == (saved, full_observed())
    emptied = journal.save(replace(before, revision=2, orders=()), None)
    assert journal.load(SPEC)[0].versions == emptied.versions
    assert journal.load(SPEC)[1] is None


def test_the_configuration_is_not_kept(journal: Journal) -> None:
    journal.save(Credential(SPEC), None)
    changed = Spec("genai", "oci-genai", slots=("key-one",), key_id="ocid1")
    assert journal.load(changed)[0].spec == changed


def test_a_name_does_not_change_hands_between_providers(journal: Journal) -> None:
    journal.save(Credential(SPEC), None)
    with pytest.raises(ConfigError, match="oci-genai") as refused:
        journal.load(Spec("genai", "openai"))
    assert "keyman forget genai" in refused.value.hint


def test_times_come_back_as_the_same_instant_in_utc(journal: Journal) -> None:
    tokyo = datetime(2026, 11, 21, 18, 0, tzinfo=timezone(timedelta(hours=9)))
    observed = Observed(tokyo, (KeySeen("h", "ACTIVE", (SlotSeen("s", "A", None, tokyo),)),))
    journal.save(Credential(SPEC, versions=(version(issued_at=tokyo),)), observed)
    credential, seen = journal.load(SPEC)
    assert seen == observed
    for moment in (credential.versions[0].issued_at, seen.at, seen.keys[0].slots[0].expires_at):
        assert moment == tokyo
        assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("where", ["version", "observed", "event"])
def test_a_time_without_its_zone_is_refused(journal: Journal, where: str) -> None:
    naive = NOW.replace(tzinfo=None)
    made = Credential(SPEC, versions=(version(issued_at=naive if where == "version" else None),))
    seen = Observed(naive if where == "observed" else NOW, ())
    events = [Event(naive if where == "event" else NOW, "genai", "requested")]
    with pytest.raises((TypeError, ValueError)):
        journal.save(made, seen, events=events)
    assert journal.revision("genai") == 0


def test_moments_sort_and_compare_in_sql(journal: Journal, tmp_path: Path) -> None:
    moments = [NOW + timedelta(microseconds=1), NOW, NOW - timedelta(days=30000), NOW + 9 * MINUTE]
    numbered = [version(n, issued_at=moment) for n, moment in enumerate(moments, 1)]
    journal.save(Credential(SPEC, versions=tuple(numbered)), None)
    found = look(tmp_path, "SELECT number FROM versions ORDER BY issued_at")
    assert [number for (number,) in found] == [3, 2, 1, 4]


def test_open_orders_are_loaded_and_receipts_are_kept(journal: Journal) -> None:
    saved = journal.save(Credential(SPEC, orders=(order("z"), order("a"))), None)
    assert journal.load(SPEC)[0].orders == (order("z"), order("a"))
    finished = replace(order("z"), state=OrderState.DONE, finished_at=NOW)
    saved = journal.save(saved.with_order("z", state=OrderState.DONE, finished_at=NOW), None)
    assert journal.load(SPEC)[0].orders == (order("a"),)
    assert journal.order("z") == ("genai", finished)
    assert journal.order("never") is None
    # The record as the writer holds it still shows the finished one; saving again is harmless,
    # even after somebody else's load.
    assert journal.save(saved, None).orders == (finished, order("a"))


def test_a_save_writes_only_what_changed(journal: Journal, tmp_path: Path) -> None:
    saved = journal.save(Credential(SPEC, versions=tuple(map(version, range(1, 4)))), None)
    look(
        tmp_path,
        "CREATE TRIGGER watch AFTER UPDATE ON versions WHEN new.number <> 2"
        " BEGIN SELECT RAISE(ABORT, 'written without need'); END",
    )
    saved = journal.save(saved.with_version(2, stage=Stage.PENDING), None)
    with pytest.raises(StoreFailed, match="without need"):
        journal.save(saved.with_version(3, stage=Stage.PENDING), None)


def test_an_older_memory_does_not_hide_a_change(journal: Journal, url: str) -> None:
    first = journal.save(Credential(SPEC, versions=(version(1),)), None)
    with closing(Journal.open(url)) as other:
        second = other.save(other.load(SPEC)[0].with_version(1, successes=5), None)
    journal.save(second.with_version(1, successes=first.versions[0].successes), None)
    assert journal.load(SPEC)[0].versions[0].successes == 0


def test_a_name_that_was_forgotten_starts_anew(journal: Journal) -> None:
    done = order("done", state=OrderState.DONE)
    saved = journal.save(
        Credential(SPEC, versions=(version(),), orders=(order("open"), done)),
        None,
        events=[Event(NOW, "genai", "requested")],
    )
    journal.save(Credential(Spec("other", "static")), None)
    lease = taken(journal, "me")
    journal.forget("genai")
    assert journal.names() == ["other"]
    assert journal.load(SPEC) == (Credential(SPEC, numbered=version().number), None)
    assert (journal.order("open"), journal.order("done")) == (None, ("genai", done))
    assert [event.kind for event in journal.events("genai")] == ["requested"]
    with pytest.raises(Conflict):
        journal.save(saved, None)
    with pytest.raises(Conflict):
        journal.save(Credential(SPEC), None, lease=lease, now=NOW)
    assert journal.save(Credential(SPEC, versions=(version(),)), None).revision == 1
    assert taken(journal, "me too").fence > lease.fence


def test_numbers_of_a_forgotten_name_are_not_used_again(journal: Journal) -> None:
    """Clients compare them: an ETag or `after` of before must not fit another secret."""
    journal.save(Credential(SPEC, versions=(replace(version(), number=7),)), None)
    for _ in range(2):
        journal.forget("genai")
        assert journal.load(SPEC)[0].next_number == 8
        journal.save(journal.load(SPEC)[0], None)
        assert journal.load(SPEC)[0].next_number == 8


def test_history_is_written_with_its_record_or_not_at_all(journal: Journal) -> None:
    first: Event = full(Event, 1, name="genai")
    saved = journal.save(Credential(SPEC), None, events=[first])
    with pytest.raises(Conflict):
        journal.save(replace(saved, revision=7), None, events=[Event(NOW, "genai", "lie")])
    more = [Event(NOW, "other", "seen"), *(Event(NOW, "genai", f"e{n}") for n in range(5))]
    journal.save(saved, None, events=more)
    assert journal.events() == [first, *more]
    assert journal.events("genai", limit=2) == more[-2:]
    assert journal.events("genai")[0] == first


def test_one_key_stands_for_one_order(journal: Journal) -> None:
    assert journal.idempotent("k", "genai", "w", "o1", NOW) == "o1"
    assert journal.idempotent("k", "genai", "w", "o2", NOW + timedelta(hours=24)) == "o1"
    assert journal.idempotent("k", "other", "w", "o3", NOW) == "o3"
    assert journal.idempotent("k", "genai", "w", "o4", NOW + timedelta(days=3)) == "o4"


def test_a_key_stands_for_the_order_that_its_wish_joined(journal: Journal) -> None:
    assert journal.idempotent("k", "genai", "w", "o1", NOW) == "o1"
    assert journal.idempotent("k", "other", "w", "o2", NOW) == "o2"
    journal.stands_for("k", "genai", "o3")
    assert journal.idempotent("k", "genai", "w", "o4", NOW) == "o3"
    assert journal.idempotent("k", "other", "w", "o5", NOW) == "o2"


def test_a_key_is_bound_to_the_wish_that_claimed_it(journal: Journal) -> None:
    assert journal.idempotent("k", "genai", "rotate", "o1", NOW) == "o1"
    with pytest.raises(Conflict, match="another wish"):
        journal.idempotent("k", "genai", "revoke", "o2", NOW)
    assert journal.idempotent("k", "genai", "rotate", "o3", NOW) == "o1"


def test_the_installation_keeps_its_name(journal: Journal, url: str) -> None:
    assert len(journal.installation) == 32
    with closing(Journal.open(url)) as again, closing(Journal.open(f"{url}.other")) as other:
        assert again.installation == journal.installation != other.installation


TEXTS = [
    (kind, field.name)
    for kind in (Version, Order, Credential, Event)
    for field in fields(kind)
    if "str" in str(typing.get_type_hints(kind)[field.name])
]


@pytest.mark.parametrize(("kind", "field"), TEXTS)
def test_no_column_takes_a_secret(
    journal: Journal, tmp_path: Path, kind: type[Any], field: str
) -> None:
    secret: Any = {field: Secret(CANARY)}
    made = Credential(SPEC, **(secret if kind is Credential else {}))
    if kind is Version:
        made = replace(made, versions=(replace(version(), **secret),))
    if kind is Order:
        made = replace(made, orders=(replace(order(), **secret),))
    line = replace(Event(NOW, "genai", "requested"), **(secret if kind is Event else {}))
    with pytest.raises(Error) as refused:
        journal.save(made, None, events=[line])
    assert CANARY not in repr(refused.value)
    assert CANARY not in str(refused.value.__cause__)
    assert journal.revision("genai") == 0
    assert all(CANARY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_no_observation_takes_a_secret(journal: Journal) -> None:
    mask: Any = Secret(CANARY)
    seen = Observed(NOW, (KeySeen("h", "ACTIVE", (SlotSeen("key-one", "ACTIVE", mask),)),))
    with pytest.raises(TypeError) as refused:
        journal.save(Credential(SPEC), seen)
    assert CANARY not in repr(refused.value)


# What is forgotten.


def test_a_version_that_left_the_record_leaves_the_journal(journal: Journal, url: str) -> None:
    three = journal.save(replace(Credential(SPEC), versions=tuple(map(version, (1, 2, 3)))), None)
    left = journal.save(replace(three, versions=three.versions[2:]), None)
    assert journal.load(SPEC)[0] == left
    with closing(Journal.open(url)) as another:
        assert [v.number for v in another.load(SPEC)[0].versions] == [3]
        fourth = replace(left, versions=(version(4),))
        another.save(fourth, None)
    assert [v.number for v in journal.load(SPEC)[0].versions] == [4]


def test_receipts_are_forgotten_by_age_and_by_number_but_no_open_order(journal: Journal) -> None:
    ages = {"old": NOW - records.RECEIPTS_KEPT_FOR - MINUTE, "new": NOW}
    done = [
        replace(order(f"{age} {state}"), recorded_at=at, state=state)
        for age, at in ages.items()
        for state in (OrderState.DONE, OrderState.WAITING)
    ]
    many = [
        replace(order(str(n)), recorded_at=NOW, state=OrderState.FAILED)
        for n in range(records.RECEIPTS_KEPT)
    ]
    journal.save(replace(Credential(SPEC), orders=tuple(done)), None)
    journal.save(replace(Credential(replace(SPEC, name="other")), orders=tuple(many)), None)
    journal.prune(NOW)
    assert [bool(journal.order(o.id)) for o in done] == [False, True, True, True]
    crowd = journal.load(replace(SPEC, name="other"))[0]
    more = replace(order("one more"), recorded_at=NOW, state=OrderState.DONE)
    journal.save(replace(crowd, orders=(more,)), None)
    journal.prune(NOW)
    assert [bool(journal.order(i)) for i in ("0", "1", "one more")] == [False, True, True]


def test_whereabouts_are_kept_for_many_at_once_and_written_only_if_they_changed(
    journal: Journal,
) -> None:
    journal.remember({"genai": "here", "vertex": "there"})
    journal.remember({"genai": "here", "vertex": "elsewhere"})
    assert [journal.whereabouts(name) for name in ("genai", "vertex", "nobody")] == [
        "here",
        "elsewhere",
        None,
    ]
