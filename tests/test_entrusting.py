"""What a person brings: where it may be said to be, what is recorded of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyman import errors
from keyman.core.entrusting import (
    adopted,
    place_to_adopt,
    put,
    refuse_another_slots,
    refuse_put,
)
from keyman.core.model import (
    Credential,
    KeySeen,
    Observed,
    Place,
    Secret,
    SlotSeen,
    Spec,
    Stage,
    Version,
)
from tests.credentials import (
    BY_HAND,
    CURRENT,
    DAY,
    KEYLESS,
    NOW,
    ONE,
    POLICY,
    SPEC,
    TOKENS,
    TWO,
    at,
    credential,
    empty,
    looks,
    pending,
    seen,
    version,
)

NAMED = replace(SPEC, key_id="key")
OWN = Place("key-7", None)
SHOWN = replace(looks(CURRENT), name=None)
LISTED = Observed(NOW, (KeySeen("key-7", "ACTIVE", (SHOWN,)),))
NO_KEY = "set api_key_id to the id of the key first: `keyman discover` lists what is there"


def said(refused: pytest.ExceptionInfo[errors.Error]) -> tuple[str, str]:
    return refused.value.message, refused.value.hint


# Where it is said to be.


@pytest.mark.parametrize(
    ("spec", "slot", "key_id", "message", "hint"),
    [
        (TOKENS, None, "key", "genai has nothing to adopt", "it gets its tokens itself"),
        (BY_HAND, None, "key", "genai has nothing to adopt", "`keyman put genai` takes it"),
        (
            replace(NAMED, issues=False),
            "one",
            None,
            "genai has nothing to adopt",
            "`keyman put genai` takes it",
        ),
        (KEYLESS, None, None, "genai has keys, not slots", "name its key with --key-id"),
        (KEYLESS, "one", "key", "genai has keys, not slots", "name its key with --key-id"),
        (NAMED, None, None, "genai has slots: name one with --slot", "its slots: one, two"),
        (NAMED, "one", "key", "genai has slots: name one with --slot", "its slots: one, two"),
        (SPEC, "one", None, "genai names no API key whose slot one could be adopted", NO_KEY),
    ],
)
def test_who_names_the_place_wrongly_hears_how_it_is_named(
    spec: Spec, slot: str | None, key_id: str | None, message: str, hint: str
) -> None:
    with pytest.raises(errors.UsageError) as refused:
        place_to_adopt(Credential(spec), slot, key_id)
    assert said(refused) == (message, hint)


def test_a_slot_is_in_the_key_of_the_configuration_and_a_key_is_named() -> None:
    assert place_to_adopt(Credential(NAMED), "two", None) == TWO
    assert place_to_adopt(Credential(KEYLESS), None, "key-7") == OWN


def test_what_is_managed_is_not_adopted_whatever_is_named() -> None:
    with pytest.raises(errors.Conflict) as refused:
        place_to_adopt(credential(CURRENT), "two", None)
    assert said(refused) == ("genai is managed already", "`keyman status genai`")


# Taking it over.


FIRST: dict[str, Any] = {
    "number": 1,
    "stage": Stage.CURRENT,
    "attempt": "attempt",
    "requested_at": NOW,
    "expires_at": at(80 * DAY),
    "mask": "mask-1",
    "fingerprint": "hmac:1",
    "issued_at": NOW,
    "verified_at": NOW,
    "promoted_at": NOW,
}


@pytest.mark.parametrize(
    ("spec", "shown", "place", "home"),
    [
        (NAMED, seen(looks(CURRENT), empty()), ONE, "key"),
        (KEYLESS, LISTED, OWN, None),
    ],
    ids=["a slot of the key that is filled from then on", "a key of its own, home of nothing"],
)
def test_what_is_in_use_becomes_version_one_as_it_is(
    spec: Spec, shown: Observed, place: Place, home: str | None
) -> None:
    fresh = Credential(spec, driver=3, epoch=4, revision=5)
    first = Version(**FIRST, slot=place.slot, handle=place.handle)
    expected = replace(fresh, versions=(first,), home=home)
    assert adopted(fresh, shown, place, "hmac:1", "attempt", NOW) == expected


@pytest.mark.parametrize(
    ("spec", "shown", "place", "message"),
    [
        (NAMED, seen(looks(CURRENT), empty()), TWO, "slot two of genai is INACTIVE"),
        (NAMED, seen(looks(CURRENT), empty()), Place("key", "six"), "slot six of genai is absent"),
        (NAMED, LISTED, ONE, "slot one of genai is absent"),
        (KEYLESS, Observed(NOW, ()), OWN, "key key-7 of genai is absent"),
        (
            KEYLESS,
            Observed(NOW, (KeySeen("key-7", "ACTIVE", (replace(SHOWN, state="EXPIRED"),)),)),
            OWN,
            "key key-7 of genai is EXPIRED",
        ),
    ],
)
def test_what_is_not_in_use_is_not_adopted_and_it_is_said_how_it_is(
    spec: Spec, shown: Observed, place: Place, message: str
) -> None:
    with pytest.raises(errors.Conflict) as refused:
        adopted(Credential(spec), shown, place, "f", "a", NOW)
    assert said(refused) == (message, "name the one that is in use")


def test_another_installation_s_mark_counts_where_keys_are_marked() -> None:
    marked = seen(looks(CURRENT), empty(), owner="there")
    with pytest.raises(errors.Conflict) as refused:
        adopted(Credential(NAMED), marked, ONE, "f", "a", NOW)
    message = "the key of genai is managed by installation there"
    assert said(refused) == (message, "if that one is gone for good: --take-over")
    for owner in (None, "here"):
        free = seen(looks(CURRENT), empty(), owner=owner)
        assert adopted(Credential(NAMED), free, ONE, "f", "a", NOW).current
    unmarked = Credential(replace(NAMED, claims=False))
    assert adopted(unmarked, marked, ONE, "f", "a", NOW).current


# What the provider's masks say of the secret that a person gave for slot one.


GIVEN = Secret("sk-abcdXYZ1")


@pytest.mark.parametrize(
    ("what", "one", "two", "hint"),
    [
        ("its mask fits", "sk-a****XYZ1", "sk-b....XYZ2", None),
        ("both fit", "sk-a****XYZ1", "sk-a****XYZ1", None),
        ("an end is enough", "••••XYZ1", None, None),
        ("its mask shows nothing", "****", "sk-a****XYZ1", None),
        ("it has no mask", None, "sk-a****XYZ1", None),
        ("its mask is of another kind", "mask-1", "sk-a****XYZ1", None),
        ("a single dot hides nothing", "sk-b.XYZ2", "sk-a****XYZ1", None),
        ("the other one's", "sk-b****XYZ2", "sk-a****XYZ1", "it looks like that of two"),
        ("the other one's, by its end", "sk-b…..XYZ1", "****XYZ1", "it looks like that of two"),
        ("of its kind, and another", "sk-a****XYZ2", None, "give the one that is in use"),
        ("the same beside one", "sk-a****XYZ2", "sk-a****XYZ3", "give the one that is in use"),
        ("masks that may show anything", "fp-1****0042", "fp-2****0043", None),
        ("the same, and none", "fp-1****0042", None, None),
        ("the same, ends only", "****0042", "****0043", None),
    ],
)
def test_only_what_plainly_shows_another_secret_speaks_against_one(
    what: str, one: str | None, two: str | None, hint: str | None
) -> None:
    shown = seen(SlotSeen("one", "ACTIVE", one), SlotSeen("two", "ACTIVE", two))
    if hint is None:
        refuse_another_slots(shown, ONE, GIVEN)
        return
    with pytest.raises(errors.Conflict) as refused:
        refuse_another_slots(shown, ONE, GIVEN)
    assert said(refused) == ("this is not the secret in one: its mask differs", hint)


def test_a_key_of_its_own_is_told_apart_by_its_mask_as_well() -> None:
    shown = Observed(NOW, (KeySeen("key-7", "ACTIVE", (SlotSeen(None, "ACTIVE", "sk-a…..9"),)),))
    with pytest.raises(errors.Conflict, match="the secret in key-7"):
        refuse_another_slots(shown, OWN, GIVEN)


@pytest.mark.parametrize("place", [Place("key", "six"), Place("elsewhere", "one")])
def test_a_place_that_is_not_shown_is_no_business_of_masks(place: Place) -> None:
    refuse_another_slots(seen(looks(CURRENT), empty()), place, GIVEN)


# The next one of those that are made by hand.


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        (SPEC, "`keyman adopt genai` takes over one that is in use"),
        (TOKENS, "nothing to bring: keyman gets its tokens itself"),
    ],
)
def test_who_puts_what_keyman_gets_itself_hears_what_to_do_instead(spec: Spec, hint: str) -> None:
    with pytest.raises(errors.UsageError) as refused:
        refuse_put(spec)
    assert said(refused) == ("the secrets of genai are issued by oci-genai", hint)


def test_what_is_put_is_current_and_everything_before_steps_back() -> None:
    oldest = version(1, Stage.PREVIOUS, None, handle="a1")
    before = version(2, Stage.CURRENT, None, handle="a2")
    carried = pending(3, None, carries=1, attempt="wish-1", handle="a1")
    c = credential(oldest, before, carried, spec=BY_HAND, home=None)
    found = put(c, "hmac:4", "a4", at(9 * DAY), NOW)
    fourth = FIRST | {"number": 4, "attempt": "a4", "handle": "a4", "mask": None}
    fourth |= {"expires_at": at(9 * DAY), "fingerprint": "hmac:4"}
    assert found == replace(
        c,
        versions=(
            replace(oldest, stage=Stage.REVOKED),
            replace(before, stage=Stage.PREVIOUS, replaced_at=NOW, overlap=POLICY.overlap),
            replace(carried, stage=Stage.REVOKED, given_up="a person put in another"),
            Version(**fourth),
        ),
    )
