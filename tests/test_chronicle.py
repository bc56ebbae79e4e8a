"""What is worth an entry of the history: an English sentence, what was done, and the entries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman import chronicle
from keyman.core import transitions
from keyman.core.model import Credential, Observed, OrderKind, OrderState, Place, Stage, Verdict
from keyman.core.news import Record, news
from keyman.core.steps import (
    Abandon,
    Accept,
    Drop,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Retire,
    Step,
    Verify,
)
from keyman.db.journal import Event
from tests.credentials import (
    DAY,
    HOURLY,
    NOW,
    at,
    credential,
    empty,
    looks,
    order,
    pending,
    seen,
    version,
    wish,
)

CURRENT = version(1, Stage.CURRENT)
FILLED = pending(2)
READY = pending(2, verified_at=at(-1))
OVER = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
OFF = version(2, Stage.RETIRED, "two", retired_at=at(-60))
TOOK = timedelta(seconds=2)
ROTATE = order(OrderKind.ROTATE, by="uid 1000 (ada)", reason="audit")
SAYS = "the provider shows it so"
GIVEN_UP = Abandon(FILLED, "never accepted")
FOUND = Accept(OVER, Stage.RETIRED, SAYS)


def failed(c: Credential, step: str) -> Credential:
    return transitions.failed(c, step, "no answer", "look", NOW)


def examined(verdict: Verdict) -> tuple[Credential, Credential]:
    """As a client's report led to it."""
    c = credential(replace(CURRENT, reported_at=NOW))
    return c, transitions.examined(c, c.versions[0], verdict, None, NOW)


def told(
    before: Credential, after: Credential, step: Step, picture: Observed | None = None
) -> tuple[Event, ...]:
    """Entries, as the rotator has them written."""
    entries = chronicle.of_step(before, after, step, NOW, by="daemon", took=TOOK)
    after, heard = news(Record(before, picture), Record(after, picture), NOW)
    return chronicle.with_news(entries, heard, by="daemon", mints=before.spec.mints)


WELL: dict[str, Any] = {"told": "ok"}
QUIET = seen(looks(CURRENT), empty())

EVICTED = version(2, Stage.REVOKED, "two")
ISSUED = transitions.issued(
    credential(CURRENT, EVICTED, wish(3), **WELL),
    wish(3),
    handle="key",
    mask="mask-3",
    expires_at=None,
    fingerprint="hmac:0",
    now=NOW,
)

TABLE: list[tuple[str, Credential, Credential, Step, list[str]]] = [
    (
        "looking is nothing",
        credential(CURRENT, **WELL),
        credential(CURRENT, **WELL),
        Observe(("key",)),
        [],
    ),
    (
        "nor is dropping what is dead",
        credential(CURRENT, **WELL),
        credential(CURRENT, **WELL),
        Drop(OFF),
        [],
    ),
    (
        "a wish",
        credential(CURRENT, **WELL),
        credential(CURRENT, wish(2), **WELL),
        Request("two", "key", at(90 * DAY), None, "rotate_before 60d"),
        ["request 2 two by daemon: rotate_before 60d"],
    ),
    (
        "a new secret, and the end of the one that its slot held",
        credential(CURRENT, EVICTED, wish(3), **WELL),
        ISSUED,
        Issue(wish(3)),
        ["issue 3 two by daemon, 2.0 s", "revoked 2 two by daemon"],
    ),
    (
        "one probe of several",
        credential(CURRENT, FILLED, **WELL),
        credential(CURRENT, replace(FILLED, successes=1), **WELL),
        Verify(FILLED),
        [],
    ),
    (
        "the probe that settled it",
        credential(CURRENT, FILLED, **WELL),
        credential(CURRENT, READY, **WELL),
        Verify(FILLED),
        ["verify 2 two by daemon, 2.0 s"],
    ),
    (
        "a promotion is told once, although people hear of it too",
        credential(CURRENT, READY, **WELL),
        transitions.promoted(credential(CURRENT, READY, **WELL), READY, NOW),
        Promote(READY),
        ["promote 2 two by daemon, 2.0 s"],
    ),
    (
        "a promotion that found nothing in the store",
        credential(CURRENT, READY, **WELL),
        transitions.abandoned(credential(CURRENT, READY, **WELL), Abandon(READY, "lost")),
        Promote(READY),
        ["secret lost 2 two by daemon, 2.0 s"],
    ),
    (
        "switched off",
        credential(OVER, NEWER, **WELL),
        transitions.retired(credential(OVER, NEWER, **WELL), Place("key", "one"), OVER, NOW),
        Retire(Place("key", "one"), OVER),
        ["retire 1 one by daemon, 2.0 s"],
    ),
    (
        "found switched off",
        credential(OVER, NEWER, **WELL),
        transitions.accepted(credential(OVER, NEWER, **WELL), FOUND, NOW),
        FOUND,
        [f"found retired 1 one by daemon: {SAYS}"],
    ),
    (
        "given up",
        credential(CURRENT, FILLED, **WELL),
        transitions.abandoned(credential(CURRENT, FILLED, **WELL), GIVEN_UP),
        GIVEN_UP,
        ["abandon 2 two by daemon: never accepted"],
    ),
    (
        "a failure, and no second word for it",
        credential(CURRENT, wish(2), **WELL),
        failed(credential(CURRENT, wish(2), **WELL), "issue"),
        Issue(wish(2)),
        ["issue failed 2 two by daemon: no answer, 2.0 s"],
    ),
    (
        "an order that came to nothing by it",
        credential(CURRENT, orders=(ROTATE,), **WELL),
        credential(
            CURRENT,
            orders=(replace(ROTATE, state=OrderState.FAILED, error="no such slot"),),
            **WELL,
        ),
        Observe(("key",)),
        ["failed rotate by uid 1000 (ada): audit; no such slot"],
    ),
    ("an examination that finds it well", *examined(Verdict.ACCEPTED), Examine(CURRENT), []),
    ("one that teaches nothing", *examined(Verdict.SILENT), Examine(CURRENT), []),
]


@pytest.mark.parametrize(("sentence", "before", "after", "step", "entries"), TABLE)
def test_what_is_worth_an_entry(
    sentence: str, before: Credential, after: Credential, step: Step, entries: list[str]
) -> None:
    assert [said(event) for event in told(before, after, step, QUIET)] == entries


def said(event: Event) -> str:
    which = [str(one) for one in (event.version, event.slot) if one is not None]
    why = "; ".join(one for one in (event.reason, event.detail) if one)
    by = f" by {event.by}" if event.by else ""
    took = f", {event.took.total_seconds()} s" if event.took is not None else ""
    return " ".join([event.kind, *which]) + by + (f": {why}" if why else "") + took


def test_an_examination_that_finds_it_dead() -> None:
    before, after = examined(Verdict.REFUSED)
    entries = [said(one) for one in told(before, after, Examine(CURRENT), QUIET)]
    assert entries[0] == "examine 1 one by daemon, 2.0 s"
    assert "drift 1 one: the provider refuses it" in entries


def test_what_somebody_else_did_is_not_called_ours() -> None:
    before = credential(CURRENT, **WELL)
    gone = seen(looks(CURRENT, "REVOKED"), empty())
    _, heard = news(Record(before, QUIET), Record(before, gone), NOW)
    entries = chronicle.with_news((), heard, by="daemon", mints=False)
    assert [(one.kind, one.by) for one in entries if one.kind == "drift"] == [("drift", "")]
    assert all(one.by == "" for one in entries)


@pytest.mark.parametrize("kind", ["issue", "verify", "promote"])
def test_a_token_an_hour_is_nothing(kind: str) -> None:
    old, new = version(1, Stage.CURRENT, None), pending(2, None, verified_at=at(-1))
    steps: dict[str, Step] = {"issue": Issue(new), "verify": Verify(new), "promote": Promote(new)}
    before = credential(old, new, spec=HOURLY, told="ok")
    assert told(before, transitions.promoted(before, new, NOW), steps[kind]) == ()


def test_a_token_that_fails_is_something() -> None:
    old = version(1, Stage.CURRENT, None)
    before = credential(old, spec=HOURLY, told="ok")
    after = failed(before, "issue")
    assert [one.kind for one in told(before, after, Issue(wish(2, None)))] == ["issue failed"]


def test_a_wish_as_it_was_received() -> None:
    leaked = order(OrderKind.REVOKE, by="uid 0", reason="pasted", targets=(1, 3))
    ordered = chronicle.of_order("genai", leaked)
    assert said(ordered) == "ordered revoke by uid 0: pasted; version 1 version 3"
    refused = chronicle.of_order("genai", leaked, "refused", "there is no version 3")
    assert said(refused) == "refused revoke by uid 0: pasted; there is no version 3"
    assert ordered.at == leaked.recorded_at
