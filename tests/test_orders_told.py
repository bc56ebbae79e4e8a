"""Who is told no when something is wished, what a wish changes at once, and what it says of itself
while it is waited for: whole orders, since whoever waits goes by them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyman import errors
from keyman.core import orders
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderKind,
    OrderState,
    Place,
    Stage,
    Version,
)
from tests.credentials import (
    BY_HAND,
    CURRENT,
    DAY,
    KEYLESS,
    NOW,
    QUIET,
    SPEC,
    TOKENS,
    WISH,
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
from tests.ordering import BOTH_ON, FREE_AT, HELD, NEWER, OLD, recorded

# Who is told no, and why.

KEYED = replace(SPEC, key_id="key")
AWAY = wish(1, "one", handle=None)  # the first version of a key that is still to be made
ROTATING = order(OrderKind.ROTATE, id="first", state=OrderState.RUNNING)
RENEWING = order(OrderKind.NEW_KEY, id="first", state=OrderState.RUNNING)
RETURNING = order(OrderKind.ROLLBACK, id="first", state=OrderState.RUNNING, targets=(1,))
BACK = pending(3, "one", carries=1, attempt="wish-1", mask="mask-1")


@pytest.mark.parametrize(
    ("c", "wanted", "error", "message", "hint"),
    [
        pytest.param(
            Credential(KEYED),
            order(OrderKind.ROTATE),
            errors.NotAdopted,
            "genai has no version yet",
            errors.NotAdopted.default_hint,
            id="a key that was never adopted",
        ),
        pytest.param(
            Credential(BY_HAND),
            order(OrderKind.ROLLBACK),
            errors.NotAdopted,
            "genai has no version yet",
            "`keyman put genai` takes the first one",
            id="nothing was put yet",
        ),
        pytest.param(
            Credential(SPEC),
            order(OrderKind.ROTATE),
            errors.NoUsableSecret,
            "genai has no version yet",
            "the first one is made without an order: `keyman daemon`",
            id="the first one comes by itself",
        ),
        pytest.param(
            credential(version(1, Stage.CURRENT, None), spec=TOKENS),
            order(OrderKind.ROTATE, overlap=timedelta(minutes=5)),
            errors.UsageError,
            "genai has no overlap: a token works until its own end",
            "leave out --overlap",
            id="an overlap of tokens",
        ),
        pytest.param(
            credential(version(1, Stage.CURRENT, None), spec=KEYLESS),
            order(OrderKind.NEW_KEY),
            errors.UsageError,
            "genai has no key with slots",
            "every `keyman rotate genai` makes a new one",
            id="a new key where each rotation makes one",
        ),
        pytest.param(
            credential(CURRENT),
            order(OrderKind.ACTIVATE, slot="three"),
            errors.UsageError,
            "genai has no slot 'three'",
            "its slots: one, two",
            id="no such slot",
        ),
        pytest.param(
            credential(version(1, Stage.CURRENT, None), spec=KEYLESS),
            order(OrderKind.ACTIVATE, slot="one"),
            errors.UsageError,
            "genai has no slot 'one'",
            "its slots: none: its secrets can't be switched",
            id="no slots at all",
        ),
        pytest.param(
            credential(AWAY, home=None),
            order(OrderKind.ACTIVATE, slot="one"),
            errors.UsageError,
            "genai has no slot 'one'",
            "its slots: one, two",
            id="the key itself is still to be made",
        ),
        pytest.param(
            credential(OLD, NEWER, orders=(RETURNING,)),
            order(OrderKind.ROTATE),
            errors.Conflict,
            "genai: a rollback is under way",
            "wait until it is done",
            id="a rotation in the middle of a rollback",
        ),
        pytest.param(
            credential(OLD, NEWER, orders=(RETURNING,)),
            order(OrderKind.ROLLBACK),
            errors.Conflict,
            "genai: a rollback is under way",
            "wait until it is done",
            id="a rollback in the middle of another, which may go elsewhere",
        ),
        pytest.param(
            credential(OLD, NEWER, wish(3, "one", handle=None), orders=(RENEWING,)),
            order(OrderKind.ROLLBACK),
            errors.Conflict,
            "genai: a new-key is under way",
            "wait until it is done",
            id="a rollback while the new key is made",
        ),
    ],
)
def test_who_is_told_no_hears_why_and_what_to_do(
    c: Credential, wanted: Order, error: type[errors.Error], message: str, hint: str
) -> None:
    with pytest.raises(errors.Error) as told:
        orders.record(c, QUIET, wanted)
    assert type(told.value) is error
    assert (told.value.message, told.value.hint) == (message, hint)


# What an order changes as it is recorded.


def test_a_key_that_is_configured_and_adopted_takes_orders() -> None:
    c = credential(CURRENT, spec=KEYED)
    kept = order(OrderKind.ROTATE, from_version=1, from_slot="one")
    assert recorded(c, OrderKind.ROTATE, QUIET) == (
        replace(c, orders=(kept,), doubt_at=at(-1)),
        kept,
    )


def test_an_order_that_comes_before_the_first_version_replaces_none() -> None:
    first = replace(AWAY, handle="key")
    kept = order(OrderKind.ROTATE, state=OrderState.RUNNING)
    assert recorded(credential(first), OrderKind.ROTATE, QUIET)[1] == kept


def test_one_that_joins_what_does_not_rest_changes_nothing_at_all() -> None:
    c = credential(CURRENT, WISH, orders=(ROTATING,))
    assert recorded(c, OrderKind.ROTATE, QUIET, id="b", recorded_at=at(1)) == (c, ROTATING)


def test_whoever_joins_is_given_the_order_that_wishes_the_same() -> None:
    leak = order(OrderKind.REVOKE, id="leak", targets=(1,))
    c = credential(CURRENT, WISH, orders=(leak, ROTATING), retry_at=at(50))
    _, kept = recorded(c, OrderKind.ROTATE, QUIET, id="another")
    assert kept.id == ROTATING.id


def test_the_rotation_that_makes_way_for_a_rollback_says_so() -> None:
    waiting = order(OrderKind.ROTATE, id="first", recorded_at=at(-9))
    c = credential(OLD, NEWER, orders=(waiting,))
    after, kept = recorded(c, OrderKind.ROLLBACK, id="back")
    ended: dict[str, Any] = {"finished_at": at(-1), "error": "a rollback took its place"}
    assert after.orders == (replace(waiting, state=OrderState.FAILED, **ended), kept)


def test_a_secret_that_is_being_returned_to_was_seen_and_can_leak() -> None:
    back = wish(3, "one", carries=1, attempt="wish-1")
    after, kept = recorded(credential(OLD, NEWER, back), OrderKind.REVOKE, targets=(3,))
    assert kept.targets == (3,)
    assert [v.number for v in after.versions if v.compromised] == [1, 3]


def test_what_is_destroyed_already_does_not_leak_any_more() -> None:
    gone = replace(OLD, stage=Stage.REVOKED, revoked_at=at(-99), stored=False)
    carried = version(2, Stage.CURRENT, attempt="wish-1", carries=1)
    after, _ = recorded(credential(gone, carried), OrderKind.REVOKE, targets=(2,))
    assert after.versions == (gone, replace(carried, compromised_at=at(-1)))


@pytest.mark.parametrize(
    ("c", "slot"),
    [
        pytest.param(credential(CURRENT, WISH), "one", id="beside the one that is being filled"),
        pytest.param(credential(OLD, NEWER), "two", id="which lookups depend on"),
    ],
)
def test_a_slot_may_be_switched_on(c: Credential, slot: str) -> None:
    off = seen(looks(CURRENT, "INACTIVE"), looks(NEWER, "INACTIVE"))
    after, kept = recorded(c, OrderKind.ACTIVATE, off, slot=slot)
    assert after.orders == (kept,)
    assert (kept.slot, kept.state) == (slot, OrderState.RUNNING)


# What an order says of itself: all of it, since whoever waits goes by that.


def brought_up_to_date(c: Credential, o: Observed | None, was: Order) -> Order:
    before = replace(c, orders=(was,))
    after = orders.settled(before, o, NOW)
    assert after == replace(before, orders=after.orders), "nothing but the order may change"
    return after.orders[0]


# What they said before, which is no longer so.
STALE: dict[str, Any] = {"until": at(7), "error": "said before"}
ROTATE = order(OrderKind.ROTATE, from_version=1, from_slot="one", **STALE)
NEW_KEY = replace(ROTATE, kind=OrderKind.NEW_KEY)
OVER: dict[str, Any] = {"until": None, "error": None}
ONE_SLOT = replace(SPEC, slots=("one",))
ALONE = version(3, Stage.CURRENT, None, handle="three", promoted_at=at(-30))
BEFORE_IT = tuple(
    version(n, Stage.PREVIOUS, None, handle=f"h{n}", replaced_at=ago)
    for n, ago in ((1, at(-60)), (2, at(-30)))
)
TOKEN = version(1, Stage.PREVIOUS, None, expires_at=at(50))
FIRST = replace(ROTATE, from_version=None, from_slot=None)


@pytest.mark.parametrize(
    ("c", "o", "was", "changed"),
    [
        pytest.param(
            credential(CURRENT, WISH),
            QUIET,
            ROTATE,
            {"state": OrderState.RUNNING, **OVER},
            id="it has begun",
        ),
        pytest.param(
            credential(replace(AWAY, handle="key")),
            QUIET,
            FIRST,
            {"state": OrderState.RUNNING, **OVER},
            id="it has begun, and there is no current one",
        ),
        pytest.param(
            credential(OLD, NEWER, BACK, last_error="503"),
            BOTH_ON,
            replace(ROTATE, from_version=2),
            {"state": OrderState.RUNNING, "until": None, "error": "503"},
            id="it has begun, and waits for no overlap",
        ),
        pytest.param(
            credential(CURRENT, WISH),
            seen(looks(CURRENT), empty(state="DELETED")),
            ROTATE,
            {"state": OrderState.RUNNING, **OVER},
            id="it has begun where its slot is gone by now",
        ),
        pytest.param(
            credential(OLD, NEWER, last_error="503"),
            BOTH_ON,
            replace(ROTATE, from_version=2, state=OrderState.RUNNING),
            {"state": OrderState.WAITING, "until": at(DAY - 60), "error": "503"},
            id="it waits for the overlap",
        ),
        pytest.param(
            credential(*BEFORE_IT, ALONE, spec=KEYLESS, home=None),
            None,
            replace(ROTATE, from_version=3, from_slot=None),
            {"until": at(DAY - 30), "error": None},
            id="it waits for the longer one of two overlaps",
        ),
        pytest.param(
            credential(replace(OLD, replaced_at=at(-DAY)), NEWER),
            BOTH_ON,
            replace(ROTATE, from_version=2),
            OVER,
            id="the overlap is over in this moment",
        ),
        pytest.param(
            credential(CURRENT, last_error="503"),
            HELD,
            ROTATE,
            {"until": FREE_AT, "error": "503"},
            id="others use the slot, and something failed as well",
        ),
        pytest.param(
            credential(CURRENT, spec=ONE_SLOT),
            seen(looks(CURRENT)),
            replace(ROTATE, until=None),
            {
                "state": OrderState.FAILED,
                "finished_at": NOW,
                "error": "no slot of the API key can be filled again",
            },
            id="there is no slot to fill",
        ),
        pytest.param(
            credential(OLD, NEWER),
            BOTH_ON,
            NEW_KEY,
            {"until": at(DAY - 60), "error": None},
            id="a new key is not what was promoted since: that is in the old one",
        ),
    ],
)
def test_what_a_rotation_says_until_there_is_a_new_version(
    c: Credential, o: Observed | None, was: Order, changed: dict[str, Any]
) -> None:
    assert brought_up_to_date(c, o, was) == replace(was, **changed)


NEW_HOME = replace(NEWER, slot="one", handle="new")
DEAD = replace(OLD, stage=Stage.REVOKED, dead_at=at(-60))


@pytest.mark.parametrize(
    ("c", "was", "current", "until"),
    [
        pytest.param(credential(OLD, NEWER), ROTATE, NEWER, at(DAY - 60), id="both work"),
        pytest.param(credential(DEAD, NEWER), ROTATE, NEWER, None, id="the old one is dead"),
        pytest.param(credential(CURRENT), FIRST, CURRENT, None, id="the very first"),
        pytest.param(
            credential(CURRENT),
            replace(FIRST, kind=OrderKind.NEW_KEY),
            CURRENT,
            None,
            id="the very first, in the new key it makes anyway",
        ),
        pytest.param(
            credential(OLD, NEW_HOME, home="new"), NEW_KEY, NEW_HOME, at(DAY - 60), id="a new key"
        ),
        pytest.param(
            credential(TOKEN, version(2, Stage.CURRENT, None), spec=TOKENS),
            ROTATE,
            version(2, Stage.CURRENT, None),
            at(50),
            id="a token works until its own end",
        ),
    ],
)
def test_what_a_rotation_says_from_the_promotion_on(
    c: Credential, was: Order, current: Version, until: datetime | None
) -> None:
    assert brought_up_to_date(c, None, was) == replace(
        was,
        state=OrderState.DONE,
        to_version=current.number,
        to_slot=current.slot,
        promoted_at=current.promoted_at,
        finished_at=current.promoted_at,
        until=until,
        error=None,
    )


ROLLBACK = replace(RETURNING, from_version=2, from_slot="two", error="said before")
LEFT = replace(NEWER, stage=Stage.PREVIOUS, replaced_at=at(-0.5))
CAME_TO_NOTHING: dict[str, Any] = {"state": OrderState.FAILED, "finished_at": NOW}
NO_LONGER: dict[str, Any] = {
    **CAME_TO_NOTHING,
    "error": "the earlier version can no longer be used",
}
BEGUN = replace(BACK, requested_at=at(-1))
REFUSED = replace(BEGUN, stage=Stage.REVOKED, given_up="not accepted")


@pytest.mark.parametrize(
    ("c", "changed"),
    [
        pytest.param(
            credential(OLD, NEWER, BEGUN, last_error="503"),
            {"error": "503"},
            id="the secret is being proven",
        ),
        pytest.param(
            credential(OLD, LEFT, replace(BEGUN, stage=Stage.CURRENT, promoted_at=at(-0.5))),
            {
                "state": OrderState.DONE,
                "to_version": 3,
                "to_slot": "one",
                "promoted_at": at(-0.5),
                "finished_at": at(-0.5),
                "until": at(DAY - 0.5),
                "error": None,
            },
            id="it is current again",
        ),
        pytest.param(
            credential(OLD, NEWER, REFUSED),
            {**CAME_TO_NOTHING, "error": "not accepted"},
            id="it was not accepted",
        ),
        pytest.param(
            credential(OLD, NEWER, replace(BEGUN, stage=Stage.REVOKED, revoked_at=NOW)),
            NO_LONGER,
            id="it was destroyed, for it leaked",
        ),
        pytest.param(
            credential(OLD, NEWER, replace(REFUSED, requested_at=at(-9))),
            NO_LONGER,
            id="an earlier try to return to it is not this one",
        ),
        pytest.param(
            credential(OLD, NEWER, replace(BEGUN, carries=None)),
            NO_LONGER,
            id="nor is a version with a secret of its own",
        ),
        pytest.param(
            credential(OLD, NEWER, replace(REFUSED, requested_at=at(-9)), replace(BEGUN, number=4)),
            {"error": None},
            id="nor does the earlier one that failed speak for this one",
        ),
    ],
)
def test_what_a_rollback_says(c: Credential, changed: dict[str, Any]) -> None:
    expected = replace(ROLLBACK, **changed)
    assert brought_up_to_date(c, None, ROLLBACK) == expected


LEAKED = replace(OLD, compromised_at=at(-1))
REVOKE = order(OrderKind.REVOKE, targets=(1,), state=OrderState.RUNNING, error="said before")
AT_ONCE = replace(NEWER, promoted_at=at(-1))
OWN = version(1, Stage.PREVIOUS, None, handle="own", compromised_at=at(-1))
KEPT_ALIVE = Observed(
    NOW,
    (
        KeySeen("own", "DELETED", (looks(OWN, "DELETED"),)),
        KeySeen("three", "ACTIVE", (looks(ALONE),)),
    ),
)
SPENT = replace(TOKEN, stage=Stage.REVOKED, revoked_at=at(-2), expires_at=at(90))
ENDLESS = replace(TOKEN, number=4, handle="four", expires_at=None)
LEAKED_TOKENS = (
    SPENT,
    replace(TOKEN, number=2, handle="two"),
    replace(TOKEN, number=3, handle="three", expires_at=at(40)),
    ENDLESS,
)
LATEST = version(9, Stage.CURRENT, None)


@pytest.mark.parametrize(
    ("c", "o", "was", "changed"),
    [
        pytest.param(
            credential(LEAKED, NEWER),
            BOTH_ON,
            REVOKE,
            {"error": None},
            id="it lives, and what is current was so before the leak was told",
        ),
        pytest.param(
            credential(LEAKED, AT_ONCE, last_error="503"),
            BOTH_ON,
            REVOKE,
            {"promoted_at": at(-1), "to_version": 2, "to_slot": "two", "error": "503"},
            id="it lives, and was replaced in the moment the leak was told",
        ),
        pytest.param(
            credential(OWN, ALONE, spec=KEYLESS, home=None),
            KEPT_ALIVE,
            REVOKE,
            {
                "error": "the provider has no key own where it is looked for, and still takes its "
                "secret: destroy it by hand"
            },
            id="its key is gone and it lives",
        ),
        pytest.param(
            credential(OWN, ALONE, spec=KEYLESS, home=None, last_error="503"),
            KEPT_ALIVE,
            REVOKE,
            {"error": "503"},
            id="its key is gone and it lives, and something else failed since",
        ),
        pytest.param(
            credential(replace(LEAKED, revoked_at=at(-0.5)), replace(LEAKED, number=3), NEWER),
            BOTH_ON,
            replace(REVOKE, targets=(1, 3)),
            {"error": None},
            id="one of two is destroyed",
        ),
        pytest.param(
            credential(replace(LEAKED, revoked_at=at(-0.5)), NEWER),
            BOTH_ON,
            REVOKE,
            {"state": OrderState.DONE, "finished_at": at(-0.5), "error": None},
            id="it is destroyed",
        ),
        pytest.param(
            credential(replace(LEAKED, revoked_at=at(-99)), NEWER),
            BOTH_ON,
            REVOKE,
            {"state": OrderState.DONE, "finished_at": at(-1), "error": None},
            id="it was destroyed before anybody asked",
        ),
        pytest.param(
            credential(CURRENT, WISH),
            QUIET,
            replace(REVOKE, targets=()),
            {"state": OrderState.DONE, "finished_at": NOW, "error": None},
            id="nothing that could have leaked was named",
        ),
        pytest.param(
            credential(*LEAKED_TOKENS, LATEST, spec=TOKENS),
            None,
            replace(REVOKE, targets=(1, 2, 3, 4)),
            {"state": OrderState.DONE, "finished_at": NOW, "until": at(50), "error": None},
            id="tokens die by themselves, and the last one that lives counts",
        ),
        pytest.param(
            credential(ENDLESS, LATEST, spec=TOKENS),
            None,
            replace(REVOKE, targets=(4,)),
            {"state": OrderState.DONE, "finished_at": NOW, "until": None, "error": None},
            id="nobody knows when a token dies",
        ),
    ],
)
def test_what_a_revocation_says(
    c: Credential, o: Observed | None, was: Order, changed: dict[str, Any]
) -> None:
    assert brought_up_to_date(c, o, was) == replace(was, **changed)


ACTIVATE = order(OrderKind.ACTIVATE, slot="two", state=OrderState.RUNNING, error="said before")
DEACTIVATE = replace(ACTIVATE, kind=OrderKind.DEACTIVATE)
SWITCHED: dict[str, Any] = {"state": OrderState.DONE, "finished_at": NOW, "error": None}
STILL: dict[str, Any] = {"error": "503"}


def shows(state: str, minutes: float = 0) -> Observed:
    return seen(looks(CURRENT), empty(state=state), minutes=minutes)


@pytest.mark.parametrize(
    ("was", "o", "doubt", "changed"),
    [
        pytest.param(ACTIVATE, shows("ACTIVE"), None, SWITCHED, id="on as wished"),
        pytest.param(DEACTIVATE, shows("INACTIVE"), None, SWITCHED, id="off as wished"),
        pytest.param(ACTIVATE, shows("INACTIVE"), None, STILL, id="still off"),
        pytest.param(DEACTIVATE, shows("ACTIVE"), None, STILL, id="still on"),
        pytest.param(ACTIVATE, shows("ACTIVE", -1), None, SWITCHED, id="seen in that moment"),
        pytest.param(ACTIVATE, shows("ACTIVE", -2), None, STILL, id="seen before it was wished"),
        pytest.param(ACTIVATE, shows("ACTIVE"), NOW, STILL, id="seen before a change"),
        pytest.param(ACTIVATE, shows("ACTIVE", -2), NOW, STILL, id="seen before either"),
        pytest.param(ACTIVATE, None, None, STILL, id="never seen"),
        pytest.param(ACTIVATE, seen(looks(CURRENT)), None, STILL, id="the slot is not shown"),
        pytest.param(
            ACTIVATE,
            shows("REVOKED"),
            None,
            {
                "state": OrderState.FAILED,
                "finished_at": NOW,
                "error": "the slot is REVOKED, which switching it on does not undo",
            },
            id="destroyed, which nobody switches on",
        ),
        pytest.param(DEACTIVATE, shows("REVOKED"), None, SWITCHED, id="destroyed, which is off"),
        pytest.param(
            replace(DEACTIVATE, slot="one"),
            QUIET,
            None,
            {
                "state": OrderState.FAILED,
                "finished_at": NOW,
                "error": "lookups depend on the slot by now",
            },
            id="what lookups depend on stays on",
        ),
        pytest.param(
            replace(ACTIVATE, slot="one"), QUIET, None, SWITCHED, id="what they depend on is on"
        ),
    ],
)
def test_what_a_switch_says(
    was: Order, o: Observed | None, doubt: datetime | None, changed: dict[str, Any]
) -> None:
    c = credential(CURRENT, doubt_at=doubt, last_error="503")
    assert brought_up_to_date(c, o, was) == replace(was, **changed)


# Who waits when the answer is no.

LEAK = replace(REVOKE, id="leak")
OVER_ALREADY = order(
    OrderKind.ROTATE, id="old", state=OrderState.DONE, finished_at=at(-9), to_version=1
)


def failed(was: Order, why: str) -> Order:
    return replace(was, state=OrderState.FAILED, finished_at=NOW, error=why)


def test_a_definite_no_is_told_to_all_who_wait_but_for_a_leak() -> None:
    c = credential(CURRENT, orders=(OVER_ALREADY, ROTATE, LEAK, replace(ACTIVATE, id="on")))
    told = (OVER_ALREADY, failed(ROTATE, "400"), LEAK, failed(c.orders[3], "400"))
    assert orders.refused(c, "400", NOW) == replace(c, orders=told)


def test_where_somebody_else_drives_the_key_all_who_wait_are_told() -> None:
    c = credential(CURRENT, orders=(OVER_ALREADY, ROTATE, LEAK))
    theirs = seen(looks(CURRENT), empty(), owner="elsewhere")
    why = "the key is managed by installation elsewhere"
    told = (OVER_ALREADY, failed(ROTATE, why), failed(LEAK, why))
    assert orders.settled(c, theirs, NOW) == replace(c, orders=told)


def test_a_switch_that_is_refused_has_failed_and_nothing_else_has() -> None:
    c = credential(CURRENT, orders=(LEAK, DEACTIVATE), failures=2)
    told = (LEAK, failed(DEACTIVATE, "400"))
    after = orders.switch_refused(c, Place("key", "two"), "400", NOW)
    assert after == replace(c, orders=told, doubt_at=NOW)


@pytest.mark.parametrize(
    ("c", "place"),
    [
        pytest.param(credential(CURRENT), Place("key", "two"), id="nobody did"),
        pytest.param(
            credential(CURRENT, orders=(ROTATE, replace(ACTIVATE, state=OrderState.DONE))),
            Place("key", "two"),
            id="nobody waits for it",
        ),
        pytest.param(
            credential(CURRENT, orders=(ACTIVATE,)), Place("key", "one"), id="in another slot"
        ),
        pytest.param(
            credential(CURRENT, orders=(ACTIVATE,)), Place("former", "two"), id="of another key"
        ),
    ],
)
def test_what_is_refused_and_no_person_asked_for_is_nobody_s_order(
    c: Credential, place: Place
) -> None:
    assert orders.switch_refused(c, place, "400", NOW) is None
