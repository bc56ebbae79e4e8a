"""What every provider must do, whoever it is: one suite, each run against the real thing's wire.

A `Subject` is one provider with an outside that tests can look into. Every verb may be called
twice for one wish, raises nothing but errors.ProviderFailed, and leaves alone what it was not told
to touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyman import errors
from keyman.core.model import Observed, Place, Secret, Verdict, Version
from keyman.providers import KINDS, open_provider
from keyman.providers.protocol import Created, Issued, Provider
from tests.providers.oci_world import World, world


@dataclass
class Subject:
    """A provider, and what a test needs to know of its outside."""

    provider: Provider
    world: World

    def created(self) -> tuple[Version, Created]:
        wish = self.world.wish()
        return wish, self.provider.create(wish, self.world.standby_ends)

    def first(self) -> tuple[Version, Issued]:
        """A version with its secret, active, in a new object."""
        wish, created = self.created()
        issued = created.issued
        assert issued
        self.provider.activate(Place(created.handle, wish.slot), None)
        return replace(wish, handle=created.handle), issued

    def second(self, handle: str) -> tuple[Version, Issued]:
        """Another one beside it."""
        wish = self.world.wish("key-two", handle)
        issued = self.provider.issue(wish, None)
        self.provider.activate(Place(handle, wish.slot), None)
        return wish, issued

    def look(self, *handles: str) -> Observed:
        seen = self.provider.observe(handles, self.world.clock.now())
        assert seen
        return seen

    def gone(self) -> None:
        """From here on nobody answers."""
        self.world.sandbox.stop()


@pytest.fixture(params=["oci-genai"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with world() as made:
        yield Subject(made.usual, made)


def place(wish: Version) -> Place:
    assert wish.place
    return wish.place


def test_a_new_object_comes_with_a_secret_that_is_accepted(subject: Subject) -> None:
    _, issued = subject.first()
    assert subject.provider.verify(issued.secret) is Verdict.ACCEPTED


def test_creating_twice_for_one_wish_finds_the_first(subject: Subject) -> None:
    wish, first = subject.created()
    again = subject.provider.create(wish, subject.world.standby_ends)
    assert (again.handle, again.issued) == (first.handle, None)


def test_two_wishes_are_two_objects(subject: Subject) -> None:
    (_, first), (_, second) = subject.created(), subject.created()
    assert first.handle != second.handle


def test_what_is_issued_is_shown_as_it_was_announced(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    slot = subject.look(issued.handle).slot(wish.place)
    assert slot
    assert (slot.mask, slot.expires_at) == (issued.mask, issued.expires_at)


def test_an_expiry_is_kept_to_the_second(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    assert wish.expires_at
    assert issued.expires_at
    assert abs(issued.expires_at - wish.expires_at) < timedelta(seconds=1)
    assert issued.expires_at.utcoffset() == timedelta(0)


def test_issuing_leaves_the_other_secret_alone(subject: Subject) -> None:
    wish, first = subject.first()
    subject.second(wish.handle or "")
    assert subject.provider.verify(first.secret) is Verdict.ACCEPTED


def test_issuing_twice_for_one_wish_ends_with_a_secret_that_works(subject: Subject) -> None:
    wish, _ = subject.second(subject.first()[0].handle or "")
    again = subject.provider.issue(wish, None)
    assert subject.provider.verify(again.secret) is Verdict.ACCEPTED


def test_issuing_anew_ends_the_secret_that_was_there(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    _, old = subject.second(handle)
    subject.second(handle)
    assert subject.provider.verify(old.secret) is Verdict.REFUSED


@pytest.mark.parametrize("verb", ["activate", "retire", "revoke"])
def test_switching_twice_is_switching_once(subject: Subject, verb: str) -> None:
    wish, _ = subject.second(subject.first()[0].handle or "")
    switch = getattr(subject.provider, verb)
    switch(place(wish), None)
    once = subject.look(wish.handle or "").keys[0].slots
    switch(place(wish), None)
    assert subject.look(wish.handle or "").keys[0].slots == once


def test_what_is_retired_is_refused_until_it_is_activated(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    subject.provider.retire(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.REFUSED
    subject.provider.activate(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.ACCEPTED


def test_what_is_revoked_does_not_come_back(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    subject.provider.revoke(place(wish), None)
    with pytest.raises(errors.ProviderFailed):
        subject.provider.activate(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.REFUSED


def test_the_last_active_secret_is_never_retired(subject: Subject) -> None:
    wish, first = subject.first()
    other, _ = subject.second(wish.handle or "")
    subject.provider.retire(place(other), None)
    with pytest.raises(errors.Rejected):
        subject.provider.retire(place(wish), None)
    assert subject.provider.verify(first.secret) is Verdict.ACCEPTED


def test_a_made_up_secret_is_refused(subject: Subject) -> None:
    assert subject.provider.verify(Secret("sk-nobody-ever-issued-this")) is Verdict.REFUSED


@pytest.mark.parametrize("odd", ["", " ", "ö", "a\nb: c", "x" * 100_000])
def test_an_impossible_secret_is_never_accepted(subject: Subject, odd: str) -> None:
    assert subject.provider.verify(Secret(odd)) in (Verdict.REFUSED, Verdict.SILENT)


def test_observing_answers_for_what_was_asked(subject: Subject) -> None:
    one, two = subject.first()[0].handle or "", subject.first()[0].handle or ""
    seen = subject.look(two, one)
    assert [key.handle for key in seen.keys] == [two, one]
    assert subject.look().keys == ()


def test_what_is_unknown_is_an_error_and_not_nothing(subject: Subject) -> None:
    with pytest.raises(errors.ProviderFailed):
        subject.look("ocid1.generativeaiapikey.oc1.us-chicago-1.nosuch")


def test_a_claim_is_seen_by_the_next_observation(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    subject.provider.claim(subject.look(handle).keys[0], "here", 7)
    key = subject.look(handle).keys[0]
    assert (key.owner, key.epoch) == ("here", 7)


def test_a_claim_fences_off_what_was_seen_before_it(subject: Subject) -> None:
    wish, _ = subject.first()
    other, _ = subject.second(wish.handle or "")
    before = subject.look(wish.handle or "").keys[0]
    assert subject.provider.claim(before, "here", 2)
    with pytest.raises(errors.RetryLater):
        subject.provider.retire(place(other), before.etag)


def test_two_at_once_do_not_disturb_each_other(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: subject.look(handle).keys, range(24)))
    assert len(set(seen)) == 1


def test_with_nobody_there_every_verb_says_so_and_nothing_else(subject: Subject) -> None:
    wish, issued = subject.first()
    key = subject.look(wish.handle or "").keys[0]
    subject.gone()
    at, provider = place(wish), subject.provider
    calls: list[Any] = [
        lambda: provider.observe((key.handle,), datetime.now(UTC)),
        lambda: provider.claim(key, "here", 1),
        lambda: provider.create(subject.world.wish(), subject.world.standby_ends),
        lambda: provider.issue(wish, None),
        lambda: provider.activate(at, None),
        lambda: provider.retire(at, None),
        lambda: provider.revoke(at, None),
    ]
    for call in calls:
        with pytest.raises(errors.RetryLater):  # nothing was sent, and it is known
            call()
    assert provider.verify(issued.secret) is Verdict.SILENT


def test_lookup_needs_nobody(subject: Subject) -> None:
    subject.gone()
    assert subject.provider.lookup().base_url


def test_an_unknown_kind_is_refused_with_the_known_ones(subject: Subject) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        open_provider("oci", subject.world.spec, None, network=None, clock=subject.world.clock)
    assert all(kind in caught.value.hint for kind in KINDS)
