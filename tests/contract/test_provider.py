"""What every provider must do, whoever it is: one suite, each run against the real thing's wire.

A `Subject` is one provider with an outside that tests can look into. Every verb may be called
twice for one wish, raises nothing but errors.ProviderFailed, and leaves alone what it was not told
to touch. Which tests a kind has to pass follows from what its `Spec` says it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyman import errors
from keyman.clock import SystemClock
from keyman.core.model import Observed, Place, Secret, Spec, Verdict, Version
from keyman.core.picture import GONE
from keyman.providers import KINDS, open_provider
from keyman.providers.protocol import Created, Issued, Provider
from tests.providers import oci_world, openai_world


@dataclass
class Subject:
    """A provider, and what a test needs to know of its outside."""

    provider: Provider
    spec: Spec
    new_wish: Callable[..., Version]  #: takes slot and handle where there are slots
    unplug: Callable[[], None]
    nobody: str = ""  #: an id that looks like one and names nothing
    standby_ends: datetime | None = None

    def created(self) -> tuple[Version, Created]:
        assert self.standby_ends
        wish = self.new_wish()
        return wish, self.provider.create(wish, self.standby_ends)

    def first(self) -> tuple[Version, Issued]:
        """A version with its secret, active: in a new object, if it takes one."""
        if not self.spec.slots:
            return self.second("")
        wish, created = self.created()
        issued = created.issued
        assert issued
        self.provider.activate(Place(created.handle, wish.slot), None)
        return replace(wish, handle=created.handle), issued

    def second(self, handle: str) -> tuple[Version, Issued]:
        """Another one beside it."""
        wish = self.new_wish("key-two", handle) if self.spec.slots else self.new_wish()
        issued = self.provider.issue(wish, None)
        wish = replace(wish, handle=issued.handle)
        if self.spec.observes:
            self.look(*filter(None, (handle, issued.handle)))  # as the core does after each change
            self.provider.activate(place(wish), None)
        return wish, issued

    def look(self, *handles: str) -> Observed:
        seen = self.provider.observe(handles, datetime.now(UTC))
        assert seen
        return seen

    def gone(self) -> None:
        """From here on nobody answers."""
        self.unplug()


@contextmanager
def of_oci() -> Iterator[Subject]:
    with oci_world.world() as made:
        yield Subject(
            made.usual,
            made.spec,
            made.wish,
            made.sandbox.stop,
            "ocid1.generativeaiapikey.oc1.us-chicago-1.nosuch",
            made.standby_ends,
        )


@contextmanager
def of_openai() -> Iterator[Subject]:
    with openai_world.world() as made:
        yield Subject(made.usual, made.spec, made.wish, made.sandbox.stop, "key_nosuch")


OCI = Spec("genai", "oci-genai", slots=oci_world.SLOTS)
SUBJECTS: dict[str, tuple[Spec, Callable[[], AbstractContextManager[Subject]]]] = {
    "oci-genai": (OCI, of_oci),
    "openai": (openai_world.SPEC, of_openai),
}


def kinds(able: Callable[[Spec], object] = lambda spec: True) -> pytest.MarkDecorator:
    """Run the test for each kind that can do this."""
    chosen = [kind for kind, (spec, _) in SUBJECTS.items() if able(spec)]
    return pytest.mark.parametrize("subject", chosen, indirect=True)


everybody = kinds()
issuing = kinds(lambda spec: spec.issues)
probing = kinds(lambda spec: spec.probes)
proving = kinds(lambda spec: spec.issues and spec.probes)
observing = kinds(lambda spec: spec.observes)
made_to_last = kinds(lambda spec: spec.issues and spec.observes)
revoking = kinds(lambda spec: spec.revokes and spec.probes)
slotted = kinds(lambda spec: spec.slots)
slotless = kinds(lambda spec: spec.issues and spec.observes and not spec.slots)
claiming = kinds(lambda spec: spec.claims)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with SUBJECTS[request.param][1]() as made:
        yield made


def place(wish: Version) -> Place:
    assert wish.place
    return wish.place


@proving
def test_a_new_object_comes_with_a_secret_that_is_accepted(subject: Subject) -> None:
    _, issued = subject.first()
    assert subject.provider.verify(issued.secret) is Verdict.ACCEPTED


@slotted
def test_creating_twice_for_one_wish_finds_the_first(subject: Subject) -> None:
    wish, first = subject.created()
    assert subject.standby_ends
    again = subject.provider.create(wish, subject.standby_ends)
    assert (again.handle, again.issued) == (first.handle, None)


@made_to_last
def test_two_wishes_are_two_objects(subject: Subject) -> None:
    (_, first), (_, second) = subject.first(), subject.first()
    assert first.handle != second.handle
    assert first.secret != second.secret


@made_to_last
def test_what_is_issued_is_shown_as_it_was_announced(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    slot = subject.look(issued.handle).slot(wish.place)
    assert slot
    assert slot.expires_at == issued.expires_at
    assert issued.mask in (None, slot.mask)  # not every announcement shows one


@made_to_last
def test_an_expiry_is_kept_to_the_second(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    assert wish.expires_at
    assert issued.expires_at
    assert abs(issued.expires_at - wish.expires_at) < timedelta(seconds=1)
    assert issued.expires_at.utcoffset() == timedelta(0)


@proving
def test_issuing_leaves_the_other_secret_alone(subject: Subject) -> None:
    wish, first = subject.first()
    subject.second(wish.handle or "")
    assert subject.provider.verify(first.secret) is Verdict.ACCEPTED


@proving
def test_issuing_twice_for_one_wish_ends_with_a_secret_that_works(subject: Subject) -> None:
    wish, _ = subject.second(subject.first()[0].handle or "")
    again = subject.provider.issue(wish, None)
    assert subject.provider.verify(again.secret) is Verdict.ACCEPTED


@slotted
def test_issuing_anew_ends_the_secret_that_was_there(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    _, old = subject.second(handle)
    subject.second(handle)
    assert subject.provider.verify(old.secret) is Verdict.REFUSED


@slotless
def test_issuing_again_for_one_wish_ends_the_secret_that_nobody_took(subject: Subject) -> None:
    subject.first()
    wish = subject.new_wish()
    old = subject.provider.issue(wish, None)
    subject.provider.issue(wish, None)
    assert subject.look(old.handle).keys[0].state in GONE


@observing
@pytest.mark.parametrize("verb", ["activate", "retire", "revoke"])
def test_switching_twice_is_switching_once(subject: Subject, verb: str) -> None:
    first, _ = subject.first()
    wish, _ = subject.second(first.handle or "")
    switch = getattr(subject.provider, verb)
    switch(place(wish), None)
    once = subject.look(first.handle or "", wish.handle or "").keys[-1].slots
    switch(place(wish), None)
    assert subject.look(first.handle or "", wish.handle or "").keys[-1].slots == once


@revoking
def test_what_is_retired_is_refused(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    subject.provider.retire(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.REFUSED


@slotted
def test_what_is_retired_works_again_when_it_is_activated(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    subject.provider.retire(place(wish), None)
    subject.provider.activate(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.ACCEPTED


@revoking
def test_what_is_revoked_does_not_come_back(subject: Subject) -> None:
    wish, issued = subject.second(subject.first()[0].handle or "")
    subject.provider.revoke(place(wish), None)
    if subject.spec.slots:
        with pytest.raises(errors.ProviderFailed):
            subject.provider.activate(place(wish), None)
    assert subject.provider.verify(issued.secret) is Verdict.REFUSED
    slot = subject.look(wish.handle or "").slot(wish.place)
    assert slot
    assert slot.state in GONE


@revoking
def test_the_last_active_secret_is_never_retired(subject: Subject) -> None:
    wish, first = subject.first()
    other, _ = subject.second(wish.handle or "")
    subject.provider.retire(place(other), None)
    with pytest.raises(errors.Rejected):
        subject.provider.retire(place(wish), None)
    assert subject.provider.verify(first.secret) is Verdict.ACCEPTED


@probing
def test_a_made_up_secret_is_refused(subject: Subject) -> None:
    assert subject.provider.verify(Secret("sk-nobody-ever-issued-this")) is Verdict.REFUSED


@probing
@pytest.mark.parametrize("odd", ["", " ", "ö", "a\nb: c", "x" * 100_000])
def test_an_impossible_secret_is_never_accepted(subject: Subject, odd: str) -> None:
    assert subject.provider.verify(Secret(odd)) in (Verdict.REFUSED, Verdict.SILENT)


@observing
def test_observing_answers_for_what_was_asked(subject: Subject) -> None:
    one, two = subject.first()[0].handle or "", subject.first()[0].handle or ""
    seen = subject.look(two, one)
    assert [key.handle for key in seen.keys] == [two, one]
    assert subject.look().keys == ()


@observing
def test_what_is_unknown_is_an_error_or_gone_and_not_nothing(subject: Subject) -> None:
    try:
        [key] = subject.look(subject.nobody).keys
    except errors.ProviderFailed:
        return
    assert {key.state, *(slot.state for slot in key.slots)} <= GONE
    assert key.slots


@claiming
def test_a_claim_is_seen_by_the_next_observation(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    subject.provider.claim(subject.look(handle).keys[0], "here", 7)
    key = subject.look(handle).keys[0]
    assert (key.owner, key.epoch) == ("here", 7)


@claiming
def test_a_claim_fences_off_what_was_seen_before_it(subject: Subject) -> None:
    wish, _ = subject.first()
    other, _ = subject.second(wish.handle or "")
    before = subject.look(wish.handle or "").keys[0]
    assert subject.provider.claim(before, "here", 2)
    with pytest.raises(errors.RetryLater):
        subject.provider.retire(place(other), before.etag)


@observing
def test_two_at_once_do_not_disturb_each_other(subject: Subject) -> None:
    handle = subject.first()[0].handle or ""
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: subject.look(handle).keys, range(24)))
    assert len(set(seen)) == 1


@issuing
def test_with_nobody_there_every_verb_says_so_and_nothing_else(subject: Subject) -> None:
    wish, issued = subject.first()
    again = subject.new_wish(*((wish.slot, wish.handle) if wish.slot else ()))
    calls: list[Callable[[], Any]] = [lambda: subject.provider.issue(again, None)]
    calls += _with_what_is_seen(subject, wish) if subject.spec.observes else []
    subject.gone()
    for call in calls:
        with pytest.raises(errors.RetryLater):  # nothing was sent, and it is known
            call()
    if subject.spec.probes:
        assert subject.provider.verify(issued.secret) is Verdict.SILENT


def _with_what_is_seen(subject: Subject, wish: Version) -> Iterator[Callable[[], Any]]:
    spec, provider, at = subject.spec, subject.provider, place(wish)
    key, ends = subject.look(at.handle).keys[0], subject.standby_ends
    yield lambda: provider.observe((at.handle,), datetime.now(UTC))
    if spec.claims:
        yield lambda: provider.claim(key, "here", 1)
    if spec.slots and ends:
        yield lambda: provider.create(subject.new_wish(), ends)
        yield lambda: provider.activate(at, None)
        yield lambda: provider.retire(at, None)
    if spec.revokes:
        yield lambda: provider.revoke(at, None)


@everybody
def test_lookup_needs_nobody(subject: Subject) -> None:
    subject.gone()
    assert subject.provider.lookup().base_url


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        open_provider("oci", OCI, None, network=None, clock=SystemClock())
    assert all(kind in caught.value.hint for kind in KINDS)
