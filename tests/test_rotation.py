"""What to do next: an English sentence, what the journal says and the provider shows, the step."""

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
    SlotSeen,
    Stage,
    Version,
)
from keyman.core.policy import RetireBy, Verification
from keyman.core.rotation import next_step
from keyman.core.steps import (
    Abandon,
    Accept,
    Activate,
    Carry,
    Claim,
    Create,
    Drop,
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
    name_of,
)
from tests.credentials import (
    CURRENT,
    DAY,
    FILLED,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    PROVEN,
    QUIET,
    SHOWN,
    SPEC,
    TOKENS,
    TWO,
    WISH,
    at,
    credential,
    empty,
    looks,
    order,
    seen,
    version,
    wish,
)

DUE = replace(CURRENT, expires_at=at(10 * DAY))
LEAKED_THEN: dict[str, Any] = {"compromised_at": at(-1)}
LEAKED = replace(CURRENT, compromised_at=at(-1))
AT_ONCE = replace(LEAKED, revoke_first=True)
OLD = version(1, Stage.PREVIOUS, replaced_at=at(-2 * DAY))
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-2 * DAY))
BOTH_ON = seen(looks(OLD), looks(NEWER))
DEAD = replace(CURRENT, dead_at=at(-2), examined_at=at(1))
TO_ANOTHER_KEY = (order(OrderKind.NEW_KEY),)


def policy(**changes: object) -> Credential:
    return credential(CURRENT, spec=replace(SPEC, policy=replace(POLICY, **changes)))  # type: ignore[arg-type]


def also(o: Observed, key: KeySeen) -> Observed:
    return replace(o, keys=(*o.keys, key))


def hidden(handle: str = "key", minutes: float = 0) -> Observed:
    """A picture in which one key is missing; another one beside it is as it was."""
    shown = seen(looks(CURRENT), empty(), minutes=minutes).keys if handle != "key" else ()
    return Observed(at(minutes), (*shown, KeySeen(handle, NOT_SHOWN, ())))


def keyed(handle: str, **more: Any) -> Version:
    """A version whose secret is a key of its own."""
    return version(1, Stage.PREVIOUS, None, handle=handle, **more)


def keys(*shown: tuple[str, str]) -> Observed:
    slots = (SlotSeen(None, state, None, at(80 * DAY)) for _, state in shown)
    return Observed(
        NOW, tuple(KeySeen(h, s, (slot,)) for (h, s), slot in zip(shown, slots, strict=True))
    )


def with_policy(c: Credential, **changes: object) -> Credential:
    spec = replace(c.spec, policy=replace(POLICY, **changes))  # type: ignore[arg-type]
    return replace(c, spec=spec)


EXPIRY = at(90 * DAY)
OF_KEYS: dict[str, Any] = {"spec": KEYLESS, "home": None}
IN_USE = version(2, Stage.CURRENT, None, handle="now", promoted_at=at(-60))
OWN = version(3, Stage.REVOKED, None, handle="left", given_up="refused", promoted_at=None)
BEFORE_OWN = replace(OLD, slot=None, handle="left", attempt=OWN.attempt)
BOTH_KEYS = also(
    Observed(NOW, (KeySeen("now", "ACTIVE", (looks(replace(NEWER, slot=None)),)),)),
    KeySeen("left", "ACTIVE", (SlotSeen(None, "ACTIVE", OLD.mask, OLD.expires_at),)),
)
TABLE: list[tuple[str, Credential, Observed | None, Step | type[Step]]] = [
    # Seeing before acting.
    (
        "a key named in the configuration is looked at and not touched before it is adopted",
        Credential(replace(SPEC, key_id="key")),
        None,
        Observe(("key",)),
    ),
    (
        "nothing more is done with it until its secret was entrusted to us",
        Credential(replace(SPEC, key_id="key")),
        QUIET,
        Wait(at(15), "not adopted"),
    ),
    (
        "a secret that comes by hand is waited for",
        Credential(replace(SPEC, issues=False)),
        None,
        Wait,
    ),
    (
        "without a key one is asked for",
        Credential(SPEC),
        None,
        Request("one", None, EXPIRY, None, "no current secret"),
    ),
    (
        "after a change of ours what was seen before no longer counts",
        credential(CURRENT, doubt_at=at(-1)),
        QUIET,
        Observe(("key",)),
    ),
    (
        "a change is looked at even while resting",
        credential(CURRENT, doubt_at=at(-1), retry_at=at(5), failures=1, failed_step="issue"),
        QUIET,
        Observe(("key",)),
    ),
    (
        "a look that failed is not repeated before the rest is over",
        credential(CURRENT, doubt_at=at(-1), retry_at=at(5), failures=1, failed_step="observe"),
        QUIET,
        Wait,
    ),
    (
        "after a failure everything rests until the backoff is over",
        credential(DUE, retry_at=at(5), failures=2, failed_step="issue", last_error="503"),
        seen(looks(DUE), empty()),
        Wait(at(5), "2 failed attempts: 503"),
    ),
    (
        "and then goes on",
        credential(DUE, retry_at=at(0), failures=2),
        seen(looks(DUE), empty()),
        Request("two", "key", EXPIRY, None, "rotate_before reached"),
    ),
    (
        "the provider is asked every so often",
        credential(CURRENT),
        seen(looks(CURRENT), empty(), minutes=-15),
        Observe(("key",)),
    ),
    (
        "a picture from the future is not believed: the clock was set back",
        credential(CURRENT),
        seen(looks(CURRENT), empty(), minutes=3),
        Observe(("key",)),
    ),
    (
        "a key that another installation drives is left alone, even when due",
        credential(DUE),
        seen(looks(DUE), empty(), owner="elsewhere"),
        Wait(at(15), "the key is managed by installation elsewhere"),
    ),
    (
        "but what it shows to be dead is probed: lookups must not hand that out",
        credential(CURRENT),
        seen(looks(CURRENT, "REVOKED"), empty(), owner="elsewhere"),
        Examine(CURRENT),
    ),
    (
        "and no more than that is done about it",
        credential(replace(CURRENT, dead_at=at(0), examined_at=at(0))),
        seen(looks(CURRENT, "REVOKED"), empty(), owner="elsewhere"),
        Wait(at(15), "the key is managed by installation elsewhere"),
    ),
    (
        "what a backup brought back is not handed out, and a probe of it alone would change that",
        credential(replace(CURRENT, restored_at=at(-9))),
        seen(looks(CURRENT, "INACTIVE"), empty(), owner="elsewhere"),
        Wait(at(15), "the key is managed by installation elsewhere"),
    ),
    (
        "a previous secret that it may have written over is asked about",
        credential(lost := replace(OLD, replaced_at=at(-60)), NEWER),
        seen(looks(OLD, mask="theirs"), looks(NEWER), owner="elsewhere"),
        Examine(lost),
    ),
    (
        "and not handed out either, once it was refused",
        credential(lost := replace(OLD, replaced_at=at(-60), examined_at=NOW, dead_at=NOW), NEWER),
        seen(looks(OLD, mask="theirs"), looks(NEWER), owner="elsewhere"),
        Accept(lost, Stage.REVOKED, "its slot holds another secret"),
    ),
    ("nothing due is waited for", credential(CURRENT), QUIET, Wait(at(15), "nothing due")),
    (
        "tokens that nobody shows are never looked at",
        credential(version(1, Stage.CURRENT, None), spec=TOKENS),
        None,
        Wait,
    ),
    # Facts from outside.
    (
        "a report of a client is examined",
        credential(replace(CURRENT, reported_at=at(0))),
        QUIET,
        Examine,
    ),
    (
        "a current slot that shows another secret is examined",
        credential(CURRENT),
        seen(looks(CURRENT, mask="renewed by hand"), empty()),
        Examine,
    ),
    (
        "a current slot that somebody switched off is examined, not switched on",
        credential(CURRENT),
        seen(looks(CURRENT, "INACTIVE"), empty()),
        Examine,
    ),
    (
        "examined once a picture, no more",
        credential(replace(CURRENT, examined_at=at(0))),
        seen(looks(CURRENT, "INACTIVE"), empty()),
        Request("two", "key", EXPIRY, None, "its slot is INACTIVE"),
    ),
    (
        "right after our own change an old picture proves nothing, so a probe is asked",
        credential(replace(CURRENT, issued_at=at(-0.5))),
        seen(looks(CURRENT, mask="older"), empty()),
        Examine,
    ),
    (
        "what it accepted then is believed until pictures count again",
        credential(replace(CURRENT, issued_at=at(-0.5), examined_at=NOW)),
        seen(looks(CURRENT, "REVOKED"), empty()),
        Wait(at(0.5), "nothing due"),
    ),
    (
        "what shows the slot as it was before our change is certainly old",
        credential(replace(CURRENT, issued_at=at(-0.5), mask_before="older")),
        seen(looks(CURRENT, mask="older"), empty()),
        Wait,
    ),
    (
        "what a clock set back calls the future is not recent",
        credential(replace(CURRENT, issued_at=at(600))),
        seen(looks(CURRENT, "EXPIRED"), empty()),
        Examine,
    ),
    (
        "a key of its own that is to end at another time is the same key",
        credential(
            replace(OLD, slot=None, handle="before", replaced_at=at(-1)),
            replace(NEWER, slot=None, handle="now"),
            spec=KEYLESS,
            home=None,
        ),
        Observed(
            at(0),
            (
                KeySeen("before", "ACTIVE", (looks(OLD, name=None, expires_at=at(5 * DAY)),)),
                KeySeen("now", "ACTIVE", (looks(NEWER, name=None),)),
            ),
        ),
        Wait,
    ),
    (
        "a previous version that somebody revoked is taken for revoked",
        credential(OLD, NEWER),
        seen(looks(OLD, "REVOKED"), looks(NEWER)),
        Accept(OLD, Stage.REVOKED, "its slot is REVOKED"),
    ),
    (
        "a previous version that somebody switched off is taken for retired",
        credential(OLD, NEWER),
        seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        Accept(OLD, Stage.RETIRED, "its slot is INACTIVE"),
    ),
    (
        "a token that ran out is gone, though nobody shows it",
        credential(
            version(1, Stage.PREVIOUS, None, expires_at=at(-1)),
            version(2, Stage.CURRENT, None),
            spec=TOKENS,
        ),
        None,
        Accept,
    ),
    # Leaks.
    (
        "a leaked current is replaced first",
        credential(LEAKED),
        QUIET,
        Request("two", "key", EXPIRY, None, "the current secret leaked"),
    ),
    ("with --now it is revoked first", credential(AT_ONCE), QUIET, Revoke(AT_ONCE)),
    (
        "a leaked previous is revoked at once, overlap or not",
        credential(leaked_old := replace(OLD, replaced_at=at(-1), compromised_at=at(0)), NEWER),
        BOTH_ON,
        Revoke(leaked_old),
    ),
    (
        "an old picture of a slot just filled tells of the secret before: this one lives",
        credential(
            CURRENT,
            refilled := replace(FILLED, issued_at=at(-0.1), mask_before="older", **LEAKED_THEN),
        ),
        seen(looks(CURRENT), looks(FILLED, "REVOKED", mask="older")),
        Revoke(refilled),
    ),
    (
        "nor is it taken for revoked by somebody",
        credential(
            replace(OLD, issued_at=at(-0.3), replaced_at=at(-0.2), mask_before="older"), NEWER
        ),
        seen(looks(OLD, "REVOKED", mask="older"), looks(NEWER)),
        Wait,
    ),
    (
        "a leaked secret that was carried on under a later number is what lookups hand out",
        credential(
            leaked_old,
            replace(NEWER, slot="one", attempt="wish-1", mask="mask-1", compromised_at=at(0)),
        ),
        seen(looks(OLD), empty()),
        Request,
    ),
    (
        "a leaked secret whose slot has another tenant is gone: the slot is not touched",
        credential(
            old := version(1, Stage.RETIRED, compromised_at=at(0)), version(2, Stage.CURRENT, "one")
        ),
        seen(looks(version(2, Stage.CURRENT, "one")), empty()),
        Accept(old, Stage.REVOKED, "destroyed at the provider"),
    ),
    (
        "a leaked secret is not revoked in the slot that is about to be filled",
        credential(replace(OLD, stage=Stage.REVOKED, compromised_at=at(0)), NEWER, wish(3, "one")),
        BOTH_ON,
        Issue(wish(3, "one")),
    ),
    (
        "a leaked standby is kept for the successor of the leaked current",
        credential(
            version(1, Stage.RETIRED, compromised_at=at(0)), replace(NEWER, compromised_at=at(0))
        ),
        seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        Request("one", "key", EXPIRY, None, "the current secret leaked"),
    ),
    # A rotation in flight.
    ("a wish is asked for", credential(CURRENT, WISH), QUIET, Issue(WISH)),
    (
        "without a key one is made",
        Credential(SPEC, versions=(new := replace(WISH, handle=None),)),
        None,
        Create(new),
    ),
    (
        "our epoch goes into the key before it is changed",
        credential(CURRENT, WISH, claimed=0),
        QUIET,
        Claim("key", 1),
    ),
    (
        "a wish older than the retry token's life is given up",
        credential(CURRENT, replace(WISH, requested_at=at(-24 * 60))),
        QUIET,
        Abandon,
    ),
    (
        "a wish that outlived the expiry it asks for is given up",
        credential(CURRENT, replace(WISH, expires_at=at(-1))),
        QUIET,
        Abandon,
    ),
    (
        "a slot that a stranger filled and uses since the wish is left to them",
        credential(CURRENT, WISH),
        seen(looks(CURRENT), replace(empty(state="ACTIVE"), last_used_at=at(-0.5))),
        Abandon(WISH, "someone else filled its slot, and uses it"),
    ),
    (
        "what a lost answer of ours left in the slot is not a stranger's",
        credential(CURRENT, WISH),
        seen(looks(CURRENT), SlotSeen("two", "ACTIVE", "mask", WISH.expires_at, at(-0.5))),
        Issue(WISH),
    ),
    (
        "an examination that failed rests like everything else",
        credential(
            replace(CURRENT, reported_at=at(0)), retry_at=at(5), failures=1, failed_step="examine"
        ),
        QUIET,
        Wait,
    ),
    (
        "an earlier secret is taken over by copying it",
        credential(OLD, NEWER, taken := wish(3, "one", attempt="wish-1", carries=1)),
        BOTH_ON,
        Carry(taken),
    ),
    (
        "a filled slot that is not on is switched on",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT), looks(FILLED, "INACTIVE")),
        Activate(TWO),
    ),
    (
        "once switched on it is looked at again, not switched on again",
        credential(CURRENT, replace(FILLED, activated_at=at(-0.1))),
        seen(looks(CURRENT), looks(FILLED, "INACTIVE"), minutes=-0.1),
        Observe(("key",)),
    ),
    (
        "a picture from before the filling is waited out",
        credential(CURRENT, replace(FILLED, mask_before="older", issued_at=at(-1.5))),
        seen(looks(CURRENT), looks(FILLED, mask="older")),
        Wait,
    ),
    (
        "but not for ever",
        credential(CURRENT, replace(FILLED, mask_before="older")),
        seen(looks(CURRENT), looks(FILLED, mask="older")),
        Abandon(replace(FILLED, mask_before="older"), "the provider does not show it"),
    ),
    (
        "a slot that somebody else filled meanwhile is given up",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT), looks(FILLED, mask="a stranger's")),
        Abandon(FILLED, "someone else changed its slot"),
    ),
    (
        "a slot that was revoked under our hands is given up",
        credential(CURRENT, FILLED),
        seen(looks(CURRENT), looks(FILLED, "REVOKED")),
        Abandon,
    ),
    (
        "right after the filling a revoked slot may be an old picture",
        credential(CURRENT, replace(FILLED, issued_at=at(-0.2))),
        seen(looks(CURRENT), looks(FILLED, "REVOKED", mask="older")),
        Wait,
    ),
    ("a new secret is probed", credential(CURRENT, FILLED), SHOWN, Verify(FILLED)),
    (
        "probes keep their distance",
        credential(CURRENT, replace(FILLED, probed_at=at(0), probe_from=at(0), successes=1)),
        SHOWN,
        Wait(at(1 / 60), "verified 1 of 2 times"),
    ),
    (
        "refused for the whole time it is given up",
        credential(CURRENT, replace(FILLED, refusals=9, probe_from=at(-2), probed_at=at(-0.1))),
        SHOWN,
        Abandon,
    ),
    ("proven, it is promoted", credential(CURRENT, PROVEN), SHOWN, Promote(PROVEN)),
    (
        "a proof grows old: it is probed again",
        credential(CURRENT, replace(PROVEN, verified_at=at(-3))),
        SHOWN,
        Verify,
    ),
    (
        "a policy without probes promotes at once",
        with_policy(credential(CURRENT, FILLED), verify=Verification(successes=0)),
        SHOWN,
        Promote,
    ),
    (
        "nothing is promoted while a call without an answer may still arrive",
        credential(CURRENT, PROVEN, unanswered_at=at(-1), fenced=False),
        SHOWN,
        Wait(at(5), "a call without an answer may still arrive"),
    ),
    (
        "which a new mark of ours keeps out, where the provider heeds it",
        credential(CURRENT, PROVEN, unanswered_at=at(-1), fenced=False, claimed=0),
        SHOWN,
        Claim("key", 1),
    ),
    (
        "unless the provider was seen to refuse such calls",
        credential(CURRENT, PROVEN, unanswered_at=at(-1)),
        SHOWN,
        Promote,
    ),
    (
        "one that ran out before it was promoted is given up",
        credential(CURRENT, replace(PROVEN, expires_at=at(0))),
        SHOWN,
        Abandon,
    ),
    # Replacing what lookups hand out.
    (
        "a dead current is replaced by the previous one, while that works",
        credential(
            replace(OLD, replaced_at=at(-60)), replace(NEWER, dead_at=at(-1), examined_at=at(0))
        ),
        BOTH_ON,
        Request("one", "key", OLD.expires_at, 1, "the provider refuses the current secret"),
    ),
    (
        "or by a retired one, which can be switched on",
        credential(version(1, Stage.RETIRED), replace(NEWER, dead_at=at(-1), examined_at=at(0))),
        seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        Request("one", "key", OLD.expires_at, 1, "the provider refuses the current secret"),
    ),
    (
        "never by a leaked one",
        credential(
            version(1, Stage.RETIRED, compromised_at=at(-9), revoked_at=at(-8)),
            replace(NEWER, dead_at=at(-1), examined_at=at(0)),
        ),
        seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        Request("one", "key", EXPIRY, None, "the provider refuses the current secret"),
    ),
    (
        "an expired current is replaced",
        credential(replace(CURRENT, expires_at=at(0))),
        QUIET,
        Request,
    ),
    ("due, a rotation begins", credential(DUE), seen(looks(DUE), empty()), Request),
    (
        "ordered, a rotation begins",
        credential(CURRENT, orders=(order(OrderKind.ROTATE, reason="audit"),)),
        QUIET,
        Request("two", "key", EXPIRY, None, "ordered: audit"),
    ),
    (
        "a slot needed for its overlap is not filled, ordered or not",
        credential(replace(OLD, replaced_at=at(-60)), NEWER, orders=(order(OrderKind.ROTATE),)),
        BOTH_ON,
        Wait,
    ),
    (
        "a slot that a stranger uses is not filled",
        credential(DUE),
        seen(looks(DUE), replace(empty(state="ACTIVE"), last_used_at=at(-1))),
        Wait,
    ),
    (
        "when it was left for an overlap, it is looked at once more",
        credential(DUE),
        seen(looks(DUE), replace(empty(state="ACTIVE"), last_used_at=at(-DAY)), minutes=-3),
        Observe(("key",)),
    ),
    (
        "and filled if it still is not used",
        credential(DUE),
        seen(looks(DUE), replace(empty(state="ACTIVE"), last_used_at=at(-DAY))),
        Request("two", "key", EXPIRY, None, "rotate_before reached"),
    ),
    (
        "a slot that the provider will not fill again is not asked for",
        credential(
            version(1, Stage.REVOKED, "two", slot_refused=True, given_up="revoked", stored=False),
            replace(DUE, number=2),
        ),
        seen(looks(DUE), empty(state="REVOKED")),
        Wait,
    ),
    (
        "a new key is made for who orders one",
        credential(CURRENT, orders=(order(OrderKind.NEW_KEY),)),
        QUIET,
        Request("one", None, EXPIRY, None, "ordered"),
    ),
    (
        "without slots every wish is for a key of its own",
        credential(version(1, Stage.CURRENT, None, expires_at=at(DAY)), spec=KEYLESS),
        seen(looks(version(1, Stage.CURRENT, None, expires_at=at(DAY)))),
        Request(None, None, EXPIRY, None, "rotate_before reached"),
    ),
    (
        "given up three times in a row, it rests",
        credential(
            DUE,
            *(
                version(n, Stage.REVOKED, "two", given_up="refused", stored=False, promoted_at=None)
                for n in (2, 3)
            ),
            version(
                4,
                Stage.REVOKED,
                "two",
                given_up="refused",
                stored=False,
                promoted_at=None,
                requested_at=at(-30),
            ),
        ),
        seen(looks(DUE), empty()),
        Wait(at(30), "given up 3 times: refused"),
    ),
    # Tidying up.
    (
        "in its overlap the previous one stays",
        credential(replace(OLD, replaced_at=at(-60)), NEWER),
        BOTH_ON,
        Wait,
    ),
    ("after it, it is retired", credential(OLD, NEWER), BOTH_ON, Retire(ONE, OLD)),
    (
        "not on an old picture",
        credential(OLD, NEWER),
        replace(BOTH_ON, at=at(-10)),
        Observe(("key",)),
    ),
    (
        "not while it is in use",
        credential(OLD, NEWER),
        seen(looks(OLD, last_used_at=at(-1)), looks(NEWER)),
        Wait,
    ),
    (
        "unused for long enough in the picture that says so",
        credential(OLD, NEWER),
        seen(looks(OLD, last_used_at=at(-DAY / 2 - 1)), looks(NEWER), minutes=-1),
        Retire(ONE, OLD),
    ),
    (
        "in use or not, not beyond max_overlap",
        with_policy(credential(OLD, NEWER), max_overlap=timedelta(hours=36)),
        seen(looks(OLD, last_used_at=at(-1)), looks(NEWER)),
        Retire(ONE, OLD),
    ),
    (
        "nor while a client that is connected took it last, where such are waited for",
        with_policy(credential(OLD, NEWER), wait_for_clients=True),
        replace(BOTH_ON, taken=(1, 2)),
        Wait,
    ),
    (
        "they have all taken the new one",
        with_policy(credential(OLD, NEWER), wait_for_clients=True),
        replace(BOTH_ON, taken=(2,)),
        Retire(ONE, OLD),
    ),
    (
        "clients or not, not beyond max_overlap",
        with_policy(credential(OLD, NEWER), wait_for_clients=True, max_overlap=timedelta(hours=36)),
        replace(BOTH_ON, taken=(1,)),
        Retire(ONE, OLD),
    ),
    (
        "clients or not, not when the next rotation needs its slot",
        with_policy(
            credential(OLD, replace(NEWER, expires_at=at(10 * DAY))), wait_for_clients=True
        ),
        replace(seen(looks(OLD), looks(replace(NEWER, expires_at=at(10 * DAY)))), taken=(1,)),
        Retire(ONE, OLD),
    ),
    (
        "nobody is waited for where the policy does not say so",
        credential(OLD, NEWER),
        replace(BOTH_ON, taken=(1,)),
        Retire(ONE, OLD),
    ),
    (
        "not beside a current one that is not seen to work",
        credential(OLD, replace(NEWER, examined_at=at(0))),
        seen(looks(OLD), looks(NEWER, "INACTIVE")),
        Wait,
    ),
    (
        "a policy may have it revoked",
        with_policy(credential(OLD, NEWER), retire=RetireBy.REVOKE),
        BOTH_ON,
        Revoke(OLD),
    ),
    ("or kept", with_policy(credential(OLD, NEWER), retire=RetireBy.KEEP), BOTH_ON, Wait),
    (
        "an overlap that a later version carries on is that one's",
        credential(
            OLD,
            version(3, Stage.PREVIOUS, carries=1, attempt="wish-1", mask="mask-1"),
            replace(NEWER, number=4, mask="mask-2"),
        ),
        BOTH_ON,
        Accept(OLD, Stage.RETIRED, "a later version has its place"),
    ),
    # A key that the provider says isn't there, which may also mean that we may not see it.
    (
        "a report is examined even while everything else rests",
        credential(
            replace(CURRENT, reported_at=at(0)),
            retry_at=at(5),
            doubt_at=at(0),
            failures=3,
            failed_step="observe",
        ),
        None,
        Examine,
    ),
    (
        "a key that is to be left may be missing",
        credential(DEAD, orders=TO_ANOTHER_KEY, doubt_at=at(-1)),
        None,
        Observe(("key",), ("key",)),
    ),
    (
        "so may one whose dead secret is to be revoked",
        credential(DEAD, orders=(order(OrderKind.REVOKE, targets=(1,)),), doubt_at=at(-1)),
        None,
        Observe(("key",), ("key",)),
    ),
    (
        "but not one whose secret still works",
        credential(CURRENT, orders=(order(OrderKind.REVOKE, targets=(1,)),), doubt_at=at(-1)),
        None,
        Observe(("key",)),
    ),
    (
        "a key that was left may be missing",
        credential(replace(OLD, handle="left"), NEWER, doubt_at=at(-1)),
        None,
        Observe(("key", "left"), ("left",)),
    ),
    (
        "a new key is made though the old one is not shown",
        credential(DEAD, orders=TO_ANOTHER_KEY),
        hidden(),
        Request("one", None, EXPIRY, None, "the provider refuses the current secret"),
    ),
    (
        "a wish for a slot of a key that is not shown is given up for a new key",
        credential(DEAD, WISH, orders=TO_ANOTHER_KEY),
        hidden(),
        Abandon(WISH, "the provider shows its key no more", for_good=True),
    ),
    (
        "a key that was just made may not be shown yet",
        credential(CURRENT, made := replace(WISH, handle="made"), orders=TO_ANOTHER_KEY),
        hidden("made", minutes=-1),
        Observe(("key", "made"), ("key", "made")),
    ),
    (
        "one that is never shown is given up",
        credential(CURRENT, replace(made, requested_at=at(-2)), orders=TO_ANOTHER_KEY),
        hidden("made", minutes=-1),
        Abandon,
    ),
    (
        "a deleted key is given up for good",
        credential(CURRENT, made, orders=TO_ANOTHER_KEY),
        also(QUIET, KeySeen("made", "DELETED", (SlotSeen("two", "DELETED"),))),
        Abandon(made, "its key was deleted at the provider", for_good=True),
    ),
    (
        "a new key that was given up for good is not tried again",
        credential(
            CURRENT,
            replace(made, stage=Stage.REVOKED, given_up="deleted", slot_refused=True, stored=False),
            orders=(order(OrderKind.NEW_KEY, recorded_at=at(-5)),),
        ),
        QUIET,
        Request("one", None, EXPIRY, None, "ordered"),
    ),
    (
        "one that only came to nothing is",
        credential(
            CURRENT,
            replace(made, stage=Stage.REVOKED, given_up="refused", stored=False),
            orders=(order(OrderKind.NEW_KEY, recorded_at=at(-5)),),
        ),
        QUIET,
        Request("one", "made", EXPIRY, None, "ordered"),
    ),
    (
        "a previous version in a key that is not shown is let go after its overlap",
        credential(replace(OLD, handle="left"), NEWER),
        also(seen(empty("one"), looks(NEWER)), KeySeen("left", NOT_SHOWN, ())),
        Accept(replace(OLD, handle="left"), Stage.RETIRED, "the provider shows its key no more"),
    ),
    (
        "a leaked secret is destroyed if a probe refuses it and its key is not shown",
        credential(
            gone := replace(DEAD, compromised_at=at(-1)),
            orders=(order(OrderKind.REVOKE, targets=(1,)),),
        ),
        hidden(),
        Accept(gone, Stage.REVOKED, "destroyed at the provider"),
    ),
    (
        "one that expired meanwhile needs no destroying, nor a probe",
        credential(
            over := version(1, Stage.RETIRED, handle="left", expires_at=at(-1), **LEAKED_THEN),
            NEWER,
        ),
        also(seen(empty("one"), looks(NEWER)), KeySeen("left", NOT_SHOWN, ())),
        Accept(over, Stage.REVOKED, "destroyed at the provider"),
    ),
    (
        "a leak in a key that is not shown does not hold up the new key",
        credential(replace(LEAKED, examined_at=at(0)), orders=TO_ANOTHER_KEY),
        hidden(),
        Request("one", None, EXPIRY, None, "the current secret leaked"),
    ),
    (
        "a leaked secret whose key is not shown is probed, for nothing else tells that it is dead",
        credential(left := version(1, Stage.RETIRED, handle="left", compromised_at=at(-1)), NEWER),
        also(seen(empty("one"), looks(NEWER)), KeySeen("left", NOT_SHOWN, ())),
        Examine(left),
    ),
    (
        "still accepted, it is to be revoked whatever the provider says",
        credential(still := replace(left, examined_at=at(0)), NEWER),
        also(seen(empty("one"), looks(NEWER)), KeySeen("left", NOT_SHOWN, ())),
        Revoke(still),
    ),
    (
        "a revocation that is refused again and again does not hold up a rotation",
        credential(
            replace(OLD, compromised_at=at(-9)),
            replace(NEWER, expires_at=at(10 * DAY)),
            failed_step="revoke",
            failures=3,
            retry_at=at(-1),
        ),
        seen(looks(OLD), replace(looks(NEWER), expires_at=at(10 * DAY))),
        Request,
    ),
    (
        "and is tried again when nothing else is to be done",
        credential(
            kept_on := replace(OLD, compromised_at=at(-9)),
            NEWER,
            failed_step="revoke",
            failures=3,
            retry_at=at(-1),
        ),
        BOTH_ON,
        Revoke(kept_on),
    ),
    (
        "a slot that is revoked is filled rather than one that a stranger left on",
        credential(replace(CURRENT, stored=False)),
        seen(looks(CURRENT, "REVOKED"), empty(state="ACTIVE")),
        Request("one", "key", EXPIRY, None, "the current secret is not in the store any more"),
    ),
    (
        "one that never expires is replaced all the same, as if it lived for a lifetime",
        credential(
            replace(IN_USE, expires_at=None, promoted_at=at(-40 * DAY), issued_at=at(-40 * DAY)),
            **OF_KEYS,
        ),
        keys(("now", "ACTIVE")),
        Request(None, None, EXPIRY, None, "rotate_before reached"),
    ),
    (
        "a leaked key of its own that is not there any more is probed before that is believed",
        credential(leaked_key := keyed("lost", compromised_at=at(-1)), IN_USE, **OF_KEYS),
        keys(("lost", "DELETED"), ("now", "ACTIVE")),
        Examine(leaked_key),
    ),
    (
        "it is destroyed once a probe refused it",
        credential(dead_key := replace(leaked_key, dead_at=at(-1)), IN_USE, **OF_KEYS),
        keys(("lost", "DELETED"), ("now", "ACTIVE")),
        Accept(dead_key, Stage.REVOKED, "destroyed at the provider"),
    ),
    (
        "as long as it is accepted nothing is believed, and it is looked at again soon",
        credential(replace(leaked_key, examined_at=at(1)), IN_USE, **OF_KEYS),
        keys(("lost", "DELETED"), ("now", "ACTIVE")),
        Wait(at(2), "nothing due"),
    ),
    (
        "but no slot whose secret only a probe refused, rather than that",
        credential(replace(CURRENT, dead_at=at(-2), examined_at=at(1))),
        seen(looks(CURRENT), empty(state="ACTIVE")),
        Request("two", "key", EXPIRY, None, "the provider refuses the current secret"),
    ),
    (
        "nor is what a lost answer of ours left in a slot a stranger's",
        credential(
            replace(CURRENT, dead_at=at(-2), examined_at=at(1), expires_at=at(-1)),
            replace(WISH, stage=Stage.REVOKED, given_up="the wish grew too old"),
        ),
        seen(looks(CURRENT), SlotSeen("two", "ACTIVE", "mask-lost", WISH.expires_at)),
        Request("two", "key", EXPIRY, None, "the provider refuses the current secret"),
    ),
    (
        "no slot of a key that is not shown is filled",
        credential(DEAD, orders=(order(OrderKind.REVOKE, targets=(1,)),)),
        hidden(),
        Wait,
    ),
    (
        "the second slot of a key we made is switched off",
        credential(CURRENT, silence="two"),
        seen(looks(CURRENT), empty(state="ACTIVE")),
        Retire(TWO, None),
    ),
    (
        "but never the one that lookups depend on",
        credential(CURRENT, silence="one"),
        QUIET,
        Wait,
    ),
    (
        "a person switches a slot on",
        credential(CURRENT, orders=(order(OrderKind.ACTIVATE, slot="two"),)),
        QUIET,
        Activate(TWO),
    ),
    (
        "and off",
        credential(CURRENT, orders=(order(OrderKind.DEACTIVATE, slot="two"),)),
        seen(looks(CURRENT), empty(state="ACTIVE")),
        Retire(TWO, None),
    ),
    (
        "what a person switched off stays off",
        credential(version(1, Stage.RETIRED), NEWER),
        seen(looks(OLD, "INACTIVE"), looks(NEWER)),
        Wait,
    ),
    (
        "a key of its own that came to nothing is destroyed",
        credential(OWN, replace(NEWER, slot=None, handle="now"), spec=KEYLESS, home=None),
        also(
            Observed(NOW, (KeySeen("now", "ACTIVE", (looks(replace(NEWER, slot=None)),)),)),
            KeySeen("left", "ACTIVE", (SlotSeen(None, "ACTIVE", OWN.mask, OWN.expires_at),)),
        ),
        Revoke(OWN),
    ),
    (
        "unless another version still has its secret",
        credential(
            replace(BEFORE_OWN, replaced_at=at(-1)),
            replace(OWN, carries=1, stored=False),
            replace(NEWER, slot=None, handle="now", number=4),
            spec=KEYLESS,
            home=None,
        ),
        BOTH_KEYS,
        Wait,
    ),
    (
        "also one that a rollback carried on, whose first version was over before",
        credential(
            replace(BEFORE_OWN, stage=Stage.RETIRED),
            carried := replace(OWN, carries=1, promoted_at=at(-9), stored=False),
            replace(NEWER, slot=None, handle="now", number=4),
            spec=KEYLESS,
            home=None,
        ),
        BOTH_KEYS,
        Revoke(carried),
    ),
    (
        "the secret of a dead version is dropped",
        credential(dead := version(1, Stage.REVOKED), NEWER),
        seen(empty("one", "REVOKED"), looks(NEWER)),
        Drop(dead),
    ),
]


@pytest.mark.parametrize(
    ("told", "shown", "expected"),
    [pytest.param(*row, id=sentence) for sentence, *row in TABLE],
)
def test_next_step(told: Credential, shown: Observed | None, expected: Step | type[Step]) -> None:
    step = next_step(told, shown, NOW)
    if isinstance(expected, type):
        assert isinstance(step, expected), step
    else:
        assert step == expected


def test_every_kind_of_step_is_in_the_table() -> None:
    kinds = {e if isinstance(e, type) else type(e) for *_, e in TABLE}
    assert {kind.__name__ for kind in kinds} == {
        kind.__name__ for group in Step.__args__ for kind in getattr(group, "__args__", (group,))
    }


@pytest.mark.parametrize("sentence", [sentence for sentence, *_ in TABLE])
def test_no_sentence_stands_twice(sentence: str) -> None:
    assert [s for s, *_ in TABLE].count(sentence) == 1


def test_asking_twice_gives_one_answer() -> None:
    for _, told, shown, _ in TABLE:
        assert next_step(told, shown, NOW) == next_step(told, shown, NOW)


def test_a_wait_ends_in_the_future() -> None:
    waits = (next_step(told, shown, NOW) for _, told, shown, _ in TABLE)
    assert all(wait.until > NOW for wait in waits if isinstance(wait, Wait))


def test_a_wish_for_the_slot_in_use_is_refused_by_the_rules_themselves() -> None:
    """It can't come about; if it ever did, nothing may be sent."""
    with pytest.raises(AssertionError, match="would overwrite"):
        next_step(credential(CURRENT, wish(2, "one")), QUIET, NOW)


def test_steps_are_named_after_what_they_do() -> None:
    assert name_of(Verify(Version(1, Stage.PENDING, "", NOW, None))) == "verify"
