"""How a credential is, what comes next and what is wrong, each by one condition.

Found missing by mutation testing (`python -m tests.mutation core`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyman.core.health import (
    Health,
    Next,
    against_strangers,
    coming,
    duration_text,
    health,
    sound,
    trouble,
    usable,
    waits_for,
    worth_trying,
)
from keyman.core.model import Credential, Observed, OrderKind, Stage, Version
from keyman.core.policy import RetireBy
from tests.credentials import (
    BOTH_GOOD,
    BY_HAND,
    CURRENT,
    DAY,
    KEYLESS,
    NOW,
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
    pending,
    seen,
    version,
    wish,
)

LEAKED = replace(CURRENT, compromised_at=at(-1))
OLD = version(1, Stage.PREVIOUS)
NEWER = version(2, Stage.CURRENT, "two", promoted_at=at(-60))
BOTH_ON = seen(looks(OLD), looks(NEWER))
FAILING: dict[str, Any] = {"failures": 2, "failed_step": "revoke", "last_error": "503"}
HELD = seen(looks(CURRENT), replace(empty(state="ACTIVE"), last_used_at=at(-1)))
OWN: dict[str, Any] = {"spec": KEYLESS, "home": None}


def brought(**more: Any) -> Credential:
    """One that a person brought."""
    return credential(version(1, Stage.CURRENT, None, **more), spec=BY_HAND, home=None)


@pytest.mark.parametrize(
    ("v", "now_usable", "if_stored", "to_try"),
    [
        (CURRENT, True, True, True),
        (OLD, True, True, True),
        (version(1, Stage.RETIRED), False, False, False),
        (replace(CURRENT, stored=False), False, True, False),
        (replace(CURRENT, restored_at=at(-1)), False, False, True),
        (replace(CURRENT, dead_at=at(-1)), False, False, False),
        (replace(CURRENT, expires_at=at(0)), False, False, False),
        (LEAKED, True, True, True),  # until there is another one
        (replace(LEAKED, revoke_first=True), False, False, False),
        (replace(CURRENT, revoke_first=True), True, True, True),
    ],
)
def test_what_may_be_handed_out(
    v: Version, now_usable: bool, if_stored: bool, to_try: bool
) -> None:
    assert (usable(v, NOW), sound(v, NOW), worth_trying(v, NOW)) == (now_usable, if_stored, to_try)


def test_nothing_is_not_usable() -> None:
    assert not usable(None, NOW)
    assert health(credential(), None, NOW) is Health.DOWN


@pytest.mark.parametrize(
    ("told", "shown", "expected"),
    [
        (credential(replace(CURRENT, expires_at=at(30 * DAY)), **FAILING), None, Health.FAILING),
        (
            credential(replace(CURRENT, expires_at=at(30 * DAY - 1)), **FAILING),
            None,
            Health.AT_RISK,
        ),
        (credential(replace(CURRENT, expires_at=None), **FAILING), QUIET, Health.FAILING),
        (credential(LEAKED, **FAILING), QUIET, Health.FAILING),
        (credential(LEAKED), HELD, Health.AT_RISK),
        (credential(CURRENT, orders=(order(OrderKind.ROTATE),)), HELD, Health.FAILING),
        (credential(CURRENT, failures=1, failed_step="issue"), QUIET, Health.OK),
        (
            credential(
                CURRENT,
                *(
                    version(
                        n,
                        Stage.REVOKED,
                        "two",
                        given_up="refused",
                        promoted_at=None,
                        requested_at=at(-9),
                    )
                    for n in (2, 3, 4)
                ),
            ),
            QUIET,
            Health.FAILING,
        ),
        (credential(CURRENT, wish(2)), QUIET, Health.ROTATING),
        (credential(LEAKED), QUIET, Health.DUE),
        (credential(CURRENT), QUIET, Health.OK),
    ],
    ids=[
        "half of the lead is left",
        "less is left",
        "it never expires",
        "leaked, and failing",
        "leaked, and a stranger is in the way",
        "a stranger is in the way",
        "what failed is wished no more",
        "given up again and again",
        "rotating",
        "leaked",
        "well",
    ],
)
def test_health(told: Credential, shown: Observed | None, expected: Health) -> None:
    assert health(told, shown, NOW) is expected


# What comes.

DUE_AT = credential(CURRENT).due_at(CURRENT)
assert DUE_AT
ROOMY = replace(SPEC, slots=("one", "two", "three"))
LATER = Next("request", DUE_AT, "rotate_before 60d", "two")


@pytest.mark.parametrize(
    ("told", "shown", "expected"),
    [
        (credential(CURRENT), QUIET, [LATER]),
        (credential(CURRENT, retry_at=at(-1), failures=1), QUIET, [LATER]),
        (
            credential(CURRENT, retry_at=at(3), failures=1, failed_step="observe"),
            QUIET,
            [Next("observe", at(3), "1 failed in a row"), LATER],
        ),
        (
            credential(
                replace(CURRENT, dead_at=at(-1)), retry_at=at(3), failures=1, failed_step="observe"
            ),
            QUIET,
            [Next("observe", at(3), "1 failed in a row")],
        ),
        (credential(retry_at=at(3), failures=2, failed_step="issue"), QUIET, []),
        (credential(failed_step="observe"), None, []),
        (
            credential(replace(CURRENT, dead_at=at(-1))),
            QUIET,
            [Next("request", NOW, "the provider refuses the current secret", "two")],
        ),
        (credential(CURRENT, wish(2)), QUIET, [Next("issue", NOW, "version 2", "two", 2)]),
        (
            credential(CURRENT, pending(2), last_error="503"),
            QUIET,
            [Next("promote", NOW, "503", "two", 2)],
        ),
        (
            credential(
                replace(CURRENT, dead_at=at(-1)), retry_at=at(9999), failures=1, failed_step="issue"
            ),
            QUIET,
            [Next("request", NOW, "the provider refuses the current secret", "two")],
        ),
        (
            credential(replace(CURRENT, expires_at=at(0))),
            seen(looks(CURRENT, expires_at=at(0)), empty(state="DELETED")),
            [Next("request", NOW, "the current secret expired", "one")],
        ),
        (
            credential(replace(CURRENT, dead_at=at(-1), slot="two")),
            seen(empty("one"), looks(replace(CURRENT, slot="two"))),
            [Next("request", NOW, "the provider refuses the current secret", "one")],
        ),
        (Credential(SPEC, versions=(CURRENT,)), None, [LATER]),
        (
            credential(OLD, replace(NEWER, dead_at=at(-1)), spec=ROOMY),
            seen(looks(OLD), looks(NEWER), empty("three")),
            [Next("request", NOW, "the provider refuses the current secret", "three")],
        ),
        (brought(), None, []),
        (credential(spec=SPEC), None, []),
        (
            credential(OLD, NEWER, orders=(order(OrderKind.ROTATE),)),
            BOTH_ON,
            [
                Next("request", at(DAY - 60), "ordered; the overlap ends then", "one"),
                Next("retire", at(DAY - 60), "overlap", "one", 1),
            ],
        ),
        (
            credential(version(1, Stage.CURRENT, None, expires_at=None, promoted_at=None), **OWN),
            None,
            [],
        ),
        (
            credential(
                replace(CURRENT, compromised_at=at(-1)),
                *(
                    version(
                        n,
                        Stage.REVOKED,
                        "two",
                        given_up="refused",
                        promoted_at=None,
                        requested_at=at(-9),
                    )
                    for n in (2, 3, 4)
                ),
            ),
            QUIET,
            [
                Next(
                    "request",
                    at(51),
                    "the current secret leaked; given up several times: refused",
                    "two",
                )
            ],
        ),
    ],
    ids=[
        "well",
        "a rest that is over",
        "no look",
        "no look, and nothing to hand out",
        "nothing there",
        "no look, and nothing there",
        "dead",
        "a wish",
        "to be promoted",
        "a rest from before the clock was set back",
        "only its own slot is free",
        "the other slot is free",
        "no key yet",
        "dead, and the one before in its overlap",
        "by hand",
        "never begun",
        "the slot is taken",
        "it is never due",
        "given up",
    ],
)
def test_what_comes(told: Credential, shown: Observed | None, expected: list[Next]) -> None:
    assert coming(told, shown, NOW) == expected


def retirement(told: Credential, shown: Observed) -> list[tuple[object, str]]:
    return [(one.at, one.reason) for one in coming(told, shown, NOW) if one.step == "retire"]


def test_why_the_one_before_goes_later() -> None:
    used = seen(looks(OLD, last_used_at=at(-1)), looks(NEWER))
    assert retirement(credential(OLD, NEWER), used) == [(at(DAY - 60), "overlap")]
    over = replace(OLD, replaced_at=at(-2 * DAY))
    long = replace(SPEC, policy=replace(POLICY, max_overlap=timedelta(days=9)))
    kept = seen(looks(over, last_used_at=at(-1)), looks(NEWER))
    assert retirement(credential(over, NEWER, spec=long), kept) == [
        (at(DAY / 2 - 1), "its overlap is over, and it is in use")
    ]
    ends = replace(OLD, replaced_at=at(-DAY))
    assert retirement(credential(ends, NEWER), BOTH_ON) == [(NOW, "overlap")]
    in_use = seen(looks(ends, last_used_at=at(-1)), looks(NEWER))
    assert retirement(credential(ends, NEWER, spec=long), in_use)[0][1].endswith("in use")


def test_what_is_not_switched_off_is_not_announced() -> None:
    keeps = replace(SPEC, policy=replace(POLICY, retire=RetireBy.KEEP))
    leaked = replace(OLD, compromised_at=at(-1))
    carried = version(3, Stage.PREVIOUS, attempt=OLD.attempt)
    assert retirement(credential(OLD, NEWER, spec=keeps), BOTH_ON) == []
    assert retirement(credential(leaked, NEWER), BOTH_ON) == []
    told = coming(credential(OLD, NEWER, carried), BOTH_ON, NOW)
    assert [one.version for one in told if one.step == "retire"] == [3]
    tokens = replace(TOKENS, policy=POLICY)
    assert retirement(credential(OLD, NEWER, spec=tokens), BOTH_ON) == []


# What is wrong.


@pytest.mark.parametrize("hint", ["wait", None])
def test_what_failed_last_is_what_is_wrong(hint: str | None) -> None:
    c = credential(CURRENT, last_error="503", last_hint=hint)
    assert trouble(c, QUIET, NOW) == ("503", hint or "")


def test_a_secret_out_of_a_backup_waits_to_be_proven() -> None:
    restored = replace(CURRENT, restored_at=at(-1))
    said = trouble(credential(restored), QUIET, NOW)
    assert said
    assert said[0].startswith("a backup brought")
    assert trouble(credential(replace(restored, dead_at=at(-1))), QUIET, NOW) is None
    assert trouble(credential(), QUIET, NOW) is None


BRINGS = "`keyman put genai` brings the next one"
AGAIN = "; it is asked now and then whether this one works again"


def test_where_secrets_come_by_hand_a_person_is_told_what_to_do() -> None:
    probed = replace(BY_HAND, probes=True)
    refused = ("the provider refuses the current secret", BRINGS)
    assert trouble(brought(), None, NOW) is None
    assert trouble(brought(dead_at=at(-1)), None, NOW) == refused
    asked = replace(brought(dead_at=at(-1)), spec=probed)
    assert trouble(asked, None, NOW) == (refused[0], BRINGS + AGAIN)
    expired = ("the current secret expired", BRINGS)
    assert trouble(brought(expires_at=at(0)), None, NOW) == expired
    assert trouble(replace(brought(expires_at=at(0)), spec=probed), None, NOW) == expired
    both = replace(brought(dead_at=at(-1), expires_at=at(0)), spec=probed)
    assert trouble(both, None, NOW) == refused
    lost = trouble(brought(stored=False), None, NOW)
    assert lost
    assert lost[0] == "the secret of version 1 is in no store that is configured"
    assert lost[1].endswith("`keyman put genai` brings it anew")
    unproven = brought(stored=False, restored_at=at(-1))
    assert trouble(unproven, None, NOW) is None
    assert trouble(credential(spec=BY_HAND), None, NOW) is None
    dead = brought(dead_at=at(-1))
    coming_soon = replace(dead, versions=(*dead.versions, pending(2, None)))
    assert trouble(coming_soon, None, NOW) is None


def test_a_leak_behind_a_stranger_has_one_way_more() -> None:
    assert "--now" in against_strangers(credential(LEAKED), "two")
    for c in (credential(CURRENT), credential()):
        assert against_strangers(c, "two") == (
            "`keyman deactivate genai --slot two` if nobody needs it, "
            "or `keyman rotate genai --new-key` leaves them the key"
        )


@pytest.mark.parametrize(
    ("probes", "issues", "person"),
    [(True, True, False), (True, False, False), (False, True, False), (False, False, True)],
)
def test_who_proves_what_a_backup_brought(probes: bool, issues: bool, person: bool) -> None:
    c = credential(CURRENT, spec=replace(SPEC, probes=probes, issues=issues))
    assert ("--trust" in waits_for(c)) is person


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (86400, "1d"),
        (60 * 86400, "60d"),
        (86401, "86401s"),
        (12 * 3600, "12h"),
        (36 * 3600, "36h"),
        (3660, "61m"),
        (60, "1m"),
        (90, "90s"),
        (0.5, "0.5s"),
        (0, "0s"),
    ],
)
def test_durations_are_written_as_in_the_configuration(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_patience_with_what_may_work_again_is_told_with_its_end_and_a_way_out() -> None:
    c = credential(STAYS, SHUT, TOGETHER)
    said = "the provider refuses the current secret, and shows it as good"
    assert coming(c, BOTH_GOOD, NOW) == [Next("request", at(4), said, "one")]
    told = "inference refuses the current secret and the one before it"
    found = trouble(c, BOTH_GOOD, NOW)
    assert found is not None
    assert found[0] == told
    assert "`keyman rotate genai`" in found[1]
