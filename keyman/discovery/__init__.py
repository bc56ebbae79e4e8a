"""`keyman discover`: what lies at the providers beside what is managed, and what others changed.

Asks the providers now, each place once; changes nothing. What one of them refuses hides nothing of
the others. `entries` turns what is there into words and next moves, `differences` what others
changed. Names and words among it are the providers': whoever shows them cleans them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

from keyman import errors
from keyman.config import CredentialSettings, OciGenaiOptions, OpenaiOptions, Settings
from keyman.core.inventory import Known, There, unmanaged
from keyman.core.model import Credential, Observed, Spec
from keyman.core.situation import Situation
from keyman.db.journal import Journal
from keyman.discovery.differences import differences
from keyman.discovery.entries import entry_as_json
from keyman.performer import Managed
from keyman.reading import NothingYet, Reader
from keyman.views import Json
from keyman.wiring import Rooms, managed_by


@runtime_checkable
class Lists(Protocol):
    """A provider that can say what is there."""

    def inventory(self) -> tuple[There, ...]:
        """Every key of the place that the credential is configured for."""


@dataclass(slots=True)
class Discovered:
    unmanaged: list[Json] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  #: the places that answered
    drift: list[Json] = field(default_factory=list)
    failed: list[Json] = field(default_factory=list)  #: who could not be asked, and why
    not_listed: list[Json] = field(default_factory=list)  #: of whom nothing can be listed

    def as_json(self) -> Json:
        return {
            "unmanaged": self.unmanaged,
            "asked": self.asked,
            "drift": self.drift,
            "failed": self.failed,
            "not_listed": self.not_listed,
        }


def discover(settings: Settings) -> Discovered:
    """Raises NotAllowed if this user may not look into the home, StoreFailed if it fails."""
    with ExitStack() as opened:
        rooms: Rooms
        try:
            rooms = opened.enter_context(Reader(settings))
        except errors.NotRunning:  # no journal yet: the providers can be asked all the same
            rooms = NothingYet()
        return _Asking(settings, rooms).everything()


@dataclass(slots=True)
class _Asking:
    settings: Settings
    rooms: Rooms
    found: Discovered = field(default_factory=Discovered)
    failed: dict[str, errors.Error] = field(default_factory=dict)

    def everything(self) -> Discovered:
        now = self.rooms.clock.now()
        known = self._known()
        places: dict[str, list[CredentialSettings]] = {}
        for one in self.settings.credentials.values():
            places.setdefault(_place(one), []).append(one)
        for place, ours in places.items():
            self._place(place, ours, known, now)
        for one in self.settings.credentials.values():
            self._drift(one)
        self.found.failed = [_failure(self.settings, *each) for each in self.failed.items()]
        return self.found

    def _place(
        self, place: str, ours: list[CredentialSettings], known: Known, now: datetime
    ) -> None:
        """One list is enough for all that are configured for it, whoever of them may ask."""
        for one in ours:
            try:
                provider = managed_by(self.settings, one, self.rooms).provider
                if not isinstance(provider, Lists):
                    self.found.not_listed.append(_not_listed(one))
                    continue
                listed = provider.inventory()
            except errors.Error as error:
                self.failed[one.name] = error
                continue
            self.found.asked.append(place)
            for entry in unmanaged(listed, known, now):
                self.found.unmanaged.append(entry_as_json(entry, one, place, ours))
            return

    def _known(self) -> Known:
        journal = self.rooms.journal
        managed: set[str] = set()
        earlier: dict[str, str] = {}
        left: dict[str, str] = {}
        waiting: dict[str, str] = {}
        for c in self._records(journal) if journal else ():
            ever = {h: c.name for h in (c.home, *(v.handle for v in c.versions)) if h}
            if c.name not in self.settings.credentials:
                left |= ever
            else:
                matters = Situation(c, None, self.rooms.clock.now()).handles
                managed |= set(matters) if c.versions else set()
                earlier |= ever
        for one in self.settings.credentials.values():
            key_id = one.spec("").key_id
            if key_id and key_id not in earlier:
                waiting[key_id] = one.name
        installation = journal.installation if journal else ""
        return Known(installation, frozenset(managed), earlier, left, waiting)

    def _records(self, journal: Journal) -> Iterator[Credential]:
        for name, provider in journal.providers().items():
            one = self.settings.credentials.get(name)
            same = one is not None and one.provider == provider
            spec = one.spec(journal.installation) if one and same else Spec(name, provider)
            yield journal.load(spec)[0]

    def _drift(self, one: CredentialSettings) -> None:
        journal = self.rooms.journal
        if journal is None or isinstance(self.failed.get(one.name), errors.RetryLater):
            return
        try:
            c = journal.load(one.spec(journal.installation))[0]
            if not c.versions or not c.spec.observes:
                return
            observed = self._look(managed_by(self.settings, one, self.rooms), c)
        except errors.Error as error:
            self.failed.setdefault(one.name, error)
            return
        if observed is not None:
            self.found.drift += differences(c, observed, self.rooms.clock.now())

    def _look(self, managed: Managed, c: Credential) -> Observed | None:
        now = self.rooms.clock.now()
        s = Situation(c, None, now)
        return managed.provider.observe(s.handles, now, s.optional) if s.handles else None


# Places.


def _place(one: CredentialSettings) -> str:
    """Where a list is asked for: two credentials of one place need one call."""
    match one.options:
        case OciGenaiOptions() as options:
            where = options.compartment_id or f"the compartment of {options.api_key_id}"
            return f"{where} in {options.endpoint or options.region}"
        case OpenaiOptions() as options:
            of = options.project_id if options.key_type != "admin" else "the organization's admins"
            return f"{of} at {options.base_url}"
    return f"{one.provider} {one.name}"


def _not_listed(one: CredentialSettings) -> Json:
    why = "nobody can say which secrets there are: this one came by hand"
    if one.provider == "google":
        why = "access tokens are kept nowhere that could be listed, and end by themselves"
    return {"credential": one.name, "provider": one.provider, "why": why}


def _failure(settings: Settings, name: str, error: errors.Error) -> Json:
    said = error.as_json()["error"]
    return {"credential": name, "provider": settings.credentials[name].provider, **said}
