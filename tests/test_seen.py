"""What the provider showed, beside what is on record: each question by itself, in tables.

The record's own questions, and the words for a secret, are at the end.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyman.core.model import (
    NOT_SHOWN,
    Credential,
    KeySeen,
    Observed,
    Order,
    OrderKind,
    Secret,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from keyman.core.picture import SAME_EXPIRY, Picture
from keyman.core.picture import looks as looks_like
from keyman.core.policy import Retry
from tests.credentials import (
    BY_HAND,
    CURRENT,
    DAY,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    QUIET,
    SPEC,
    TOKENS,
    TWO,
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

SECOND = 1 / 60
LEAK: dict[str, Any] = {"compromised_at": at(-1)}
DEAD: dict[str, Any] = {"dead_at": at(-1)}
DESTROYED: dict[str, Any] = {"revoked_at": at(-1)}
BEFORE: dict[str, Any] = {"mask_before": "before", "expires_before": at(60 * DAY)}
HIDDEN = Observed(NOW, (KeySeen("key", NOT_SHOWN, ()),))
NEVER_ISSUED = replace(wish(1, "one"), stage=Stage.REVOKED)


def so(*versions: Version, o: Observed | None = None, spec: Spec = SPEC) -> Picture:
    return Picture(credential(*versions, spec=spec), o, NOW)


def own(number: int, stage: Stage, **more: Any) -> Version:
    """With a key of its own."""
    return version(number, stage, None, handle=f"key-{number}", **more)


# Which keys are looked at.


@pytest.mark.parametrize(
    ("v", "matters"),
    [
        pytest.param(own(1, Stage.CURRENT), True, id="what lookups hand out"),
        pytest.param(own(1, Stage.PREVIOUS), True, id="what they handed out before"),
        pytest.param(pending(1, None, handle="key-1"), True, id="what is proven now"),
        pytest.param(wish(1, None, handle=None), False, id="no key is known yet"),
        pytest.param(own(1, Stage.RETIRED), False, id="switched off"),
        pytest.param(own(1, Stage.RETIRED, **LEAK), True, id="leaked"),
        pytest.param(own(1, Stage.RETIRED, **LEAK, **DESTROYED), False, id="leaked and destroyed"),
        pytest.param(own(1, Stage.REVOKED, **DESTROYED), False, id="destroyed"),
        pytest.param(own(1, Stage.REVOKED), True, id="came to nothing, and may live"),
        pytest.param(own(1, Stage.REVOKED, issued_at=None), False, id="never there"),
    ],
)
def test_a_key_matters_while_it_is_used_or_to_be_destroyed(v: Version, matters: bool) -> None:
    c = credential(v, spec=KEYLESS, home=None)
    assert Picture(c, None, NOW).handles == (("key-1",) if matters else ())


def test_each_key_is_looked_at_once_and_the_home_first() -> None:
    old = version(1, Stage.PREVIOUS, handle="left")
    c = credential(old, replace(old, number=2, slot="two"), version(3, Stage.CURRENT))
    assert Picture(c, None, NOW).handles == ("key", "left")


TO_REVOKE = (order(OrderKind.REVOKE),)
TO_LEAVE = (order(OrderKind.NEW_KEY),)


@pytest.mark.parametrize(
    ("versions", "orders", "optional"),
    [
        pytest.param([replace(CURRENT, **DEAD)], (), (), id="the home must be there, though dead"),
        pytest.param([CURRENT], TO_REVOKE, (), id="and though it is to be revoked"),
        pytest.param([replace(CURRENT, **DEAD)], TO_REVOKE, ("key",), id="not if both are so"),
        pytest.param([CURRENT], TO_LEAVE, ("key",), id="nor if it is to be left"),
        pytest.param(
            [version(1, Stage.PREVIOUS, handle="left"), CURRENT], (), ("left",), id="another key"
        ),
        pytest.param(
            [version(1, Stage.PREVIOUS, **DEAD), version(2, Stage.CURRENT, handle="made")],
            TO_REVOKE,
            ("key", "made"),
            id="what works on another key says nothing of the home",
        ),
        pytest.param(
            [replace(CURRENT, **DEAD), replace(NEVER_ISSUED, number=2, slot="two")],
            TO_REVOKE,
            ("key",),
            id="nor does what nobody was ever handed",
        ),
        pytest.param(
            [version(1, Stage.PREVIOUS, **DEAD), version(2, Stage.CURRENT, "two")],
            TO_REVOKE,
            (),
            id="what was handed out last decides",
        ),
    ],
)
def test_a_key_may_be_missing_if_it_is_not_home_or_is_given_up(
    versions: list[Version], orders: tuple[Order, ...], optional: tuple[str, ...]
) -> None:
    assert Picture(credential(*versions, orders=orders), None, NOW).optional == optional


# How fresh a picture is.

LEFT = version(1, Stage.PREVIOUS, handle="left")
MOVED = (LEFT, version(2, Stage.CURRENT))
HOME_SEEN = KeySeen("key", "ACTIVE", (looks(MOVED[1]),))
LEFT_SEEN = KeySeen("left", "ACTIVE", (looks(LEFT),))


@pytest.mark.parametrize(
    ("picture", "must"),
    [
        pytest.param(so(*MOVED), True, id="nobody looked"),
        pytest.param(so(*MOVED, o=Observed(NOW, (HOME_SEEN, LEFT_SEEN))), False, id="just now"),
        pytest.param(so(*MOVED, o=Observed(NOW, (HOME_SEEN,))), True, id="one of the keys was not"),
        pytest.param(so(*MOVED, o=Observed(at(-15), (HOME_SEEN, LEFT_SEEN))), True, id="old"),
        pytest.param(so(*MOVED, o=Observed(at(1), (HOME_SEEN, LEFT_SEEN))), True, id="clock back"),
        pytest.param(so(CURRENT, spec=TOKENS), False, id="there is nothing to look at"),
    ],
)
def test_who_looks_looks_at_every_key(picture: Picture, must: bool) -> None:
    assert picture.must_look == must


HALF = version(1, Stage.CURRENT, issued_at=at(-0.5))
OVERWRITTEN = seen(looks(CURRENT, mask="theirs"))


@pytest.mark.parametrize(
    ("v", "o", "again"),
    [
        pytest.param(HALF, OVERWRITTEN, at(0.5), id="it may be an old picture"),
        pytest.param(replace(HALF, **DEAD), OVERWRITTEN, at(15), id="what is dead is no question"),
        pytest.param(HALF, seen(looks(HALF)), at(15), id="it is as it should be"),
        pytest.param(CURRENT, OVERWRITTEN, at(15), id="the picture is no old one"),
    ],
)
def test_what_a_picture_leaves_open_is_looked_at_again_as_soon_as_that_tells(
    v: Version, o: Observed, again: datetime
) -> None:
    assert so(v, o=o).looks_again_at(NOW) == again


def test_what_is_said_to_be_deleted_and_may_live_is_looked_at_again_soon() -> None:
    leaked = version(1, Stage.RETIRED, None, **LEAK)
    assert so(leaked, o=seen(looks(leaked)), spec=KEYLESS).looks_again_at(NOW) == at(15)
    assert so(leaked, o=seen(looks(leaked, "DELETED")), spec=KEYLESS).looks_again_at(NOW) == at(2)


@pytest.mark.parametrize(
    ("ends", "rests"),
    [(None, False), (-1, False), (0, False), (SECOND, True), (120, True), (120 + SECOND, False)],
)
def test_a_rest_longer_than_the_longest_began_before_the_clock_was_set_back(
    ends: float | None, rests: bool
) -> None:
    spec = replace(SPEC, policy=replace(POLICY, retry=Retry(max=timedelta(hours=2))))
    c = credential(CURRENT, spec=spec, retry_at=None if ends is None else at(ends))
    assert Picture(c, None, NOW).resting == rests


@pytest.mark.parametrize(
    ("looked", "moment", "fresh"),
    [
        pytest.param(None, -60, False, id="nobody looked"),
        pytest.param(-1, -60, True, id="looked after it, a minute ago"),
        pytest.param(-1, -1, True, id="looked at that moment"),
        pytest.param(-1, -1 + SECOND, False, id="looked before it"),
        pytest.param(-2, -60, True, id="looked as long ago as is just now"),
        pytest.param(-2 - SECOND, -60, False, id="looked longer ago"),
    ],
)
def test_a_picture_is_fresh_if_it_is_of_after_that_moment_and_of_just_now(
    looked: float | None, moment: float, fresh: bool
) -> None:
    o = None if looked is None else seen(looks(CURRENT), minutes=looked)
    assert so(CURRENT, o=o).fresh_since(at(moment)) == fresh
    assert so(CURRENT, o=o, spec=TOKENS).fresh_since(at(moment)), "as fresh as it can be"


# Whose key it is.


@pytest.mark.parametrize(
    ("o", "spec", "whose"),
    [
        pytest.param(None, SPEC, None, id="nobody looked"),
        pytest.param(QUIET, SPEC, None, id="ours"),
        pytest.param(seen(owner=None, epoch=0), SPEC, None, id="nobody's"),
        pytest.param(seen(owner="there"), SPEC, "installation there", id="theirs"),
        pytest.param(
            seen(owner="there"), replace(SPEC, claims=False), None, id="marks are not heeded"
        ),
        pytest.param(seen(epoch=2), SPEC, "another copy of this installation", id="a later mark"),
    ],
)
def test_another_owner_is_told_by_the_mark_on_the_key(
    o: Observed | None, spec: Spec, whose: str | None
) -> None:
    assert so(CURRENT, o=o, spec=spec).other_owner == whose


# How a slot looks.


@pytest.mark.parametrize(
    ("slot", "mask", "ends", "alike"),
    [
        pytest.param(None, None, None, False, id="nothing is shown"),
        pytest.param(SlotSeen(None, "ACTIVE"), "mask", NOW, True, id="nothing is said of it"),
        pytest.param(SlotSeen(None, "ACTIVE", "mask", NOW), None, None, True, id="none is known"),
        pytest.param(SlotSeen(None, "ACTIVE", "mask", NOW), "mask", NOW, True, id="the same"),
        pytest.param(SlotSeen(None, "ACTIVE", "other", NOW), "mask", NOW, False, id="other mask"),
        pytest.param(SlotSeen(None, "ACTIVE", "other"), "mask", NOW, False, id="mask alone"),
        pytest.param(SlotSeen(None, "ACTIVE", None, NOW), "mask", at(1), False, id="expiry alone"),
        pytest.param(
            SlotSeen(None, "ACTIVE", "mask", NOW), "mask", NOW + SAME_EXPIRY, True, id="cut off"
        ),
        pytest.param(
            SlotSeen(None, "ACTIVE", "mask", NOW), "mask", NOW - SAME_EXPIRY, True, id="rounded up"
        ),
        pytest.param(
            SlotSeen(None, "ACTIVE", "mask", NOW),
            "mask",
            NOW + SAME_EXPIRY * 1.001,
            False,
            id="more than that",
        ),
    ],
)
def test_a_slot_looks_like_a_secret_if_nothing_tells_them_apart(
    slot: SlotSeen | None, mask: str | None, ends: datetime | None, alike: bool
) -> None:
    assert looks_like(slot, mask, ends) == alike


AS_BEFORE = SlotSeen("one", "ACTIVE", "before", at(60 * DAY))


@pytest.mark.parametrize(
    ("before", "so_it_is"),
    [
        pytest.param((None, None), False, id="nothing is known of it"),
        pytest.param(("before", at(60 * DAY)), True, id="both are"),
        pytest.param(("before", None), True, id="its mask is"),
        pytest.param((None, at(60 * DAY)), True, id="its expiry is"),
        pytest.param(("another", at(60 * DAY)), False, id="it had another mask"),
        pytest.param((None, at(61 * DAY)), False, id="it had another expiry"),
    ],
)
def test_a_slot_shows_what_was_before_if_that_is_known_and_looked_so(
    before: tuple[str | None, datetime | None], so_it_is: bool
) -> None:
    v = replace(CURRENT, mask_before=before[0], expires_before=before[1])
    assert so(v, o=seen(AS_BEFORE)).shows_what_was_before(v) == so_it_is


# How soon after a change of ours.


@pytest.mark.parametrize(
    ("activated", "just"),
    [(None, False), (SECOND, False), (0, True), (-14 * SECOND, True), (-15 * SECOND, False)],
)
def test_just_activated_is_a_quarter_of_the_time_in_which_pictures_are_old(
    activated: float | None, just: bool
) -> None:
    v = replace(CURRENT, activated_at=None if activated is None else at(activated))
    assert so(v).just_activated(v) == just


@pytest.mark.parametrize(
    ("change", "settled"), [(0, False), (-59 * SECOND, False), (-1, True), (SECOND, True)]
)
def test_a_picture_must_show_a_change_that_is_half_the_time_of_a_verification_older(
    change: float, settled: bool
) -> None:
    assert so(CURRENT, o=QUIET).settled_since(at(change)) == settled
    assert not so(CURRENT).settled_since(at(change)), "nobody looked"


THEIRS = "its slot holds another secret"


@pytest.mark.parametrize(
    ("v", "shown", "against", "early"),
    [
        pytest.param(CURRENT, looks(CURRENT), None, None, id="nothing does"),
        pytest.param(CURRENT, empty(), None, None, id="its slot is not shown"),
        pytest.param(CURRENT, looks(CURRENT, mask="theirs"), THEIRS, None, id="overwritten"),
        pytest.param(HALF, looks(CURRENT, mask="theirs"), None, THEIRS, id="so it seems"),
        pytest.param(
            CURRENT, looks(CURRENT, "INACTIVE"), "its slot is INACTIVE", None, id="switched off"
        ),
        pytest.param(
            replace(CURRENT, activated_at=at(-0.5)),
            looks(CURRENT, "INACTIVE"),
            None,
            "its slot is INACTIVE",
            id="or not yet shown to be on",
        ),
        pytest.param(replace(CURRENT, **BEFORE), AS_BEFORE, None, None, id="the one before it"),
        pytest.param(NEVER_ISSUED, AS_BEFORE, THEIRS, None, id="there was no change of ours"),
    ],
)
def test_what_speaks_against_a_version_waits_until_it_can_be_no_old_picture(
    v: Version, shown: SlotSeen, against: str | None, early: str | None
) -> None:
    s = so(v, o=seen(shown))
    assert (s.contradiction(v), s.early_sign(v)) == (against, early)


# What became of it.

OLD = version(1, Stage.PREVIOUS)
ENDED = replace(OLD, expires_at=NOW)


@pytest.mark.parametrize(
    ("v", "o", "spec", "became"),
    [
        pytest.param(OLD, seen(looks(OLD)), SPEC, None, id="nothing"),
        pytest.param(ENDED, None, SPEC, None, id="nobody looked"),
        pytest.param(ENDED, None, TOKENS, (Stage.REVOKED, "it expired"), id="nobody ever looks"),
        pytest.param(
            ENDED, seen(looks(ENDED)), SPEC, (Stage.REVOKED, "it expired"), id="it expired"
        ),
        pytest.param(
            replace(ENDED, **LEAK), seen(looks(ENDED)), SPEC, None, id="a leak is destroyed instead"
        ),
        pytest.param(
            OLD,
            seen(looks(OLD, "REVOKED")),
            SPEC,
            (Stage.REVOKED, "its slot is REVOKED"),
            id="it was revoked",
        ),
        pytest.param(
            OLD, seen(looks(OLD, mask="theirs")), SPEC, (Stage.REVOKED, THEIRS), id="overwritten"
        ),
        pytest.param(
            OLD,
            seen(looks(OLD, "INACTIVE")),
            SPEC,
            (Stage.RETIRED, "its slot is INACTIVE"),
            id="it was switched off",
        ),
        pytest.param(
            replace(OLD, stage=Stage.RETIRED), seen(looks(OLD, "INACTIVE")), SPEC, None, id="by us"
        ),
        pytest.param(OLD, seen(looks(OLD, "UPDATING")), SPEC, None, id="a word we don't know"),
    ],
)
def test_what_became_of_a_version_without_our_doing(
    v: Version, o: Observed | None, spec: Spec, became: tuple[Stage, str] | None
) -> None:
    assert so(v, o=o, spec=spec).changed_outside(v) == became


OFF = version(1, Stage.RETIRED, **BEFORE)
OFF_JUST_NOW = replace(OFF, issued_at=at(-0.5))
OVER = replace(OFF, expires_at=NOW)
OWN = version(1, Stage.RETIRED, None)
NEXT = version(2, Stage.CURRENT, "two")
AS_BEFORE_GONE = seen(replace(AS_BEFORE, state="REVOKED"))
DELETED = seen(looks(OWN, "DELETED"))


@pytest.mark.parametrize(
    ("picture", "destroyed"),
    [
        # It has no place, or another's is there now.
        pytest.param(so(wish(1, handle=None)), True, id="nothing was ever made"),
        pytest.param(so(replace(OWN, handle=None)), False, id="issued, and nobody knows where"),
        pytest.param(so(OFF), False, id="nobody looked"),
        pytest.param(so(OFF, version(2, Stage.CURRENT)), True, id="its slot was filled again"),
        pytest.param(so(NEVER_ISSUED), False, id="an answer was lost, and may have made it"),
        # Its slot is not to be seen.
        pytest.param(so(OVER), False, id="expired, and nobody looked"),
        pytest.param(so(OVER, spec=TOKENS), True, id="expired, and nobody can look"),
        pytest.param(so(OFF, spec=TOKENS), False, id="not expired, and nobody can look"),
        pytest.param(so(OVER, o=HIDDEN), True, id="expired, and its key is not shown"),
        pytest.param(so(OFF, o=HIDDEN), False, id="its key is not shown, which proves nothing"),
        pytest.param(so(replace(OFF, **DEAD)), False, id="refused, which proves nothing"),
        pytest.param(so(replace(OFF, **DEAD), NEXT, o=HIDDEN), True, id="refused and not shown"),
        pytest.param(
            so(OFF, replace(NEXT, **DEAD), o=HIDDEN), True, id="not shown, and the last refused"
        ),
        # A key of its own that is said to be deleted.
        pytest.param(so(OWN, o=DELETED, spec=KEYLESS), False, id="deleted, which proves nothing"),
        pytest.param(
            so(replace(OWN, expires_at=NOW), o=DELETED, spec=KEYLESS),
            True,
            id="deleted and expired",
        ),
        pytest.param(
            so(replace(OWN, **DEAD), o=DELETED, spec=KEYLESS), True, id="deleted and refused"
        ),
        # Its slot shows something.
        pytest.param(so(OFF, o=seen(looks(OFF))), False, id="there"),
        pytest.param(so(OFF, o=seen(looks(OFF, "REVOKED"))), True, id="revoked"),
        pytest.param(
            so(OFF_JUST_NOW, o=seen(looks(OFF, "REVOKED"))), True, id="revoked as soon as issued"
        ),
        pytest.param(
            so(OFF_JUST_NOW, o=AS_BEFORE_GONE), False, id="it is the one before that was revoked"
        ),
        pytest.param(so(OFF, o=AS_BEFORE_GONE), True, id="revoked long after it came there"),
        pytest.param(
            so(replace(NEVER_ISSUED, **BEFORE), o=AS_BEFORE_GONE), True, id="never in its slot"
        ),
        pytest.param(so(OFF, o=seen(looks(OFF, mask="theirs"))), True, id="overwritten"),
    ],
)
def test_a_secret_is_destroyed_once_nothing_else_can_be(picture: Picture, destroyed: bool) -> None:
    assert picture.destroyed(picture.versions[0]) == destroyed


@pytest.mark.parametrize(
    ("v", "o", "spec", "missing"),
    [
        pytest.param(OWN, DELETED, KEYLESS, True, id="said to be deleted"),
        pytest.param(OWN, seen(looks(OWN, "REVOKED")), KEYLESS, False, id="revoked"),
        pytest.param(OWN, None, KEYLESS, False, id="nobody looked"),
        pytest.param(OWN, HIDDEN, KEYLESS, True, id="not shown"),
        pytest.param(OFF, HIDDEN, SPEC, True, id="nor its slot"),
        pytest.param(
            replace(OWN, stored=False), DELETED, KEYLESS, False, id="there is none to ask with"
        ),
        pytest.param(
            OWN, DELETED, replace(KEYLESS, probes=False), False, id="and nobody to be asked"
        ),
        pytest.param(OFF, seen(looks(OFF, "DELETED")), SPEC, False, id="a slot is gone if it says"),
    ],
)
def test_a_key_that_is_not_to_be_seen_is_missing_if_a_probe_can_tell_more(
    v: Version, o: Observed | None, spec: Spec, missing: bool
) -> None:
    assert so(v, o=o, spec=spec).missing(v) == missing


LEAKED = replace(OWN, **LEAK)


@pytest.mark.parametrize(
    ("v", "o", "alive"),
    [
        pytest.param(LEAKED, DELETED, True, id="a leak that is said to be deleted"),
        pytest.param(OWN, DELETED, False, id="no leak"),
        pytest.param(replace(LEAKED, **DESTROYED), DELETED, False, id="destroyed already"),
        pytest.param(replace(OWN, **DESTROYED), DELETED, False, id="destroyed, and no leak"),
        pytest.param(replace(LEAKED, **DEAD), DELETED, False, id="refused as well"),
        pytest.param(LEAKED, HIDDEN, False, id="not shown at all"),
        pytest.param(LEAKED, seen(looks(OWN)), False, id="there"),
    ],
)
def test_a_leak_in_a_deleted_key_lives_until_something_proves_it_dead(
    v: Version, o: Observed, alive: bool
) -> None:
    assert so(v, o=o, spec=KEYLESS).deleted_and_alive(v) == alive


NOTHING_CAME = version(1, Stage.REVOKED, None)


@pytest.mark.parametrize(
    ("versions", "spec", "left"),
    [
        pytest.param([NOTHING_CAME], KEYLESS, True, id="it came to nothing"),
        pytest.param([NOTHING_CAME], SPEC, False, id="a slot is filled again"),
        pytest.param(
            [NOTHING_CAME], replace(KEYLESS, observes=False), False, id="nobody sees whether it is"
        ),
        pytest.param(
            [NOTHING_CAME], replace(KEYLESS, revokes=False), False, id="nobody can destroy it"
        ),
        pytest.param([OWN], KEYLESS, False, id="it may be switched on again"),
        pytest.param([replace(NOTHING_CAME, issued_at=None)], KEYLESS, False, id="never there"),
        pytest.param([replace(NOTHING_CAME, **DESTROYED)], KEYLESS, False, id="destroyed"),
        pytest.param(
            [NOTHING_CAME, version(2, Stage.CURRENT, None, attempt="wish-1")],
            KEYLESS,
            False,
            id="its secret is used under another number",
        ),
        pytest.param(
            [NOTHING_CAME, version(2, Stage.RETIRED, None, attempt="wish-1")],
            KEYLESS,
            True,
            id="it was, and isn't any more",
        ),
    ],
)
def test_a_key_of_its_own_is_left_over_once_nobody_is_to_use_it(
    versions: list[Version], spec: Spec, left: bool
) -> None:
    assert so(*versions, spec=spec).left_over(versions[0]) == left


@pytest.mark.parametrize(
    ("others", "shared"),
    [
        pytest.param([], False, id="nothing is handed out"),
        pytest.param([NEXT], False, id="another one is"),
        pytest.param([replace(NEXT, attempt="wish-1")], True, id="it is, under a later number"),
    ],
)
def test_a_secret_is_the_current_one_under_whatever_number(
    others: list[Version], shared: bool
) -> None:
    assert so(OFF, *others).shares_the_current_secret(OFF) == shared


# What the record says by itself.


@pytest.mark.parametrize(
    ("issued", "expires", "life"),
    [
        (NOW, at(60), timedelta(hours=1)),
        (None, at(60), None),
        (NOW, None, None),
        (None, None, None),
    ],
)
def test_a_life_is_from_issue_to_expiry_as_far_as_both_are_known(
    issued: datetime | None, expires: datetime | None, life: timedelta | None
) -> None:
    assert replace(CURRENT, issued_at=issued, expires_at=expires).life == life


@pytest.mark.parametrize(
    ("issues", "observes", "mints", "by_hand"),
    [
        pytest.param(True, True, False, False, id="keys that a provider issues and shows"),
        pytest.param(True, False, True, False, id="tokens"),
        pytest.param(False, True, False, False, id="keys that people make and the provider shows"),
        pytest.param(False, False, False, True, id="secrets that people bring"),
    ],
)
def test_kinds_of_secrets(issues: bool, observes: bool, mints: bool, by_hand: bool) -> None:
    spec = replace(SPEC, issues=issues, observes=observes)
    assert (spec.mints, spec.by_hand) == (mints, by_hand)


def test_a_place_is_its_last_tenants() -> None:
    first, last, asked = version(1, Stage.REVOKED), version(2, Stage.CURRENT), wish(3, "one")
    again = version(4, Stage.RETIRED, "two", attempt="wish-5")
    carried = version(5, Stage.PREVIOUS, "two")
    waiting = wish(6, "two", handle="made")
    c = credential(first, last, asked, again, carried, waiting)
    assert [c.tenant(ONE), c.tenant(TWO), c.tenant(None)] == [last, carried, None]
    assert [v.number for v in c.versions if c.in_place(v)] == [2, 4, 5]


ENDLESS = replace(CURRENT, expires_at=None, promoted_at=NOW)


@pytest.mark.parametrize(
    ("v", "spec", "due"),
    [
        pytest.param(CURRENT, SPEC, POLICY.rotate_at(at(80 * DAY), "genai"), id="by its expiry"),
        pytest.param(
            ENDLESS, KEYLESS, POLICY.rotate_at(at(90 * DAY), "genai"), id="after a lifetime"
        ),
        pytest.param(ENDLESS, BY_HAND, None, id="by a person, or never"),
        pytest.param(replace(ENDLESS, promoted_at=None), KEYLESS, None, id="it was never used"),
    ],
)
def test_when_a_secret_is_to_be_replaced(v: Version, spec: Spec, due: datetime | None) -> None:
    assert credential(v, spec=spec).due_at(v) == due


def test_where_no_version_was_made_nothing_is_in_place() -> None:
    assert not Credential(SPEC).in_place(wish(1))
    assert Credential(SPEC).tenant(ONE) is None


# The characters themselves.


def test_a_secret_shows_itself_only_to_who_asks_for_it() -> None:
    secret = Secret("sk-1")
    assert [str(secret), repr(secret), f"{secret:>20}"] == ["Secret(···)", "Secret(···)", "···"]
    assert secret.reveal() == "sk-1"
    with pytest.raises(TypeError, match="a Secret is not pickled"):
        pickle.dumps(secret)


def test_secrets_are_the_same_if_their_characters_are() -> None:
    assert {Secret("sk-1"), Secret("sk-1"), Secret("sk-2")} == {Secret("sk-2"), Secret("sk-1")}
    assert len({Secret("sk-1"), Secret("sk-1"), Secret("sk-2")}) == 2
    assert [Secret("sk-1") == other for other in (Secret("sk-1"), Secret("sk-2"), "sk-1")] == [
        True,
        False,
        False,
    ]


def test_a_fingerprint_is_told_as_it_was_when_it_went_on_record() -> None:
    assert Secret("sk-1").fingerprint("here") == "hmac:61cabf6b53b6"
    assert Secret("sk-1").fingerprint("there") != Secret("sk-1").fingerprint("here")


@pytest.mark.parametrize(
    ("known", "its"),
    [
        pytest.param(Secret("sk-1").fingerprint("here"), True, id="its own"),
        pytest.param(Secret("sk-2").fingerprint("here"), False, id="another's"),
        pytest.param(Secret("sk-1").fingerprint("there"), False, id="another installation's"),
        pytest.param(None, True, id="none is known"),
    ],
)
def test_a_version_knows_its_secret_by_the_fingerprint(known: str | None, its: bool) -> None:
    assert replace(CURRENT, fingerprint=known).is_of(Secret("sk-1"), "here") == its
