"""What lies ahead of one credential: which versions it tells of, and where it sees trouble."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from keyman.core.model import Credential, Observed, OrderKind, Stage, Version
from keyman.core.orders import record
from keyman.core.outlook import Outlook, Repeats, Trouble, _Seen, look_ahead
from keyman.core.plan import STEPS_AT_MOST, Planned, walk
from keyman.core.policy import Policy, RetireBy, Verification, Window
from tests.credentials import (
    BY_HAND,
    CURRENT,
    DAY,
    HOURLY,
    KEYLESS,
    NOW,
    POLICY,
    QUIET,
    SPEC,
    at,
    credential,
    empty,
    looks,
    order,
    seen,
    version,
    wish,
)

UNPROVEN = Verification(successes=0)  # so that a rotation takes no time
AT_ONCE = replace(KEYLESS, policy=replace(POLICY, verify=UNPROVEN))
TOKEN_POLICY = Policy(
    lifetime=timedelta(hours=1),
    rotate_before=timedelta(minutes=15),
    overlap=timedelta(0),
    retire=RetireBy.KEEP,
    verify=UNPROVEN,
)
TOKENS = replace(HOURLY, policy=TOKEN_POLICY)
OWN = version(1, Stage.CURRENT, None)
GONE_TOKEN = version(1, Stage.CURRENT, None, stored=False, expires_at=at(30))
PUT = "a person must replace it where it comes from, then `keyman put genai`"
CHECK = "`keyman check` says what keeps it, and `keyman status genai` what to do"
REFUSED = "the provider may refuse"
LEAKED_TOKEN = version(
    1,
    Stage.CURRENT,
    None,
    issued_at=at(-30),
    expires_at=at(30),
    compromised_at=at(-1),
)


def own(v: Version) -> Observed:
    return seen(looks(v), owner=None, epoch=0)


def by_hand(*versions: Version) -> Credential:
    return credential(*versions, spec=BY_HAND, home=None)


def keys(*versions: Version) -> Credential:
    return credential(*versions, spec=AT_ONCE, home=None)


# Which versions it tells of.


def test_what_nothing_is_planned_of_is_told_as_it_is() -> None:
    """The older one too: in need it would be tried, and so its secret is kept."""
    older = version(1, Stage.PREVIOUS, None, handle="first")
    newer = version(2, Stage.CURRENT, None, handle="second", expires_at=at(DAY))
    spec = replace(BY_HAND, policy=replace(POLICY, retire=RetireBy.KEEP))
    c = credential(older, newer, spec=spec, home=None)
    ends = Trouble(at(DAY), "no usable secret from then on", PUT, None, gap=True)
    outlook = look_ahead(c, None, NOW, at(2 * DAY))
    assert outlook == Outlook(c, NOW, at(2 * DAY), (), (older, newer), None, (ends,))
    assert outlook.name == "genai"


def test_a_rotation_is_told_with_what_becomes_of_both_versions() -> None:
    c, _ = record(keys(OWN), own(OWN), order(OrderKind.ROTATE, recorded_at=NOW))
    outlook = look_ahead(c, own(OWN), NOW, at(2 * DAY))
    told = [(v.number, v.stage, v.promoted_at, outlook.ends(v)) for v in outlook.lives]
    assert told == [
        (1, Stage.RETIRED, OWN.promoted_at, at(DAY)),
        (2, Stage.CURRENT, NOW, at(90 * DAY)),
    ]


KEPT: list[tuple[str, Version, bool]] = [
    ("what was retired", version(1, Stage.RETIRED, retired_at=at(-60)), False),
    ("what is retired this moment", version(1, Stage.RETIRED, retired_at=NOW), False),
    ("what was destroyed", version(1, Stage.REVOKED, revoked_at=at(-60)), False),
    ("what expired", version(1, Stage.REVOKED, expires_at=at(-60)), False),
    ("what is to be filled over, and lives", version(1, Stage.REVOKED, stored=False), True),
    ("what never was current", version(1, Stage.REVOKED, promoted_at=None), False),
]


@pytest.mark.parametrize(("what", "v", "told"), KEPT, ids=[row[0] for row in KEPT])
def test_what_is_over_by_now_is_not_told(what: str, v: Version, *, told: bool) -> None:
    now = version(2, Stage.CURRENT, "two")
    outlook = look_ahead(credential(v, now), seen(empty("one"), looks(now)), NOW, at(60))
    assert outlook.lives == ((v, now) if told else (now,))


def test_the_last_one_is_told_though_it_expired() -> None:
    over = version(1, Stage.CURRENT, None, expires_at=at(-60))
    assert look_ahead(by_hand(over), None, NOW, at(60)).lives == (over,)


def test_what_never_ends_has_no_end_in_sight() -> None:
    endless = version(1, Stage.CURRENT, None, expires_at=None)
    outlook = look_ahead(by_hand(endless), None, NOW, at(60))
    assert [outlook.ends(v) for v in outlook.lives] == [None]


# What is wrong already.

FAILING = credential(CURRENT, failures=1, failed_step="observe", last_error="no", last_hint="wait")
GIVEN_UP = [
    version(n, Stage.REVOKED, "two", promoted_at=None, requested_at=at(-n), given_up="refused")
    for n in (4, 3, 2)
]
UNPROVEN_YET = credential(replace(CURRENT, restored_at=at(-1)))


def warned(c: Credential, o: Observed | None = QUIET) -> list[Trouble]:
    """But for gaps."""
    return [one for one in look_ahead(c, o, NOW, at(60)).troubles if not one.gap]


def test_what_is_wrong_now_is_said_with_what_helps() -> None:
    assert warned(FAILING) == [Trouble(NOW, "now: no", "wait")]


def test_what_rests_after_three_failures_is_said() -> None:
    [said] = warned(credential(CURRENT, *GIVEN_UP))
    assert (said.at, said.what) == (
        NOW,
        "now: new versions came to nothing, the last because refused",
    )


def test_what_is_down_is_a_gap_and_nothing_more() -> None:
    assert warned(UNPROVEN_YET) == []
    assert warned(credential(failures=1, last_error="no such account"), None) == []


# Nothing to hand out.

GAPS: list[tuple[str, Credential, Observed | None, list[Trouble]]] = [
    (
        "the store lost what nobody can issue again",
        by_hand(version(1, Stage.CURRENT, None, stored=False)),
        None,
        [Trouble(NOW, "no usable secret from then on", PUT, None, gap=True)],
    ),
    (
        "tokens are forgotten at a start, and there again at once",
        credential(GONE_TOKEN, spec=TOKENS, home=None),
        None,
        [],
    ),
    (
        "nobody put the first one in",
        Credential(BY_HAND),
        None,
        [Trouble(NOW, "no usable secret from then on", PUT, None, gap=True)],
    ),
    (
        "nobody adopted the key",
        Credential(replace(SPEC, key_id="key")),
        None,
        [
            Trouble(
                NOW,
                "no usable secret from then on",
                "`keyman adopt genai` gives it the secret in use",
                None,
                gap=True,
            )
        ],
    ),
    (
        "the first one rests for longer than anybody looks ahead",
        Credential(SPEC, failures=9, failed_step="create", last_error="no", retry_at=at(55)),
        None,
        [Trouble(NOW, "no usable secret from then on", CHECK, None, gap=True)],
    ),
    (
        "so does the next one of a key that was adopted",
        credential(
            replace(CURRENT, dead_at=at(-5), examined_at=at(-5)),
            spec=replace(SPEC, key_id="key"),
            failures=9,
            failed_step="issue",
            last_error="no",
            retry_at=at(55),
        ),
        QUIET,
        [Trouble(NOW, "no usable secret from then on", CHECK, None, gap=True)],
    ),
]


@pytest.mark.parametrize(("what", "c", "o", "told"), GAPS, ids=[row[0] for row in GAPS])
def test_a_gap_says_who_can_close_it(
    what: str, c: Credential, o: Observed | None, told: list[Trouble]
) -> None:
    assert [*look_ahead(c, o, NOW, at(50)).troubles] == told


# Overlaps.


def overlapping(expires_at: datetime | None, wished: timedelta | None = None) -> list[Trouble]:
    """Rotated now, where the old secret ends then."""
    old = replace(OWN, expires_at=expires_at)
    ordered = order(OrderKind.ROTATE, recorded_at=NOW, overlap=wished)
    c, _ = record(keys(old), own(old), ordered)
    return [*look_ahead(c, own(old), NOW, at(3 * DAY)).troubles]


def short(after: str, number: int = 1) -> Trouble:
    what = f"version {number} ends in its overlap, after {after}"
    return Trouble(NOW, what, "raise rotate_before, or shorten the overlap")


def test_an_overlap_that_is_cut_short_is_told() -> None:
    assert overlapping(at(60)) == [short("1h")]
    assert overlapping(at(0.001)) == [short("0s")]
    assert overlapping(at(DAY)) == []  # to the moment
    assert overlapping(None) == []


def test_it_is_the_overlap_that_was_asked_for() -> None:
    assert overlapping(at(2 * DAY), timedelta(days=3)) == [short("2d")]
    assert overlapping(at(60), timedelta(hours=1)) == []


def test_what_was_replaced_before_is_not_told_again() -> None:
    old = version(1, Stage.PREVIOUS, None, handle="first", expires_at=at(120))
    now = version(2, Stage.CURRENT, None, handle="second")
    both = (*seen(looks(old)).keys, *seen(looks(now)).keys)
    first, second = (
        replace(key, handle=v.handle or "", owner=None)
        for key, v in zip(both, (old, now), strict=True)
    )
    o = Observed(NOW, (first, second))
    c, _ = record(keys(old, now), o, order(OrderKind.ROTATE, recorded_at=NOW))
    outlook = look_ahead(c, o, NOW, at(3 * DAY))
    assert [v.number for v in outlook.lives] == [1, 2, 3]
    assert outlook.troubles == ()


# Slots.


def filled(standby: str) -> list[Trouble]:
    """The other slot is to be filled now, and is shown like that."""
    policy = replace(POLICY, verify=UNPROVEN)
    o = seen(looks(CURRENT), empty(state=standby))
    c = credential(CURRENT, spec=replace(SPEC, policy=policy))
    c, _ = record(c, o, order(OrderKind.ROTATE, recorded_at=NOW))
    return [*look_ahead(c, o, NOW, at(60)).troubles]


def test_a_slot_that_may_not_be_filled_again_is_told_with_the_way_out() -> None:
    said = f"two is {{}} when it is to be filled: {REFUSED}"
    longer = "raise rotate_before to at least half of lifetime"
    anew = "if it does: `keyman rotate genai --new-key`"
    assert filled("EXPIRED") == [Trouble(NOW, said.format("EXPIRED"), longer)]
    assert filled("REVOKED") == [Trouble(NOW, said.format("REVOKED"), anew)]
    assert filled("INACTIVE") == []


def test_what_was_asked_for_already_is_not_warned_of() -> None:
    over = seen(looks(CURRENT), empty(state="EXPIRED"))
    outlook = look_ahead(credential(CURRENT, wish(2), doubt_at=NOW), over, NOW, at(60))
    assert next(one.step for one in outlook.steps) == "issue"
    assert outlook.troubles == ()


# Tokens.


def test_what_a_leaked_token_leaves_behind_is_no_part_of_the_rhythm() -> None:
    """It can't be destroyed, and so it is over at its own end, before the next one is asked for."""
    c = credential(LEAKED_TOKEN, spec=TOKENS, home=None)
    outlook = look_ahead(c, None, NOW, at(DAY))
    assert [(one.step, one.at) for one in outlook.steps] == [
        ("request", NOW),
        ("issue", NOW),
        ("promote", NOW),
    ]
    assert outlook.repeats
    assert outlook.repeats.reason == "rotate_before reached"
    assert outlook.repeats.first == NOW + outlook.repeats.every


def test_a_rhythm_is_one_whose_beats_are_equally_far_apart() -> None:
    """A window that is met once, in the second hour, is none."""
    window = Window(frozenset({5}), time(13, 40), time(13, 45), UTC)
    spec = replace(TOKENS, policy=replace(TOKEN_POLICY, window=window))
    outlook = look_ahead(Credential(spec), None, NOW, at(10 * 60))
    every = timedelta(minutes=52.5)  # half of rotate_before is left
    first = NOW + every
    assert outlook.repeats == Repeats(first, every, 11, first + 10 * every, "rotate_before reached")


# As far as it goes.


def test_a_plan_that_grows_too_long_says_where_it_ends() -> None:
    """Of fifty thousand steps only the last is taken here."""
    one = Planned(at(DAY), "request", "two", None, "")
    last = replace(one, at=at(2 * DAY))
    moment = next(walk(credential(CURRENT), QUIET, NOW, at(60)))
    hint = "ask for a nearer time with --until"
    said = "planned no further than {}: too many steps"
    for steps, known, troubles in (
        ([one, last], STEPS_AT_MOST - 1, [Trouble(at(2 * DAY), said.format("2026-11-23"), hint)]),
        ([], STEPS_AT_MOST - 1, [Trouble(NOW, said.format("2026-11-21"), hint)]),
        ([one, last], STEPS_AT_MOST - 2, []),
    ):
        so_far = _Seen(credential(CURRENT), NOW, steps=[*steps], taken=known)
        so_far.take(moment)
        so_far.finish(at(DAY))
        assert so_far.troubles == troubles
