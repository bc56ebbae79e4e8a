"""The questions that rules ask, each by itself: a sentence, what is so, the question, the answer.

Found by mutation testing (`python -m tests.mutation core`): each row is a condition that no other
table noticed missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core.model import Credential, Observed, OrderKind, Spec, Stage, Version
from keyman.core.policy import RetireBy
from keyman.core.situation import InUse, Situation
from tests.credentials import (
    BOTH_GOOD,
    BY_HAND,
    CURRENT,
    DAY,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    QUIET,
    SHUT,
    SPEC,
    STAYS,
    TOGETHER,
    TOKENS,
    at,
    credential,
    empty,
    looks,
    order,
    seen,
    version,
    wish,
)

OLD = version(1, Stage.PREVIOUS)  # replaced an hour ago
OVER = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
NEWER = version(2, Stage.CURRENT, "two")
BOTH_ON = seen(looks(OLD), looks(NEWER))
THREE = replace(SPEC, slots=("one", "two", "three"))
LEFT = {"stage": Stage.REVOKED, "given_up": "refused", "promoted_at": None, "stored": False}
TO_ANOTHER_KEY = (order(OrderKind.NEW_KEY),)


def so(*versions: Version, o: Observed | None = None, **more: Any) -> Situation:
    return Situation(credential(*versions, **more), o, NOW)


def by(spec: Spec = SPEC, **policy: Any) -> Spec:
    return replace(spec, policy=replace(POLICY, **policy))


def strange(slot: str = "two", used: float = -1, **more: Any) -> Any:
    """A slot that is on with a secret that isn't ours, last used so many minutes ago."""
    return replace(empty(slot, "ACTIVE"), last_used_at=at(used), **more)


def given_up(number: int, **more: Any) -> Version:
    return version(number, **{"slot": "two", **LEFT, **more})


KEPT = by(retire=RetireBy.KEEP)
TRIED = given_up(3, slot="one", carries=1, attempt="wish-1")
RETIRED = version(1, Stage.RETIRED)
DOWN = replace(NEWER, dead_at=at(-1))
CAN_RETURN = seen(looks(OLD, "INACTIVE"), looks(NEWER))
THRICE = [given_up(n, requested_at=at(n - 34)) for n in (2, 3, 4)]  # the last half an hour ago
REFUSED = given_up(3, slot_refused=True)
BOTH_REFUSED = (replace(REFUSED, slot="one"), replace(REFUSED, number=4))
BOTH_GONE = seen(empty("one", "REVOKED"), empty("two", "REVOKED"))
NEXT_TO_IT = seen(looks(CURRENT), strange())

REPLACING = wish(2, mask_before="before", expires_before=at(60 * DAY))
REFUSED_ONCE = replace(CURRENT, refusals=1)
ASKED = replace(BY_HAND, probes=True)
EXAMINED = version(1, Stage.CURRENT, None, examined_at=at(-1))
WAITS = by(wait_for_clients=True, max_overlap=timedelta(days=3))
USED = seen(looks(OLD, last_used_at=at(-1)), looks(NEWER))

QUESTIONS: list[tuple[str, Situation, Callable[[Situation], object], object]] = [
    # What lookups depend on.
    ("the current secret is depended on", so(CURRENT), lambda s: s.depends_on(ONE), True),
    ("a dead one isn't", so(replace(CURRENT, dead_at=at(-1))), lambda s: s.depends_on(ONE), False),
    (
        "nor one that expired",
        so(replace(CURRENT, expires_at=at(0))),
        lambda s: s.depends_on(ONE),
        False,
    ),
    ("the previous one is, in its overlap", so(OLD, NEWER), lambda s: s.depends_on(ONE), True),
    (
        "not if it expired",
        so(replace(OLD, expires_at=at(0)), NEWER),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "not if a later secret is in its place",
        so(OLD, NEWER, version(3, Stage.RETIRED, "one")),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "not if it was refused when it was to take over",
        so(OLD, NEWER, TRIED),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "but if only the store had lost it, clients may still use it",
        so(replace(OLD, stored=False), NEWER, TRIED),
        lambda s: s.depends_on(ONE),
        True,
    ),
    (
        "after its overlap it is until it is switched off",
        so(OVER, NEWER, o=BOTH_ON),
        lambda s: s.depends_on(ONE),
        True,
    ),
    (
        "where nothing is switched off, until its overlap is over",
        so(OVER, NEWER, spec=KEPT, o=BOTH_ON),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "to the moment",
        so(replace(OLD, replaced_at=at(-DAY)), NEWER, spec=KEPT, o=BOTH_ON),
        lambda s: s.depends_on(ONE),
        False,
    ),
    ("and not before", so(OLD, NEWER, spec=KEPT, o=BOTH_ON), lambda s: s.depends_on(ONE), True),
    (
        "where nothing is ever shown as well",
        so(OVER, NEWER, spec=replace(SPEC, observes=False)),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "as long as it is used it is depended on",
        so(
            OVER,
            NEWER,
            spec=by(retire=RetireBy.KEEP, max_overlap=timedelta(days=3)),
            o=seen(looks(OVER, last_used_at=at(-1)), looks(NEWER)),
        ),
        lambda s: s.depends_on(ONE),
        True,
    ),
    (
        "up to max_overlap",
        so(
            OVER,
            NEWER,
            spec=by(retire=RetireBy.KEEP, max_overlap=timedelta(days=2)),
            o=seen(looks(OVER, last_used_at=at(-1)), looks(NEWER)),
        ),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "not used it isn't, however long an overlap may be",
        so(
            OVER,
            NEWER,
            spec=by(retire=RetireBy.KEEP, max_overlap=timedelta(days=3)),
            o=BOTH_ON,
        ),
        lambda s: s.depends_on(ONE),
        False,
    ),
    # What may be filled.
    (
        "of two free slots the first is filled",
        so(spec=replace(SPEC, slots=("right", "left"))),
        lambda s: s.fillable_slot(),
        "right",
    ),
    ("with no picture, the other one", so(CURRENT), lambda s: s.fillable_slot(), "two"),
    (
        "rather the own that expired than a stranger's that is on",
        so(
            replace(CURRENT, expires_at=at(-1)),
            o=seen(looks(CURRENT, expires_at=at(-1)), empty(state="ACTIVE")),
        ),
        lambda s: s.fillable_slot(),
        "one",
    ),
    (
        "a deleted slot is not filled",
        so(CURRENT, o=seen(looks(CURRENT), empty(state="DELETED"))),
        lambda s: s.fillable_slot(),
        None,
    ),
    (
        "one that was refused is tried again where nobody looked since",
        so(CURRENT, replace(REFUSED, number=2)),
        lambda s: s.fillable_slot(),
        "two",
    ),
    (
        "or where it is not gone any more",
        so(CURRENT, replace(REFUSED, number=2), o=seen(looks(CURRENT), empty())),
        lambda s: s.fillable_slot(),
        "two",
    ),
    ("a stranger's that is used isn't", so(CURRENT, o=NEXT_TO_IT), Situation.fillable_slot, None),
    (
        "our own that is still used is",
        so(
            version(1, Stage.RETIRED, "two"),
            version(2, Stage.CURRENT, "one"),
            o=seen(
                looks(version(2, Stage.CURRENT)),
                looks(version(1, Stage.RETIRED, "two"), last_used_at=at(-1)),
            ),
        ),
        Situation.fillable_slot,
        "two",
    ),
    (
        "so is what a lost answer of ours left, which has the expiry that was wished",
        so(
            CURRENT,
            given_up(2, issued_at=None, expires_at=at(60 * DAY)),
            o=NEXT_TO_IT,
        ),
        Situation.fillable_slot,
        "two",
    ),
    (
        "not if it was wished for another slot",
        so(
            CURRENT,
            given_up(2, slot="one", issued_at=None, expires_at=at(60 * DAY)),
            o=NEXT_TO_IT,
        ),
        Situation.fillable_slot,
        None,
    ),
    (
        "nor if it was to expire at another time",
        so(CURRENT, given_up(2, issued_at=None, expires_at=at(61 * DAY)), o=NEXT_TO_IT),
        Situation.fillable_slot,
        None,
    ),
    (
        "the second slot of a key that we made is ours, whoever used it",
        so(CURRENT, silence="two", o=NEXT_TO_IT),
        Situation.fillable_slot,
        "two",
    ),
    # Strangers.
    (
        "a stranger is in the way for an overlap after the last use",
        so(CURRENT, o=NEXT_TO_IT),
        lambda s: s.strangers_in_the_way,
        InUse("two", at(-1), at(DAY - 1)),
    ),
    (
        "not of a rotation that is under way",
        so(CURRENT, wish(2), o=NEXT_TO_IT),
        lambda s: s.strangers_in_the_way,
        None,
    ),
    (
        "not while an earlier version can take over",
        so(OLD, NEWER, spec=THREE, o=seen(looks(OLD), looks(NEWER), strange("three"))),
        lambda s: s.strangers_in_the_way,
        None,
    ),
    (
        "not where another slot is free",
        so(CURRENT, spec=THREE, o=seen(looks(CURRENT), strange(), empty("three"))),
        lambda s: s.strangers_in_the_way,
        None,
    ),
    (
        "who wrote over the slot that lookups depend on is not the one to wait for",
        so(CURRENT, o=seen(looks(CURRENT, mask="theirs", last_used_at=at(-2)), strange())),
        lambda s: s.strangers_in_the_way,
        InUse("two", at(-1), at(DAY - 1)),
    ),
    (
        "of two the one who is gone first",
        so(CURRENT, spec=THREE, o=seen(looks(CURRENT), strange(), strange("three", -2))),
        lambda s: s.strangers_in_the_way,
        InUse("three", at(-2), at(DAY - 2)),
    ),
    # Leaks.
    (
        "without a current version no place is kept for its successor",
        so(replace(RETIRED, compromised_at=at(-1))),
        lambda s: s.wanted_for_replacement(s.versions[0]),
        False,
    ),
    (
        "nor where secrets have no places",
        so(replace(NEWER, compromised_at=at(-1)), spec=KEYLESS, home=None),
        lambda s: s.wanted_for_replacement(s.versions[0]),
        False,
    ),
    *(
        (
            f"after {failures} failures the place is {'' if kept else 'not '}kept",
            so(
                replace(RETIRED, compromised_at=at(-1)),
                replace(NEWER, compromised_at=at(-1)),
                failures=failures,
                o=CAN_RETURN,
            ),
            lambda s: s.wanted_for_replacement(s.versions[0]),
            kept,
        )
        for failures, kept in ((2, True), (3, False))
    ),
    (
        "nor is it kept where an earlier version takes over",
        so(
            replace(RETIRED, compromised_at=at(-1)),
            version(2, Stage.PREVIOUS, "two"),
            replace(version(3, Stage.CURRENT, "three"), compromised_at=at(-1)),
            spec=THREE,
            o=seen(
                looks(RETIRED, "INACTIVE"),
                looks(version(2, Stage.PREVIOUS, "two")),
                looks(version(3, Stage.CURRENT, "three")),
            ),
        ),
        lambda s: s.wanted_for_replacement(s.versions[0]),
        False,
    ),
    # Why a new one is needed.
    (
        "what isn't there isn't due",
        so(orders=(order(OrderKind.ROTATE),)),
        lambda s: s.why_due,
        None,
    ),
    (
        "a report is no reason where a probe can be asked",
        so(replace(CURRENT, reported_at=at(-1))),
        lambda s: s.why_due,
        None,
    ),
    (
        "what comes by hand and never expires is never due",
        so(version(1, Stage.CURRENT, None, expires_at=None), spec=BY_HAND),
        lambda s: s.why_due,
        None,
    ),
    # What can take over.
    (
        "a retired one takes over from a dead one",
        so(RETIRED, DOWN, o=CAN_RETURN),
        Situation.spare,
        RETIRED,
    ),
    (
        "what comes by hand as well, where nothing is current",
        so(version(1, Stage.PREVIOUS, None), spec=BY_HAND),
        lambda s: s.spare() is not None,
        True,
    ),
    (
        "but not from a leaked one: somebody switched it off",
        so(RETIRED, replace(NEWER, compromised_at=at(-1)), o=CAN_RETURN),
        Situation.spare,
        None,
    ),
    (
        "not one that was tried and refused",
        so(RETIRED, DOWN, TRIED, o=CAN_RETURN),
        Situation.spare,
        None,
    ),
    (
        "nor one that was refused like the current secret: it is tried once",
        so(STAYS, SHUT, TOGETHER, o=BOTH_GOOD),
        Situation.spare,
        None,
    ),
    (
        "it is depended on once that is accepted again",
        so(STAYS, replace(SHUT, dead_at=None), TOGETHER, o=BOTH_GOOD),
        lambda s: s.depends_on(ONE),
        True,
    ),
    (
        "not while it isn't",
        so(STAYS, SHUT, TOGETHER, o=BOTH_GOOD),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "nor if it was refused by itself, then or another time",
        so(
            STAYS,
            replace(SHUT, dead_at=None),
            TOGETHER,
            replace(TOGETHER, number=4, given_up="refused"),
            o=BOTH_GOOD,
        ),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "nor if nothing is current",
        so(STAYS, TOGETHER, o=BOTH_GOOD),
        lambda s: s.depends_on(ONE),
        False,
    ),
    (
        "another one's refusal doesn't count",
        so(RETIRED, DOWN, replace(TRIED, slot="two", carries=2), o=CAN_RETURN),
        Situation.spare,
        RETIRED,
    ),
    (
        "nor a try that is under way",
        so(RETIRED, DOWN, wish(3, "one", carries=1), o=CAN_RETURN),
        Situation.spare,
        RETIRED,
    ),
    (
        "not one whose place holds another secret",
        so(RETIRED, version(2, Stage.RETIRED, stored=False), replace(DOWN, number=3), o=CAN_RETURN),
        Situation.spare,
        None,
    ),
    (
        "not one whose secret died under another number",
        so(
            RETIRED,
            version(2, Stage.REVOKED, attempt=RETIRED.attempt, dead_at=at(-9)),
            replace(DOWN, number=3),
            o=CAN_RETURN,
        ),
        Situation.spare,
        None,
    ),
    (
        "not one that is what lookups hand out, under another number",
        so(RETIRED, replace(DOWN, slot="one", attempt=RETIRED.attempt, dead_at=None), o=CAN_RETURN),
        Situation.spare,
        None,
    ),
    (
        "with nothing current it takes over too",
        so(RETIRED, o=CAN_RETURN),
        Situation.spare,
        RETIRED,
    ),
    (
        "not one that would expire while it is verified",
        so(
            replace(RETIRED, expires_at=at(2)),
            DOWN,
            o=seen(looks(RETIRED, "INACTIVE", expires_at=at(2)), looks(NEWER)),
        ),
        Situation.spare,
        None,
    ),
    (
        "one that never expires does",
        so(
            forever := replace(RETIRED, expires_at=None),
            DOWN,
            o=seen(looks(forever, "INACTIVE"), looks(NEWER)),
        ),
        Situation.spare,
        forever,
    ),
    (
        "not one whose slot is gone",
        so(RETIRED, DOWN, o=seen(looks(RETIRED, "REVOKED"), looks(NEWER))),
        Situation.spare,
        None,
    ),
    # What came to nothing.
    (
        "three times in a row given up, it rests from the last on",
        so(CURRENT, *THRICE),
        Situation.rest_after_giving_up,
        at(30),
    ),
    ("twice is not enough", so(CURRENT, *THRICE[:2]), Situation.rest_after_giving_up, None),
    (
        "an order since then ends the rest",
        so(CURRENT, *THRICE, orders=(order(OrderKind.ROTATE),)),
        Situation.rest_after_giving_up,
        None,
    ),
    *(
        (
            f"an order {what} doesn't",
            so(CURRENT, *THRICE, orders=(given,)),
            Situation.rest_after_giving_up,
            at(30),
        )
        for what, given in (
            ("from before", order(OrderKind.ROTATE, recorded_at=at(-31))),
            ("of that moment", order(OrderKind.ROTATE, recorded_at=at(-30))),
            ("that is done", order(OrderKind.ROTATE, state="done")),
        )
    ),
    (
        "after an hour it is over",
        so(CURRENT, *(replace(v, requested_at=at(-60)) for v in THRICE)),
        Situation.rest_after_giving_up,
        None,
    ),
    (
        "given up this moment it rests for the hour",
        so(CURRENT, *(replace(v, requested_at=at(0)) for v in THRICE)),
        Situation.rest_after_giving_up,
        at(60),
    ),
    (
        "given up before the clock was set back it doesn't rest for longer than that",
        so(CURRENT, *(replace(v, requested_at=at(600)) for v in THRICE)),
        Situation.rest_after_giving_up,
        None,
    ),
    (
        "what was given up before the last promotion is past",
        so(version(1, Stage.REVOKED), *THRICE, version(5, Stage.CURRENT)),
        lambda s: (s.rest_after_giving_up(), s.last_given_up),
        (None, None),
    ),
    (
        "the first version ever may be given up as well",
        so(given_up(1)),
        lambda s: s.last_given_up,
        "refused",
    ),
    (
        "what is neither promoted nor given up says nothing",
        so(CURRENT, given_up(2), wish(3)),
        lambda s: s.last_given_up,
        "refused",
    ),
    *(
        (
            f"a failed {step} of a wish that nobody has any more is {'' if past else 'not '}past",
            so(CURRENT, failed_step=step, failures=1),
            lambda s: s.given_up_for_good,
            past,
        )
        for step, past in (
            ("create", True),
            ("issue", True),
            ("carry", True),
            ("activate", True),
            ("verify", True),
            ("claim", True),
            ("retire", True),
            (None, True),
            ("revoke", False),
            ("observe", False),
        )
    ),
    (
        "it is not while the rotation goes on",
        so(CURRENT, wish(2), failed_step="issue", failures=1),
        lambda s: s.given_up_for_good,
        False,
    ),
    (
        "nor while it is due",
        so(CURRENT, failed_step="issue", failures=1, orders=(order(OrderKind.ROTATE),)),
        lambda s: s.given_up_for_good,
        False,
    ),
    (
        "nor while nothing can be handed out",
        so(replace(CURRENT, dead_at=at(-1)), failed_step="issue", failures=1),
        lambda s: s.given_up_for_good,
        False,
    ),
    *(
        (
            f"a switch that failed is {'' if past else 'not '}past {what}",
            so(*versions, failed_step=step, failures=1, o=shown, **more),
            lambda s: s.given_up_for_good,
            past,
        )
        for step in ("claim", "retire", None)
        for what, versions, shown, more, past in (
            ("before its overlap is over", (OLD, NEWER), None, {}, True),
            ("after that", (OVER, NEWER), seen(looks(OVER), looks(NEWER)), {}, False),
            (
                "while it is used again",
                (OVER, NEWER),
                seen(looks(OVER, last_used_at=at(-1)), looks(NEWER)),
                {},
                True,
            ),
            ("where it stays for ever", (OVER, NEWER), None, {"spec": KEPT}, True),
            ("with the standby still on", (CURRENT,), None, {"silence": "two"}, False),
            ("with a leak", (replace(RETIRED, compromised_at=at(-1)), NEWER), None, {}, False),
            (
                "with a leak that is destroyed",
                (replace(RETIRED, compromised_at=at(-2), revoked_at=at(-1)), NEWER),
                None,
                {},
                True,
            ),
            (
                "with an order for it",
                (CURRENT,),
                None,
                {"orders": (order(OrderKind.DEACTIVATE, slot="two"),)},
                False,
            ),
        )
    ),
    *(
        (
            f"a key begun {what} the order for one is {'' if begun else 'not '}gone on with",
            so(
                CURRENT,
                given_up(2, handle="made", requested_at=at(minutes)),
                orders=(order(OrderKind.NEW_KEY, recorded_at=at(-5)),),
            ),
            Situation.key_begun,
            begun,
        )
        for what, minutes, begun in (
            ("before", -6, None),
            ("at", -5, "made"),
            ("after", -4, "made"),
        )
    ),
    (
        "nor is one without any order",
        so(CURRENT, given_up(2, handle="made")),
        Situation.key_begun,
        None,
    ),
    # Slots that can't be filled, and those that will be.
    (
        "with both slots refused it is stuck",
        so(*BOTH_REFUSED, o=BOTH_GONE),
        lambda s: s.stuck,
        True,
    ),
    (
        "not where a whole new key is ordered",
        so(*BOTH_REFUSED, o=BOTH_GONE, orders=TO_ANOTHER_KEY),
        lambda s: s.stuck,
        False,
    ),
    (
        "with one refused and the other in use as well",
        so(CURRENT, replace(REFUSED, number=2), o=seen(looks(CURRENT), empty(state="REVOKED"))),
        lambda s: s.stuck,
        True,
    ),
    (
        "not if what is in the other has expired: that can be filled",
        so(
            replace(CURRENT, expires_at=at(-1)),
            replace(REFUSED, number=2),
            o=seen(looks(CURRENT, expires_at=at(-1)), empty(state="REVOKED")),
        ),
        lambda s: s.stuck,
        False,
    ),
    (
        "a slot is waited for to the end of its overlap",
        so(OLD, NEWER, o=BOTH_ON),
        lambda s: s.waits_for_slot,
        at(DAY - 60),
    ),
    (
        "of two the later one",
        so(
            OLD,
            version(2, Stage.PREVIOUS, "two", replaced_at=at(-30)),
            version(3, Stage.CURRENT, "three"),
            spec=THREE,
        ),
        lambda s: s.waits_for_slot,
        at(DAY - 30),
    ),
    ("not where another is free", so(OLD, NEWER, spec=THREE), lambda s: s.waits_for_slot, None),
    ("not where there are none", so(OLD, NEWER, spec=KEYLESS), lambda s: s.waits_for_slot, None),
    ("nor a key", so(home=None), lambda s: s.waits_for_slot, None),
    (
        "an overlap that is over is not waited for: something else holds it up",
        so(OVER, NEWER, o=BOTH_ON),
        lambda s: s.waits_for_slot,
        None,
    ),
    (
        "nor one that ends this moment",
        so(replace(OLD, replaced_at=at(-DAY)), NEWER, o=BOTH_ON),
        lambda s: s.waits_for_slot,
        None,
    ),
    # Reports and suspicions.
    *(
        (
            f"a report {what} is examined {when}",
            so(replace(CURRENT, reported_at=at(-1), examined_at=asked)),
            lambda s: s.report_examined_at(s.versions[0]),
            when,
        )
        for what, asked, when in (
            ("that nobody looked into", None, NOW),
            ("of what was examined before it", at(-2), NOW),
            ("examined in the future of a clock set back", at(5), NOW),
            ("that got no answer", at(-0.5), NOW),
            ("that got none at once", at(-1), at(-1 + 5 / 60)),
        )
    ),
    *(
        (
            f"{'what ends later is' if asked else 'what has ended is not'} asked about",
            so(replace(CURRENT, reported_at=NOW, examined_at=NOW, expires_at=at(ends))),
            lambda s: s.probes_at,
            asked,
        )
        for ends, asked in ((1, at(5 / 60)), (0, None), (-1, None))
    ),
    (
        "what is known to be dead is not suspected",
        so(
            replace(CURRENT, issued_at=at(-0.5), dead_at=at(-0.2)),
            o=seen(looks(CURRENT, "REVOKED"), empty()),
        ),
        lambda s: s.suspected(s.versions[0]),
        False,
    ),
    *(
        (
            f"one refusal {'is too little for' if two else 'is enough for'} {what}",
            so(v),
            lambda s: s.takes_two(s.versions[0]),
            two,
        )
        for what, two, v in (
            ("what lookups hand out", True, CURRENT),
            ("what a client reported", False, replace(CURRENT, reported_at=at(-1))),
            ("what was found dead before", False, replace(CURRENT, dead_at=at(-1))),
            ("what leaked", False, replace(CURRENT, compromised_at=at(-1))),
            ("what a backup brought back", False, replace(CURRENT, restored_at=at(-1))),
            ("what nobody uses", False, RETIRED),
            ("what was refused a minute ago", False, replace(REFUSED_ONCE, examined_at=at(-1))),
            ("what was long ago", True, replace(REFUSED_ONCE, examined_at=at(-1.05))),
        )
    ),
    (
        "what nobody ever examined nor promoted was known to be good when it was asked for",
        so(version(1, Stage.CURRENT, None, promoted_at=None), spec=ASKED),
        lambda s: s.suspected(s.versions[0]),
        True,
    ),
    *(
        (
            f"{what} is {'' if when else 'not '}asked about by itself",
            so(v, spec=spec),
            lambda s: s._asked_at(s.versions[0]),
            when,
        )
        for what, spec, v, when in (
            ("what comes by hand", ASKED, EXAMINED, at(14)),
            ("what nobody can be asked about", BY_HAND, EXAMINED, None),
            ("what the store has lost", ASKED, replace(EXAMINED, stored=False), None),
            ("what a backup brought back", ASKED, replace(EXAMINED, restored_at=at(-2)), None),
            ("what the provider shows", SPEC, replace(CURRENT, examined_at=at(-1)), None),
        )
    ),
    # Overlaps.
    (
        "an overlap is as long as it was when it began",
        so(replace(OLD, overlap=timedelta(hours=2)), NEWER),
        lambda s: s.overlap_ends(s.versions[0]),
        at(60),
    ),
    (
        "it lasts at most until the next rotation",
        so(OLD, NEWER),
        lambda s: s.overlap_cap(s.versions[0]) == s.c.due_at(NEWER),
        True,
    ),
    *(
        (
            f"not longer than it must where {what}",
            so(OLD, *others, orders=orders),
            lambda s: s.overlap_cap(s.versions[0]),
            at(DAY - 60),
        )
        for what, others, orders in (
            ("that is due", (NEWER,), (order(OrderKind.ROTATE),)),
            ("nothing is current", (), ()),
            ("the new one never expires", (replace(NEWER, expires_at=None),), ()),
        )
    ),
    *(
        (
            f"{what} it is {'' if is_quiet else 'not '}quiet",
            so(replace(OLD, replaced_at=replaced), NEWER, o=seen(looks(OLD, last_used_at=used))),
            lambda s: s.quiet(s.versions[0], NOW),
            is_quiet,
        )
        for what, replaced, used, is_quiet in (
            ("never used", at(-60), None, True),
            ("used since it was replaced", at(-60), at(-59), False),
            ("used just then for the last time", at(-60), at(-60), True),
            ("used half an overlap ago", at(-DAY), at(-DAY / 2), True),
            ("used later than that", at(-DAY), at(1 - DAY / 2), False),
            ("not replaced at all", None, at(-1), True),
        )
    ),
    *(
        (
            f"{what} it goes {when}",
            so(replace(OVER, replaced_at=replaced), NEWER, spec=WAITS, o=shown),
            lambda s: s.goes_at(s.versions[0]),
            when,
        )
        for what, replaced, shown, when in (
            ("in its overlap, used or not,", at(-60), USED, at(DAY - 60)),
            ("near the end of it, used,", at(-23 * 60), USED, at(60)),
            ("at the end of it, used,", at(-DAY), USED, at(DAY / 2 - 1)),
            ("after it, used,", at(-2 * DAY), USED, at(DAY / 2 - 1)),
            ("after it, not used,", at(-2 * DAY), BOTH_ON, at(-DAY)),
            ("taken by who is connected", at(-2 * DAY), replace(USED, taken=(1,)), at(DAY)),
            ("taken, and not shown", at(-2 * DAY), Observed(NOW, (), (1,)), at(DAY)),
        )
    ),
    (
        "where nobody looked nobody is known to have taken it",
        so(OVER, NEWER, spec=WAITS),
        lambda s: s.still_taken(s.versions[0]),
        False,
    ),
    *(
        (
            f"the current secret is {'' if well else 'not '}sound: {what}",
            so(*versions, o=shown),
            lambda s: s.current_is_sound,
            well,
        )
        for what, versions, shown, well in (
            ("it is shown as it should be", (CURRENT,), seen(looks(CURRENT)), True),
            ("there is none", (), seen(looks(CURRENT)), False),
            ("it is dead", (replace(CURRENT, dead_at=at(-1)),), seen(looks(CURRENT)), False),
            (
                "it expired",
                (replace(CURRENT, expires_at=at(0)),),
                seen(looks(CURRENT, expires_at=at(0))),
                False,
            ),
            ("nobody looked", (CURRENT,), None, False),
            ("another one is shown", (CURRENT,), seen(looks(CURRENT, mask="theirs")), False),
            ("it is off", (CURRENT,), seen(looks(CURRENT, "INACTIVE")), False),
        )
    ),
    ("with every call answered none is waited for", so(fenced=False), lambda s: s.quiet_from, None),
    # When to look again.
    (
        "where there is nothing to look at no look comes",
        so(home=None, spec=KEYLESS, o=QUIET),
        lambda s: s.comes_at,
        None,
    ),
    (
        "when an earlier version expires nothing comes",
        so(replace(RETIRED, expires_at=at(10)), replace(NEWER, expires_at=None, promoted_at=None)),
        lambda s: s.comes_at,
        None,
    ),
    (
        "unless it leaked: then it is destroyed by that",
        so(replace(RETIRED, expires_at=at(10), compromised_at=at(-1)), NEWER),
        lambda s: s.comes_at,
        at(10),
    ),
    (
        "if it wasn't before",
        so(
            replace(RETIRED, expires_at=at(10), compromised_at=at(-1), revoked_at=at(-1)),
            replace(NEWER, expires_at=None, promoted_at=None),
        ),
        lambda s: s.comes_at,
        None,
    ),
    (
        "or never expires",
        so(replace(RETIRED, expires_at=None, compromised_at=at(-1))),
        lambda s: s.comes_at,
        None,
    ),
    ("a rest ends", so(CURRENT, *THRICE), lambda s: s.comes_at, at(30)),
    (
        "what is now does not come",
        so(replace(CURRENT, expires_at=at(0))),
        lambda s: s.comes_at,
        None,
    ),
    # What is taken for a stranger's.
    *(
        (
            f"a slot that {what} is not taken by a stranger",
            so(CURRENT, REPLACING, o=seen(looks(CURRENT), shown)),
            lambda s: s.taken_by_a_stranger(s.versions[1]),
            False,
        )
        for what, shown in (
            ("is off", replace(strange(used=-0.5), state="INACTIVE")),
            ("nobody ever used", empty(state="ACTIVE")),
            ("holds what it held before", strange(used=-0.5, mask="before")),
            ("was used before the wish only", strange(used=-2)),
            ("was used at the moment of the wish", strange(used=-1)),
        )
    ),
    (
        "a wish for another key is not for the place of a leak",
        so(OLD, NEWER, wish(3, "one", handle="made")),
        lambda s: s.filling(ONE),
        False,
    ),
    ("a wish for it is", so(OLD, NEWER, wish(3, "one")), lambda s: s.filling(ONE), True),
]


@pytest.mark.parametrize(
    ("situation", "question", "answer"),
    [pytest.param(*row, id=f"{at_} {sentence}") for at_, (sentence, *row) in enumerate(QUESTIONS)],
)
def test_what_is_so(
    situation: Situation, question: Callable[[Situation], object], answer: object
) -> None:
    assert question(situation) == answer


def test_without_a_key_there_is_nothing_to_wait_for() -> None:
    assert Situation(Credential(SPEC), None, NOW).waits_for_slot is None
    assert Situation(Credential(TOKENS), None, NOW).waits_for_slot is None
