"""What is told: an English sentence, the record before and after, and what people hear of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core import transitions
from keyman.core.model import Credential, Observed, OrderKind, Place, Stage, Version
from keyman.core.news import KINDS, OF_RECORDS, News, Record, news
from keyman.core.steps import Accept
from tests.credentials import (
    BY_HAND,
    DAY,
    HOURLY,
    KEYLESS,
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
OLD = version(1, Stage.PREVIOUS)
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
OVER = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
OFF = version(1, Stage.RETIRED, retired_at=at(-60))
QUIET = seen(looks(CURRENT), empty())
BOTH = seen(looks(OLD), looks(NEWER))
LEFT = replace(NEWER, stage=Stage.PREVIOUS, replaced_at=at(-30))
CARRIED = version(3, Stage.CURRENT, attempt=OVER.attempt, mask=OVER.mask, carries=1)
CARRYING = seen(looks(CARRIED), looks(LEFT))
LET_GO = Accept(OVER, Stage.RETIRED, "a later version has its place")
LEAKED = replace(CURRENT, compromised_at=at(-1), revoke_first=True)
ENDING = replace(CURRENT, expires_at=at(20 * DAY))
OWN = version(1, Stage.CURRENT, None)
OLD_KEY = version(1, Stage.PREVIOUS, None)
CARRIED_KEY = version(3, Stage.CURRENT, None, attempt="wish-1", carries=1)
JUST_NOW = replace(CURRENT, promoted_at=at(-0.2))
REVOKED = seen(looks(CURRENT, "REVOKED"), empty())
ENDLESS = replace(OWN, expires_at=None)
FINE = replace(OWN, expires_at=at(80 * DAY) + timedelta(milliseconds=700))
OF_KEYS: dict[str, Any] = {"spec": KEYLESS, "home": None}
OFF_FOR_GOOD = replace(OFF, stage=Stage.REVOKED, revoked_at=at(-30))
GIVEN_UP = replace(FILLED, stage=Stage.REVOKED, given_up="not accepted")
BOTH_OFF = seen(looks(OLD, "INACTIVE"), looks(NEWER))
SWITCHED = order(OrderKind.DEACTIVATE, slot="one")
RETURNING = wish(3, "one", carries=1, attempt="wish-1")
LATER = replace(CURRENT, expires_at=at(81 * DAY))
DEAD_KEY = replace(ENDLESS, dead_at=at(-1))
THRICE = [
    version(n, Stage.REVOKED, "two", promoted_at=None, requested_at=at(-n), given_up="not accepted")
    for n in (4, 3, 2)
]


def seen_alone(v: Version, **more: Any) -> Observed:
    """A key of its own, as the provider shows it."""
    return seen(looks(v, **more), owner=None, epoch=0)


def well(*versions: Version, **more: Any) -> Credential:
    return credential(*versions, **{"told": "ok"} | more)


TABLE: list[tuple[str, Record, Record, list[tuple[str, int | None, str]]]] = [
    (
        "nothing happened",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT), QUIET),
        [],
    ),
    (
        "a rotation is under way",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, FILLED), QUIET),
        [],
    ),
    (
        "a version was promoted",
        Record(well(CURRENT, FILLED), QUIET),
        Record(transitions.promoted(well(CURRENT, FILLED), FILLED, NOW), QUIET),
        [("promoted", 2, "")],
    ),
    (
        "its overlap is over: the old one was switched off",
        Record(well(OVER, NEWER), BOTH),
        Record(transitions.retired(well(OVER, NEWER), Place("key", "one"), OVER, NOW), BOTH),
        [("retired", 1, "")],
    ),
    (
        "a rollback carries its secret on under another number: nothing was switched off",
        Record(well(OVER, LEFT, CARRIED), CARRYING),
        Record(transitions.accepted(well(OVER, LEFT, CARRIED), LET_GO, NOW), CARRYING),
        [],
    ),
    (
        "what a probe was refused shows later why: that is one change",
        Record(well(replace(CURRENT, dead_at=at(-1)), told="down"), QUIET),
        Record(well(replace(CURRENT, dead_at=at(-1)), told="down"), REVOKED),
        [],
    ),
    (
        "found dead by two probes before pictures counted: the picture is the reason all the same",
        Record(well(JUST_NOW, told="down"), REVOKED),
        Record(well(replace(JUST_NOW, dead_at=NOW), told="down"), REVOKED),
        [("drift", 1, "its slot is REVOKED")],
    ),
    (
        "somebody destroyed what a rollback is about to bring back",
        Record(well(OFF, NEWER, RETURNING), seen(looks(OFF, "INACTIVE"), looks(NEWER))),
        Record(well(OFF, NEWER, RETURNING), seen(looks(OFF, "REVOKED"), looks(NEWER))),
        [("drift", 1, "its slot is REVOKED")],
    ),
    (
        "one key was deleted whose secret has two numbers since a rollback: that is one change",
        Record(well(OLD_KEY, CARRIED_KEY, **OF_KEYS), seen_alone(OWN)),
        Record(well(OLD_KEY, CARRIED_KEY, **OF_KEYS), seen_alone(OWN, state="DELETED")),
        [("drift", 3, "its key is DELETED")],
    ),
    (
        "a leaked version was destroyed",
        Record(well(replace(OLD, compromised_at=NOW), NEWER), BOTH),
        Record(
            transitions.revoked(well(replace(OLD, compromised_at=NOW), NEWER), OLD, NOW),
            BOTH,
        ),
        [("revoked", 1, "leaked")],
    ),
    (
        "its slot was filled again: what was in it is destroyed",
        Record(well(replace(OFF, stage=Stage.REVOKED), NEWER), BOTH),
        Record(well(replace(OFF, stage=Stage.REVOKED, revoked_at=NOW), NEWER), BOTH),
        [("revoked", 1, "")],
    ),
    (
        "a token that is of no use any more is not called revoked",
        Record(well(CURRENT, FILLED, spec=HOURLY), None),
        Record(transitions.promoted(well(CURRENT, FILLED, spec=HOURLY), FILLED, NOW), None),
        [("promoted", 2, "")],
    ),
    (
        "a new version came to nothing",
        Record(well(CURRENT, FILLED), QUIET),
        Record(well(CURRENT, replace(FILLED, stage=Stage.REVOKED, given_up="not accepted")), QUIET),
        [("given-up", 2, "not accepted")],
    ),
    (
        "what came to nothing is destroyed as well: that it did is known",
        Record(well(CURRENT, GIVEN_UP), QUIET),
        Record(well(CURRENT, replace(GIVEN_UP, revoked_at=NOW)), QUIET),
        [("revoked", 2, "")],
    ),
    (
        "a version came and went between two records: all of it is told",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, replace(GIVEN_UP, revoked_at=NOW)), QUIET),
        [("revoked", 2, ""), ("given-up", 2, "not accepted")],
    ),
    (
        "the secret of a retired version is dropped: it is retired as before",
        Record(well(OFF, NEWER), BOTH_OFF),
        Record(transitions.dropped(well(OFF, NEWER), OFF), BOTH_OFF),
        [],
    ),
    (
        "the secret of a destroyed version is dropped: it is destroyed as before",
        Record(well(OFF_FOR_GOOD, NEWER), BOTH_OFF),
        Record(transitions.dropped(well(OFF_FOR_GOOD, NEWER), OFF_FOR_GOOD), BOTH_OFF),
        [],
    ),
    (
        "a key that somebody else made was adopted: its end is news to nobody",
        Record(Credential(KEYLESS), seen_alone(OWN)),
        Record(credential(OWN, **OF_KEYS), seen_alone(OWN)),
        [("promoted", 1, "")],
    ),
    (
        "a new version ends when its provider said, not when it was wished",
        Record(well(OWN, pending(2, None), **OF_KEYS), seen_alone(OWN)),
        Record(
            well(
                replace(OLD_KEY, replaced_at=NOW),
                version(2, Stage.CURRENT, None, promoted_at=NOW),
                **OF_KEYS,
            ),
            seen_alone(OWN),
        ),
        [("promoted", 2, "")],
    ),
    # What somebody else did.
    (
        "somebody switched off what lookups hand out",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, "INACTIVE"), empty())),
        [("drift", 1, "its slot is INACTIVE")],
    ),
    (
        "that is told once, however often it is seen",
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, "INACTIVE"), minutes=-5)),
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, "INACTIVE"))),
        [],
    ),
    (
        "it grew worse",
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, "INACTIVE"), minutes=-5)),
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, "REVOKED"))),
        [("drift", 1, "its slot is REVOKED")],
    ),
    (
        "somebody filled the slot in use",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, told="due"), seen(looks(CURRENT, mask="another"), empty())),
        [("drift", 1, "its slot holds another secret")],
    ),
    (
        "somebody revoked a standby",
        Record(well(OFF, NEWER), seen(looks(OFF, "INACTIVE"), looks(NEWER))),
        Record(well(OFF, NEWER), seen(looks(OFF, "REVOKED"), looks(NEWER))),
        [("drift", 1, "its slot is REVOKED")],
    ),
    (
        "somebody gave a key another end",
        Record(well(OWN, **OF_KEYS), seen_alone(OWN)),
        Record(
            transitions.observed_now(
                well(OWN, **OF_KEYS), seen_alone(OWN, expires_at=at(70 * DAY))
            ),
            seen_alone(OWN, expires_at=at(70 * DAY)),
        ),
        [("drift", 1, "it ends at 2027-01-30T12:00:00Z now, not at 2027-02-09T12:00:00Z")],
    ),
    (
        "or an end at all",
        Record(well(ENDLESS, **OF_KEYS), seen_alone(ENDLESS)),
        Record(
            transitions.observed_now(well(ENDLESS, **OF_KEYS), seen_alone(OWN)),
            seen_alone(OWN),
        ),
        [("drift", 1, "it ends at 2027-02-09T12:00:00Z now, and had no end")],
    ),
    (
        "it has an end and works again, which was refused: the end is news of its own",
        Record(well(DEAD_KEY, told="down", **OF_KEYS), seen_alone(ENDLESS)),
        Record(well(OWN, told="down", **OF_KEYS), seen_alone(OWN)),
        [
            ("drift", 1, "it ends at 2027-02-09T12:00:00Z now, and had no end"),
            ("ok", None, ""),
        ],
    ),
    (
        "a key without an end does not run out: that is no trouble",
        Record(well(OWN, **OF_KEYS), seen_alone(OWN)),
        Record(well(ENDLESS, **OF_KEYS), seen_alone(ENDLESS)),
        [],
    ),
    (
        "a slot's secret has the end it came with, whatever the record said before",
        Record(well(CURRENT), QUIET),
        Record(well(LATER), seen(looks(LATER), empty())),
        [],
    ),
    (
        "the clock was set ahead: a token ends as much later",
        Record(well(OWN, spec=HOURLY, home=None), None),
        Record(
            transitions.clock_moved(well(OWN, spec=HOURLY, home=None), timedelta(minutes=5)), None
        ),
        [],
    ),
    (
        "it is shown in whole seconds: that is no other end",
        Record(well(FINE, **OF_KEYS), seen_alone(FINE)),
        Record(transitions.observed_now(well(FINE, **OF_KEYS), seen_alone(OWN)), seen_alone(OWN)),
        [],
    ),
    (
        "a probe found that the provider refuses it",
        Record(well(CURRENT), QUIET),
        Record(well(replace(CURRENT, dead_at=NOW)), QUIET),
        [
            ("drift", 1, "the provider refuses it"),
            ("down", 1, "the provider refuses the current secret"),
        ],
    ),
    (
        "an old version is off after its overlap: that was us, the answer was lost",
        Record(well(OVER, NEWER), BOTH),
        Record(well(OVER, NEWER), seen(looks(OVER, "INACTIVE"), looks(NEWER))),
        [],
    ),
    (
        "the same before the overlap is over: that was somebody else",
        Record(well(OLD, NEWER), BOTH),
        Record(well(OLD, NEWER), seen(looks(OLD, "INACTIVE"), looks(NEWER))),
        [("drift", 1, "its slot is INACTIVE")],
    ),
    (
        "unless it was ordered",
        Record(well(OLD, NEWER, orders=(order(OrderKind.DEACTIVATE, slot="one"),)), BOTH),
        Record(
            well(OLD, NEWER, orders=(order(OrderKind.DEACTIVATE, slot="one"),)),
            seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        ),
        [],
    ),
    (
        "an order for the other slot is no excuse",
        Record(well(OLD, NEWER, orders=(replace(SWITCHED, slot="two"),)), BOTH),
        Record(well(OLD, NEWER, orders=(replace(SWITCHED, slot="two"),)), BOTH_OFF),
        [("drift", 1, "its slot is INACTIVE")],
    ),
    (
        "the order is done, and nothing else is new: it was still ours",
        Record(well(OLD, NEWER, orders=(SWITCHED,)), BOTH_OFF),
        Record(well(OLD, NEWER), BOTH_OFF),
        [],
    ),
    (
        "it is off at the very moment at which its overlap ends",
        Record(well(replace(OLD, replaced_at=at(-DAY)), NEWER), BOTH),
        Record(well(replace(OLD, replaced_at=at(-DAY)), NEWER), BOTH_OFF),
        [],
    ),
    (
        "what we retired is shown as off by the next look",
        Record(well(OFF, NEWER), BOTH),
        Record(well(OFF, NEWER), BOTH_OFF),
        [],
    ),
    (
        "a leaked version is gone: that is what was wanted",
        Record(well(replace(OLD, compromised_at=NOW), NEWER), BOTH),
        Record(
            well(replace(OLD, compromised_at=NOW), NEWER), seen(looks(OLD, "REVOKED"), looks(NEWER))
        ),
        [],
    ),
    (
        "and what is to be revoked first, before there is another",
        Record(well(LEAKED, told="down"), QUIET),
        Record(well(LEAKED, told="down"), seen(looks(LEAKED, "REVOKED"), empty())),
        [],
    ),
    (
        "a secret that expired is gone of itself",
        Record(well(replace(OLD, expires_at=at(-1)), NEWER), BOTH),
        Record(
            well(replace(OLD, expires_at=at(-1)), NEWER),
            seen(looks(OLD, "EXPIRED", expires_at=at(-1)), looks(NEWER)),
        ),
        [],
    ),
    # How it is.
    (
        "a step failed",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, failed_step="observe", failures=1, last_error="throttled"), QUIET),
        [("failing", 1, "throttled")],
    ),
    (
        "it failed again: that is known",
        Record(
            well(
                CURRENT, told="failing", failed_step="observe", failures=1, last_error="throttled"
            ),
            QUIET,
        ),
        Record(
            well(CURRENT, told="failing", failed_step="observe", failures=2, last_error="still"),
            QUIET,
        ),
        [],
    ),
    (
        "it goes on failing, and little time is left",
        Record(
            well(ENDING, told="failing", failed_step="observe", failures=3, last_error="no"),
            seen(looks(ENDING)),
        ),
        Record(
            well(ENDING, told="failing", failed_step="observe", failures=4, last_error="no"),
            seen(looks(ENDING)),
        ),
        [("at-risk", 1, "no")],
    ),
    (
        "it fails, and whoever refused gave no reason",
        Record(well(CURRENT), QUIET),
        Record(well(CURRENT, failed_step="observe", failures=1, last_error=""), QUIET),
        [("failing", 1, "")],
    ),
    (
        "three versions in a row came to nothing: the last says why",
        Record(well(CURRENT, *THRICE[:2]), QUIET),
        Record(well(CURRENT, *THRICE), QUIET),
        [
            ("given-up", 2, "not accepted"),
            ("failing", 1, "new versions came to nothing, the last because not accepted"),
        ],
    ),
    (
        "it goes well again",
        Record(well(CURRENT, told="failing", failed_step="observe", failures=3), QUIET),
        Record(well(CURRENT, told="failing"), QUIET),
        [("ok", None, "")],
    ),
    (
        "it goes well again in the middle of a rotation",
        Record(well(CURRENT, FILLED, told="failing", failures=3), QUIET),
        Record(well(CURRENT, FILLED, told="failing"), QUIET),
        [("ok", None, "")],
    ),
    (
        "nothing was done and time went by: the secret expired",
        Record(well(replace(CURRENT, expires_at=NOW), spec=BY_HAND), None),
        Record(well(replace(CURRENT, expires_at=NOW), spec=BY_HAND), None),
        [("down", 1, "the current secret expired")],
    ),
    (
        "the first version is on its way",
        Record(Credential(BY_HAND), None),
        Record(Credential(BY_HAND), None),
        [],
    ),
    (
        "the first version fails to come",
        Record(Credential(HOURLY), None),
        Record(Credential(HOURLY, failures=1, last_error="no such account"), None),
        [("down", None, "no such account")],
    ),
    (
        "tokens are forgotten at a start, and asked for anew at once",
        Record(well(CURRENT, spec=HOURLY), None),
        Record(well(replace(CURRENT, stored=False), spec=HOURLY), None),
        [],
    ),
    (
        "unless they were in trouble already: then it has become worse",
        Record(well(CURRENT, spec=HOURLY, told="failing"), None),
        Record(well(replace(CURRENT, stored=False), spec=HOURLY, told="failing"), None),
        [("down", 1, "the current secret is not in the store any more")],
    ),
    (
        "but a secret that the store lost is an outage",
        Record(well(CURRENT), QUIET),
        Record(well(replace(CURRENT, stored=False)), QUIET),
        [("down", 1, "the current secret is not in the store any more")],
    ),
    (
        "a new secret was put in where the last had expired",
        Record(well(replace(CURRENT, expires_at=NOW), spec=BY_HAND, told="down"), None),
        Record(
            transitions.promoted(
                well(replace(CURRENT, expires_at=NOW), FILLED, spec=BY_HAND, told="down"),
                FILLED,
                NOW,
            ),
            None,
        ),
        [("promoted", 2, ""), ("ok", None, "")],
    ),
]


@pytest.mark.parametrize(("sentence", "before", "after", "told"), TABLE, ids=[r[0] for r in TABLE])
def test_what_is_told(
    sentence: str, before: Record, after: Record, told: list[tuple[str, int | None, str]]
) -> None:
    saved, heard = news(before, after, NOW)
    assert [(one.what, one.version, one.reason) for one in heard] == told
    assert all(one.name == "genai" and one.at == NOW for one in heard)
    assert all(one.what in OF_RECORDS for one in heard)
    assert heard_again(saved, before, after.observed) == []


def heard_again(saved: Credential, before: Record, observed: Observed | None) -> list[News]:
    """Once it is saved, the same record brings no news."""
    record = Record(saved, observed)
    return list(news(record, record, NOW + timedelta(seconds=1))[1])


def test_the_table_tells_everything_there_is_to_tell() -> None:
    assert {what for _, _, _, told in TABLE for what, _, _ in told} == set(OF_RECORDS)


def test_mirrors_are_told_of_beside_records() -> None:
    assert {*KINDS} == {*OF_RECORDS, "mirror-failing", "mirror-ok"}
