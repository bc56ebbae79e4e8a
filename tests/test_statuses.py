"""Looking at every credential at once, again and again: what was not changed is not read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keyman.core.health import Next, coming
from keyman.core.model import Credential, Observed, OrderKind, OrderState, Spec, Stage
from keyman.db.journal import Journal
from keyman.errors import ConfigError
from keyman.views import credential_view
from tests.blank_journal import lay_down
from tests.credentials import (
    DAY,
    NOW,
    SPEC,
    at,
    credential,
    empty,
    looks,
    order,
    pending,
    seen,
    version,
)

CURRENT = version(1, Stage.CURRENT)
ON = seen(looks(CURRENT), empty())
OTHER = replace(SPEC, name="other")
Both = tuple[Journal, Journal]


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[Both]:
    """The same file, opened twice: by the agent, and by a command."""
    url = lay_down(tmp_path / "keyman.db")
    ours, theirs = Journal.open(url), Journal.open(url, migrate=False)
    yield ours, theirs
    ours.close()
    theirs.close()


def begun(journal: Journal) -> Credential:
    return journal.save(credential(CURRENT, revision=0), ON)


def all_of(journal: Journal, *specs: Spec) -> list[tuple[Credential, Observed | None]]:
    return journal.load_all(specs or (SPEC,))


def test_all_are_as_each_by_itself(journals: Both) -> None:
    ours, _ = journals
    begun(ours)
    assert all_of(ours, OTHER, SPEC) == [ours.load(OTHER), ours.load(SPEC)]


def test_what_nobody_wrote_is_not_read_again(journals: Both) -> None:
    ours, _ = journals
    begun(ours)
    (first,), (second,) = all_of(ours), all_of(ours)
    assert second[0].versions is first[0].versions
    assert second[1] is first[1]


def test_what_somebody_else_wrote_is(journals: Both) -> None:
    ours, theirs = journals
    begun(ours)
    all_of(ours)
    loaded, observed = theirs.load(SPEC)
    theirs.save(loaded.with_version(1, dead_at=NOW), observed)
    assert all_of(ours)[0][0].versions[0].dead_at == NOW


def test_what_was_saved_here_is_known_as_a_load_gives_it(journals: Both) -> None:
    """Finished orders are not part of a record that is loaded."""
    ours, theirs = journals
    saved = begun(ours)
    done = order(OrderKind.ROTATE, id="done", state=OrderState.DONE)
    ours.save(replace(saved, orders=(done, order(OrderKind.REVOKE, id="open"))), None)
    ((credential, observed),) = all_of(ours)
    assert [one.id for one in credential.orders] == ["open"]
    assert (credential, observed) == theirs.load(SPEC)


def test_what_was_forgotten_is_not_remembered(journals: Both) -> None:
    ours, theirs = journals
    begun(ours)
    all_of(ours)
    theirs.forget(SPEC.name)
    assert all_of(ours)[0][0].versions == ()
    ours.forget(SPEC.name)
    assert all_of(ours)[0][0].versions == ()


def test_a_changed_configuration_counts_at_once(journals: Both) -> None:
    ours, _ = journals
    begun(ours)
    all_of(ours)
    changed = replace(SPEC, policy=replace(SPEC.policy, overlap=at(DAY) - NOW))
    assert all_of(ours, changed)[0][0].spec is changed
    with pytest.raises(ConfigError, match="recorded with provider"):
        all_of(ours, replace(SPEC, provider="google"))


# What an answer says of each.


def test_what_comes_names_the_slot_that_it_is_about() -> None:
    old = version(1, Stage.PREVIOUS, replaced_at=at(-60))
    new = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
    ahead = coming(credential(old, new), seen(looks(old), looks(new)), NOW)
    assert [(one.step, one.slot, one.version) for one in ahead] == [
        ("retire", "one", 1),
        ("request", "one", None),
    ]
    assert coming(credential(CURRENT, pending(2)), ON, NOW) == [
        Next("promote", NOW, "version 2", "two", 2)
    ]


def test_an_answer_says_when_rotation_begins_and_which_versions_live() -> None:
    said = credential_view(credential(CURRENT, pending(2)), ON, NOW)
    assert said["current"]["issued_at"] == "2026-10-22T12:00:00Z"
    due = credential_view(credential(CURRENT), ON, NOW)
    assert due["current"]["due_at"] == due["next"]["at"] == due["coming"][0]["at"]
    assert [(one["version"], one["stage"]) for one in said["versions"]] == [
        (2, "pending"),
        (1, "current"),
    ]
    assert said["drift"] == []
    assert said["slots"][0]["issued_at"] == "2026-10-22T12:00:00Z"


def test_what_comes_is_told_soonest_first_and_not_before_a_rest_is_over() -> None:
    old = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
    new = version(2, Stage.CURRENT, "two", promoted_at=at(-2 * DAY))
    resting = credential(old, new, failures=1, failed_step="retire", retry_at=at(3))
    ahead = coming(resting, seen(looks(old), looks(new)), NOW)
    assert ahead[0].at == at(3)
    assert [one.at for one in ahead] == sorted(one.at for one in ahead)
