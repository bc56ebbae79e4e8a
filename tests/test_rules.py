"""Each condition of a rule by itself: what is decided where only that one speaks.

Found by mutation testing (`python -m tests.mutation core`): test_rotation.py has the life of a
credential, these are the corners in which a forgotten condition would show.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core.model import (
    NOT_SHOWN,
    Credential,
    KeySeen,
    Observed,
    OrderKind,
    Place,
    SlotSeen,
    Spec,
    Stage,
)
from keyman.core.policy import WISH_LIVES, Verification
from keyman.core.rotation import next_step
from keyman.core.situation import NEITHER_ACCEPTED
from keyman.core.steps import (
    Abandon,
    Accept,
    Activate,
    Claim,
    Examine,
    Issue,
    Observe,
    Promote,
    Request,
    Retire,
    Revoke,
    Step,
    Verify,
    Wait,
)
from tests.credentials import (
    BOTH_GOOD,
    BY_HAND,
    CURRENT,
    DAY,
    FILLED,
    FRESH,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    PROVEN,
    QUIET,
    SHOWN,
    SHUT,
    SPEC,
    STAYS,
    TOGETHER,
    TOKENS,
    TWO,
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

OLD = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-2 * DAY))
BOTH_ON = seen(looks(OLD), looks(NEWER))
EXPIRY = at(90 * DAY)
RESTORED = replace(CURRENT, restored_at=at(-60))
UNPROBED = replace(SPEC, probes=False)
LOST_ANSWER: dict[str, Any] = {"unanswered_at": at(-1), "fenced": False}


def asked(why: str, slot: str = "two") -> Request:
    return Request(slot, "key", EXPIRY, None, why)


def waiting_at_most(days: int) -> Spec:
    return replace(SPEC, policy=replace(POLICY, max_overlap=timedelta(days=days)))


def keys(*shown: tuple[str, str]) -> Observed:
    """Keys of their own, by handle and state."""
    return Observed(
        NOW,
        tuple(KeySeen(h, s, (SlotSeen(None, s, None, at(80 * DAY)),)) for h, s in shown),
    )


OF_KEYS: dict[str, Any] = {"spec": KEYLESS, "home": None}
IN_USE = version(2, Stage.CURRENT, None, handle="now", promoted_at=at(-60))
OWN = version(3, Stage.REVOKED, None, handle="left", given_up="refused", promoted_at=None)
LEFT_LEAKED: dict[str, Any] = {"stage": Stage.RETIRED, "given_up": None, "compromised_at": at(-1)}
EXPIRED = "the current secret expired"
NOT_STORED = "the current secret is not in the store any more"

LATER = version(2, Stage.CURRENT, "one", promoted_at=at(-60))

REFUSED = "the provider refuses the current secret"
PATIENT = "the provider shows as good what it refuses"
# Taken over after two minutes of refusals, and accepted by now.
RETURNS = replace(
    TOGETHER,
    stage=Stage.PENDING,
    given_up=None,
    stored=True,
    refusals=9,
    successes=20,
    verified_at=at(-0.1),
)
UNPROVEN = replace(SPEC, policy=replace(POLICY, verify=Verification(successes=0)))
SHUT_BEFORE = replace(SHUT, examined_at=at(-0.2))
THREE = seen(looks(STAYS), looks(SHUT), minutes=-0.3)
WORN = replace(FILLED, refusals=1, probe_from=at(-2), probed_at=at(-0.5))

TABLE: list[tuple[str, Credential, Observed | None, Step]] = [
    # Reports and probes.
    (
        "a report about what has expired needs no probe: it is replaced",
        credential(over := replace(CURRENT, expires_at=at(-1), reported_at=at(-2))),
        seen(looks(over), empty()),
        asked(EXPIRED),
    ),
    (
        "nor one about what the store has lost: there is nothing to probe with",
        credential(replace(CURRENT, stored=False, reported_at=at(-2))),
        QUIET,
        asked(NOT_STORED),
    ),
    (
        "where nobody can be asked a report is reason enough",
        credential(replace(CURRENT, reported_at=at(-1)), spec=UNPROBED),
        QUIET,
        asked("a client reported that it is refused"),
    ),
    (
        "an examination that failed is made again after its rest",
        credential(
            reported := replace(CURRENT, reported_at=at(-1)),
            retry_at=at(-1),
            failures=1,
            failed_step="examine",
        ),
        QUIET,
        Examine(reported),
    ),
    (
        "what a report told of and another step's rest holds up is examined during that rest",
        credential(reported, retry_at=at(5), failures=1, failed_step="issue"),
        QUIET,
        Examine(reported),
    ),
    (
        "what is dead by the journal is probed again with each new picture, whatever that shows",
        credential(dead := replace(CURRENT, dead_at=at(-30), examined_at=at(-20))),
        QUIET,
        Examine(dead),
    ),
    (
        "so is what a backup brought back and a probe refused",
        credential(
            replace(RESTORED, dead_at=at(-30), examined_at=at(-20)),
        ),
        QUIET,
        Examine(replace(RESTORED, dead_at=at(-30), examined_at=at(-20))),
    ),
    (
        "where nobody can be asked what the provider shows is believed",
        credential(CURRENT, spec=UNPROBED),
        seen(looks(CURRENT, "INACTIVE"), empty()),
        asked("its slot is INACTIVE"),
    ),
    (
        "a suspicion about what has expired is not probed",
        credential(
            late := replace(CURRENT, issued_at=at(-0.5), expires_at=at(-0.1), mask_before="older")
        ),
        seen(looks(late, "REVOKED"), empty()),
        asked(EXPIRED),
    ),
    (
        "nor one about what is not in the store",
        credential(unkept := replace(CURRENT, issued_at=at(-0.5), stored=False)),
        seen(looks(unkept, "REVOKED"), empty()),
        asked(NOT_STORED),
    ),
    # Adoption.
    (
        "a secret that comes by hand is waited for, and nothing is asked for it",
        Credential(BY_HAND),
        None,
        Wait(at(60), "not adopted"),
    ),
    (
        "a look at a key to be adopted that failed rests",
        Credential(replace(SPEC, key_id="key"), retry_at=at(5), failures=1, failed_step="observe"),
        None,
        Wait(at(60), "not adopted"),
    ),
    # Doubt.
    (
        "a doubt about nothing that could be shown asks nobody",
        Credential(KEYLESS, doubt_at=at(-1)),
        None,
        Request(None, None, EXPIRY, None, "no current secret"),
    ),
    (
        "a look that failed is repeated after its rest",
        credential(CURRENT, doubt_at=at(-1), retry_at=at(-1), failures=1, failed_step="observe"),
        QUIET,
        Observe(("key",)),
    ),
    # Out of a backup.
    (
        "what a backup brought back and has expired is replaced, not proven",
        credential(stale := replace(RESTORED, expires_at=at(-1))),
        seen(looks(stale), empty()),
        asked(EXPIRED),
    ),
    (
        "so is what it brought back without its secret",
        credential(replace(RESTORED, stored=False)),
        QUIET,
        asked(NOT_STORED),
    ),
    (
        "a call of an earlier owner is waited for before what a backup brought is proven",
        credential(RESTORED, **LOST_ANSWER),
        QUIET,
        Wait(at(5), "a call of an earlier owner may still arrive"),
    ),
    (
        "with our mark on the key first",
        credential(RESTORED, claimed=0, **LOST_ANSWER),
        QUIET,
        Claim("key", 1),
    ),
    (
        "not longer than a call can take",
        credential(RESTORED, unanswered_at=at(-6), fenced=False),
        QUIET,
        Examine(RESTORED),
    ),
    (
        "nor where its place is not to be seen, so that no call can reach it",
        credential(elsewhere := replace(RESTORED, slot="three"), **LOST_ANSWER),
        seen(empty("one"), empty()),
        Examine(elsewhere),
    ),
    (
        "nor is one refusal asked about again meanwhile",
        credential(replace(RESTORED, refusals=1, examined_at=at(-0.5)), **LOST_ANSWER),
        QUIET,
        Wait(at(5), "a call of an earlier owner may still arrive"),
    ),
    # Leaks.
    (
        "a leak in an earlier key that is not shown does not hold up the new key either",
        credential(
            replace(OLD, handle="left", compromised_at=at(-1), examined_at=at(0)),
            NEWER,
            orders=(order(OrderKind.NEW_KEY),),
        ),
        Observed(NOW, (*seen(empty("one"), looks(NEWER)).keys, KeySeen("left", NOT_SHOWN, ()))),
        Request("one", None, EXPIRY, None, "ordered"),
    ),
    (
        "other failures do not hold up a revocation",
        credential(
            leaked := replace(OLD, compromised_at=at(-9)),
            replace(NEWER, expires_at=at(10 * DAY)),
            failed_step="retire",
            failures=3,
            retry_at=at(-1),
        ),
        seen(looks(OLD), looks(replace(NEWER, expires_at=at(10 * DAY)))),
        Revoke(leaked),
    ),
    (
        "nor do the first two refusals of it",
        credential(
            leaked,
            replace(NEWER, expires_at=at(10 * DAY)),
            failed_step="revoke",
            failures=2,
            retry_at=at(-1),
        ),
        seen(looks(OLD), looks(replace(NEWER, expires_at=at(10 * DAY)))),
        Revoke(leaked),
    ),
    (
        "a leaked wish is not revoked: nobody has its secret yet",
        credential(replace(WISH, compromised_at=at(-0.5))),
        seen(empty("one"), empty()),
        Issue(replace(WISH, compromised_at=at(-0.5))),
    ),
    (
        "what nobody can revoke dies when it expires",
        credential(
            version(1, Stage.PREVIOUS, None, handle="a", replaced_at=at(-1), compromised_at=at(-1)),
            version(2, Stage.CURRENT, None, promoted_at=at(-1), issued_at=at(-1)),
            spec=TOKENS,
            home=None,
        ),
        None,
        Wait(at(1439), "nothing due"),
    ),
    (
        "a leak is destroyed before its key is left, where its key is shown",
        credential(replace(OLD, compromised_at=at(-1)), NEWER, orders=(order(OrderKind.NEW_KEY),)),
        BOTH_ON,
        Revoke(replace(OLD, compromised_at=at(-1))),
    ),
    (
        "a leaked secret that is not in the store any more cannot be probed: it is revoked",
        credential(
            unread := version(1, Stage.RETIRED, handle="left", compromised_at=at(-1), stored=False),
            NEWER,
        ),
        Observed(
            NOW,
            (*seen(empty("one"), looks(NEWER)).keys, KeySeen("left", NOT_SHOWN, ())),
        ),
        Revoke(unread),
    ),
    # A rotation in flight.
    (
        "a wish is good until just before the retry token's life ends",
        credential(CURRENT, replace(WISH, requested_at=NOW - WISH_LIVES)),
        QUIET,
        Issue(replace(WISH, requested_at=NOW - WISH_LIVES)),
    ),
    (
        "without slots a wish needs no object made before it",
        credential(keyless := wish(1, None, handle=None), spec=KEYLESS, home=None),
        None,
        Issue(keyless),
    ),
    (
        "what leaked before it was promoted is revoked, and given up where that is refused",
        credential(
            CURRENT,
            spilt := replace(PROVEN, compromised_at=at(-1)),
            failed_step="revoke",
            failures=3,
            retry_at=at(-1),
        ),
        SHOWN,
        Abandon(spilt, "it leaked before it was promoted"),
    ),
    (
        "what ran out before it was promoted is given up for that reason",
        credential(CURRENT, ran_out := replace(PROVEN, expires_at=at(0))),
        seen(looks(CURRENT), looks(ran_out)),
        Abandon(ran_out, "it expired before it was promoted"),
    ),
    (
        "once no call without an answer can arrive any more it is promoted",
        credential(CURRENT, PROVEN, unanswered_at=at(-6), fenced=False),
        SHOWN,
        Promote(PROVEN),
    ),
    (
        "accepted once in all that time, it is not given up for being slow",
        credential(
            CURRENT, slow := replace(FILLED, refusals=0, probe_from=at(-3), probed_at=at(-1))
        ),
        SHOWN,
        Verify(slow),
    ),
    (
        "refused, it is given the time that it may take",
        credential(
            CURRENT, refused := replace(FILLED, refusals=1, probe_from=at(-1), probed_at=at(-0.5))
        ),
        SHOWN,
        Verify(refused),
    ),
    (
        "refused for exactly as long as is allowed is too long",
        credential(
            CURRENT, worn := replace(FILLED, refusals=1, probe_from=at(-2), probed_at=at(-0.5))
        ),
        SHOWN,
        Abandon(worn, "the provider did not accept it in time"),
    ),
    (
        "a leak is revoked while another slot is filled",
        credential(
            leaked, NEWER, wish(3, "one", handle="made"), orders=(order(OrderKind.NEW_KEY),)
        ),
        Observed(NOW, (*BOTH_ON.keys, KeySeen("made", "ACTIVE", (empty("one"),)))),
        Revoke(leaked),
    ),
    (
        "where the provider has no room for a mark none is made",
        credential(leaky := replace(OWN, **LEFT_LEAKED), IN_USE, claimed=0, **OF_KEYS),
        keys(("left", "ACTIVE"), ("now", "ACTIVE")),
        Revoke(leaky),
    ),
    (
        "nor on a key that there is not yet",
        credential(
            unmade := wish(1, None, handle=None), spec=replace(SPEC, slots=()), home=None, claimed=0
        ),
        None,
        Issue(unmade),
    ),
    (
        "refusals without a beginning are no reason to give up",
        credential(CURRENT, vague := replace(FILLED, refusals=1, probed_at=at(-9))),
        SHOWN,
        Verify(vague),
    ),
    (
        "a proof counts for as long as a new one may take",
        credential(CURRENT, fair := replace(PROVEN, verified_at=at(-2))),
        SHOWN,
        Promote(fair),
    ),
    (
        "after that it is probed at once, however lately it was",
        credential(CURRENT, aged := replace(PROVEN, verified_at=at(-3), probed_at=at(0))),
        SHOWN,
        Verify(aged),
    ),
    (
        "what nobody shows is probed without having been shown",
        credential(token := pending(1, None, handle=None), spec=TOKENS, home=None),
        None,
        Verify(token),
    ),
    (
        "what shows this very secret revoked is no old picture",
        credential(CURRENT, fresh := replace(FILLED, issued_at=at(-0.2))),
        seen(looks(CURRENT), looks(fresh, "REVOKED")),
        Abandon(fresh, "its slot is gone, revoked or expired at the provider"),
    ),
    (
        "a slot that is not there any more is given up",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT)),
        Abandon(FILLED, "its slot is gone, revoked or expired at the provider"),
    ),
    (
        "switched on a moment ago it may be shown late",
        credential(CURRENT, waking := replace(FILLED, mask_before="older", activated_at=at(-0.5))),
        seen(looks(CURRENT), looks(waking, mask="older")),
        Wait(at(1 / 60), "the provider does not show it yet"),
    ),
    (
        "not shown for as long as it may take is too long",
        credential(CURRENT, unshown := replace(FILLED, mask_before="older", issued_at=at(-2))),
        seen(looks(CURRENT), looks(unshown, mask="older")),
        Abandon(unshown, "the provider does not show it"),
    ),
    (
        "a slot that is off with the secret before is not switched on for that",
        credential(CURRENT, off := replace(FILLED, mask_before="older", issued_at=at(-1.5))),
        seen(looks(CURRENT), looks(off, "INACTIVE", mask="older")),
        Wait(at(1 / 60), "the provider does not show it yet"),
    ),
    (
        "nor is one in a state that nobody knows",
        credential(CURRENT, FRESH),
        seen(looks(CURRENT), looks(FRESH, "UPDATING")),
        Wait(at(1 / 60), "the provider does not show it yet"),
    ),
    (
        "it is looked at again as soon as that is due",
        credential(CURRENT, FRESH),
        seen(looks(CURRENT), looks(FRESH, "UPDATING"), minutes=-1 / 60),
        Observe(("key",)),
    ),
    (
        "one that stays so is given up, lest it be waited for in silence",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT), looks(FILLED, "UPDATING")),
        Abandon(FILLED, "the provider shows it as UPDATING"),
    ),
    (
        "so is one that the provider leaves off, though it was switched on",
        credential(CURRENT, on := replace(FILLED, activated_at=at(-1))),
        seen(looks(CURRENT), looks(on, "INACTIVE")),
        Abandon(on, "the provider does not switch it on"),
    ),
    (
        "one that could not be switched on until now still is",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT), looks(FILLED, "INACTIVE")),
        Activate(TWO),
    ),
    (
        "what is being accepted after refusals is not given up for the time that they took",
        credential(
            CURRENT,
            better := replace(
                FILLED, refusals=30, successes=29, probe_from=at(-3), probed_at=at(-1)
            ),
        ),
        SHOWN,
        Verify(better),
    ),
    # What a picture leaves open.
    (
        "a current secret whose slot is not shown is asked about",
        credential(CURRENT),
        seen(empty()),
        Examine(CURRENT),
    ),
    (
        "so is one whose key is on its way out, whatever is said of its slot",
        credential(CURRENT),
        seen(looks(CURRENT), empty(), state="DELETING"),
        Examine(CURRENT),
    ),
    (
        "once a picture is enough, and what was accepted is not replaced for that",
        credential(replace(CURRENT, examined_at=at(0))),
        seen(empty()),
        Wait(at(15), "nothing due"),
    ),
    (
        "no slot of a key that was deleted is filled",
        credential(gone := replace(CURRENT, dead_at=at(-1), examined_at=at(0))),
        seen(state="DELETED"),
        Wait(at(15), "nothing due"),
    ),
    # What is shown as over may still work.
    (
        "what is replaced and looks otherwise is asked about before its slot counts as free",
        credential(leaving := version(1, Stage.PREVIOUS, "two"), LATER),
        seen(looks(LATER), looks(leaving, mask="written otherwise")),
        Examine(leaving),
    ),
    (
        "it stays what it is where it was accepted",
        credential(replace(leaving, examined_at=at(0)), LATER),
        seen(looks(LATER), looks(leaving, mask="written otherwise")),
        Wait(at(15), "nothing due"),
    ),
    (
        "it is over where it was refused",
        credential(refused := replace(leaving, examined_at=at(0), dead_at=at(0)), LATER),
        seen(looks(LATER), looks(leaving, mask="written otherwise")),
        Accept(refused, Stage.REVOKED, "its slot holds another secret"),
    ),
    (
        "or once its overlap is",
        credential(over := replace(leaving, replaced_at=at(-2 * DAY)), LATER),
        seen(looks(LATER), looks(over, mask="written otherwise")),
        Accept(over, Stage.REVOKED, "its slot holds another secret"),
    ),
    (
        "before a new secret is filled in over it, what worked before is taken up again",
        credential(
            back := version(1, Stage.PREVIOUS, "two"),
            odd := version(2, Stage.CURRENT, "one", examined_at=at(0), promoted_at=at(-60)),
        ),
        seen(looks(odd, "EXPIRED"), looks(back)),
        Request("two", "key", back.expires_at, 1, "its slot is EXPIRED"),
    ),
    (
        "but not if a person wants a new one",
        credential(back, odd, orders=(order(OrderKind.ROTATE),)),
        seen(looks(odd, "EXPIRED"), looks(back)),
        Request("one", "key", EXPIRY, None, "ordered"),
    ),
    # An inference that refuses everybody.
    (
        "refused together though both are shown as good, neither is overwritten for a while",
        credential(STAYS, SHUT, TOGETHER),
        BOTH_GOOD,
        Wait(at(0.625), PATIENT),
    ),
    (
        "what lookups handed out is asked about again and again meanwhile",
        credential(STAYS, unasked := replace(SHUT, examined_at=at(-2)), TOGETHER),
        seen(looks(STAYS), looks(SHUT), minutes=-2),
        Examine(unasked),
    ),
    (
        "the while over, a slot is filled",
        credential(STAYS, SHUT, replace(TOGETHER, probed_at=at(-5))),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "so it is at once if the current secret was not refused beside it",
        credential(STAYS, SHUT, replace(TOGETHER, given_up="did not accept it")),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if a person wants a new one",
        credential(STAYS, SHUT, TOGETHER, orders=(order(OrderKind.ROTATE),)),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if what lookups handed out leaked as well",
        credential(STAYS, replace(SHUT, compromised_at=at(-1)), TOGETHER),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if the one before was refused by itself as well",
        credential(STAYS, SHUT, replace(TOGETHER, number=4), replace(TOGETHER, given_up="refused")),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if the one before is in its overlap no more",
        credential(replace(STAYS, replaced_at=at(-DAY)), SHUT, TOGETHER),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if that leaked, and is not to be revoked",
        credential(
            replace(STAYS, compromised_at=at(-1)), SHUT, TOGETHER, failed_step="revoke", failures=3
        ),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "or if the current secret's slot shows another one",
        credential(STAYS, SHUT, TOGETHER),
        seen(looks(STAYS), looks(SHUT, mask="another")),
        asked(REFUSED, "one"),
    ),
    (
        "or if it expired meanwhile",
        credential(STAYS, ended := replace(SHUT, expires_at=at(-1)), TOGETHER),
        seen(looks(STAYS), looks(ended)),
        asked(REFUSED, "one"),
    ),
    (
        "where each secret is a key of its own nothing is overwritten: another one is made",
        credential(
            *(replace(v, slot=None, handle=f"own-{v.number}") for v in (STAYS, SHUT, TOGETHER)),
            **OF_KEYS,
        ),
        keys(("own-1", "ACTIVE"), ("own-2", "ACTIVE")),
        Request(None, None, EXPIRY, None, REFUSED),
    ),
    (
        "the while begins when the one before was refused last",
        credential(STAYS, SHUT, replace(TOGETHER, probed_at=at(0))),
        BOTH_GOOD,
        Wait(at(0.625), PATIENT),
    ),
    (
        "and of several tries the last one counts",
        credential(STAYS, SHUT, TOGETHER, replace(TOGETHER, number=4, probed_at=at(-20))),
        BOTH_GOOD,
        Wait(at(0.625), PATIENT),
    ),
    (
        "what was never asked is waited for in vain",
        credential(STAYS, SHUT, replace(TOGETHER, probed_at=None)),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "its end is not slept through",
        credential(STAYS, SHUT, replace(TOGETHER, probed_at=at(-4.5))),
        BOTH_GOOD,
        Wait(at(0.5), PATIENT),
    ),
    (
        "without a current secret it was refused by itself",
        credential(STAYS, TOGETHER, orders=(order(OrderKind.ROTATE),)),
        seen(looks(STAYS)),
        asked("no current secret", "one"),
    ),
    (
        "a first secret that is refused is given up for itself",
        credential(WORN),
        seen(looks(WORN)),
        Abandon(WORN, "the provider did not accept it in time"),
    ),
    (
        "or if the current secret is shown as dead",
        credential(STAYS, SHUT, TOGETHER),
        seen(looks(STAYS), looks(SHUT, "REVOKED")),
        asked(REFUSED, "one"),
    ),
    (
        "once the current secret is back the one before counts as good again",
        credential(
            STAYS,
            replace(SHUT, dead_at=None, refusals=0),
            TOGETHER,
            orders=(order(OrderKind.ROTATE),),
        ),
        BOTH_GOOD,
        Wait(at(15), "nothing due"),
    ),
    (
        "but it is tried once, lest two that are refused by turns be tried for ever",
        credential(STAYS, SHUT, replace(TOGETHER, probed_at=at(-20), requested_at=at(-22))),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "what the store lost can't be asked about meanwhile",
        credential(STAYS, replace(SHUT, stored=False), TOGETHER),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "nor is what a backup brought back",
        credential(STAYS, replace(SHUT, restored_at=at(-60)), TOGETHER),
        BOTH_GOOD,
        asked(REFUSED, "one"),
    ),
    (
        "where an earlier secret was refused too at first, the current one is asked about again",
        credential(STAYS, SHUT_BEFORE, RETURNS),
        THREE,
        Examine(SHUT_BEFORE),
    ),
    (
        "once",
        credential(STAYS, SHUT, RETURNS),
        THREE,
        Promote(RETURNS),
    ),
    (
        "at the latest when the earlier one was accepted",
        credential(STAYS, replace(SHUT, examined_at=RETURNS.verified_at), RETURNS),
        THREE,
        Promote(RETURNS),
    ),
    (
        "not where nothing is to be proven",
        credential(STAYS, SHUT_BEFORE, bare := replace(RETURNS, verified_at=None), spec=UNPROVEN),
        THREE,
        Promote(bare),
    ),
    (
        "not if it was never refused",
        credential(STAYS, SHUT_BEFORE, sure := replace(RETURNS, refusals=0)),
        THREE,
        Promote(sure),
    ),
    (
        "nor beside a new one",
        credential(SHUT_BEFORE, anew := replace(RETURNS, carries=None)),
        seen(looks(SHUT_BEFORE), looks(anew), minutes=-0.3),
        Promote(anew),
    ),
    (
        "nor if it is in no store",
        credential(STAYS, replace(SHUT_BEFORE, stored=False), RETURNS),
        THREE,
        Promote(RETURNS),
    ),
    (
        "nor if the provider shows it as over",
        credential(STAYS, SHUT_BEFORE, RETURNS),
        seen(looks(STAYS), looks(SHUT_BEFORE, "REVOKED"), minutes=-0.3),
        Promote(RETURNS),
    ),
    (
        "what is given up beside a current secret that is refused though shown says so",
        credential(SHUT, tired := replace(WORN, slot="one")),
        seen(looks(SHUT), looks(tired)),
        Abandon(tired, NEITHER_ACCEPTED),
    ),
    # Which rule comes first.
    (
        "a report is examined before anything is looked at",
        credential(reported, doubt_at=at(-1)),
        QUIET,
        Examine(reported),
    ),
    (
        "a rest is kept though a look is due",
        credential(CURRENT, retry_at=at(5), failures=1, failed_step="issue", last_error="503"),
        seen(looks(CURRENT), empty(), minutes=-20),
        Wait(at(5), "1 failed attempts: 503"),
    ),
    (
        "what an old picture speaks against is looked at before it is probed",
        credential(CURRENT),
        seen(looks(CURRENT, "INACTIVE"), empty(), minutes=-20),
        Observe(("key",)),
    ),
    (
        "what lookups hand out is probed before an earlier version is given up",
        credential(OLD, doubtful := replace(NEWER, issued_at=at(-0.5))),
        seen(looks(OLD, "REVOKED"), looks(doubtful, "REVOKED")),
        Examine(doubtful),
    ),
    (
        "what a backup brought back is proven before a leak is destroyed",
        credential(leaked, unproven := replace(NEWER, restored_at=at(-60))),
        BOTH_ON,
        Examine(unproven),
    ),
    (
        "a dead secret is replaced before anything is looked at for tidying up",
        credential(OLD, replace(NEWER, dead_at=at(-5), examined_at=at(-2))),
        seen(looks(OLD), looks(NEWER), minutes=-3),
        Request("one", "key", OLD.expires_at, 1, "the provider refuses the current secret"),
    ),
    (
        "a person's switch comes before a rotation that is due",
        credential(
            due := replace(CURRENT, expires_at=at(10 * DAY)),
            orders=(order(OrderKind.ACTIVATE, slot="two"),),
        ),
        seen(looks(due), empty()),
        Activate(TWO),
    ),
    # Tidying up.
    (
        "a previous version whose slot has another secret by now has nothing to be switched off",
        credential(OLD, taker := version(2, Stage.CURRENT, "one", promoted_at=at(-2 * DAY))),
        seen(looks(taker), empty()),
        Accept(OLD, Stage.RETIRED, "a later version has its place"),
    ),
    (
        "in use or not, at max_overlap it goes",
        credential(OLD, NEWER, spec=waiting_at_most(days=2)),
        seen(looks(OLD, last_used_at=at(-1)), looks(NEWER)),
        Retire(ONE, OLD),
    ),
    (
        "a picture from before it was unused for long enough does not count",
        credential(OLD, NEWER, spec=waiting_at_most(days=9)),
        seen(looks(OLD, last_used_at=at(-720.5)), looks(NEWER), minutes=-1),
        Wait(at(14), "nothing due"),  # a clock that is ahead would have it looked at for ever
    ),
    (
        "where nothing is ever shown, time alone tells that an overlap is over",
        credential(
            unseen := version(1, Stage.PREVIOUS, None, handle="a", replaced_at=at(-2 * DAY)),
            version(2, Stage.CURRENT, None, handle="b"),
            spec=TOKENS,
            home=None,
        ),
        None,
        Retire(Place("a", None), unseen),
    ),
    (
        "the second slot is not switched off beside a current one that is not seen to work",
        credential(replace(CURRENT, examined_at=at(0)), silence="two"),
        seen(looks(CURRENT, "INACTIVE"), empty(state="ACTIVE")),
        asked("its slot is INACTIVE"),
    ),
    (
        "where there is no key there is no slot to switch",
        credential(IN_USE, orders=(order(OrderKind.ACTIVATE, slot="two"),), **OF_KEYS),
        keys(("now", "ACTIVE")),
        Wait(at(15), "nothing due"),
    ),
    (
        "a key that came to nothing and is not shown any more needs no destroying",
        credential(OWN, IN_USE, **OF_KEYS),
        Observed(NOW, (*keys(("now", "ACTIVE")).keys, KeySeen("left", NOT_SHOWN, ()))),
        Accept(OWN, Stage.REVOKED, "destroyed at the provider"),
    ),
    (
        "nor one that is shown to be revoked",
        credential(OWN, IN_USE, **OF_KEYS),
        keys(("left", "REVOKED"), ("now", "ACTIVE")),
        Accept(OWN, Stage.REVOKED, "destroyed at the provider"),
    ),
]


@pytest.mark.parametrize(
    ("told", "shown", "expected"),
    [pytest.param(*row, id=sentence) for sentence, *row in TABLE],
)
def test_next_step(told: Credential, shown: Observed | None, expected: Step) -> None:
    assert next_step(told, shown, NOW) == expected


def test_an_expiry_is_asked_for_in_whole_seconds() -> None:
    """Providers cut fractions off, and what they show must be what was wished."""
    due = replace(CURRENT, expires_at=at(10 * DAY))
    now = NOW + timedelta(seconds=1, microseconds=5)
    shown = seen(looks(due), empty())
    expected = replace(asked("rotate_before reached"), expires_at=EXPIRY + timedelta(seconds=1))
    assert next_step(credential(due), shown, now) == expected
