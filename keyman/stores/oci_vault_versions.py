"""One vault secret, read as versions of a credential: decides, and asks nobody.

    keyman-7          the first that was put under number 7
    keyman-7.2        put there later: it counts, and keyman-7 is given no more
    keyman-nothing    what direct readers get while there is nothing for them
    any other name    somebody else's: neither given nor touched

What was dropped is forgotten at once, although OCI destroys a version only when it is DEPRECATED:
until then a tag of the vault secret lists it by the vault's own number of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from keyman.vendors.oci_vaults import SecretSeen, VersionSeen

OWNER, NAME, DROPPED = "keyman", "keyman-name", "keyman-dropped"  # freeform tags
ACTIVE_LIMIT = GOING_LIMIT = 30
NOTHING = "keyman-nothing"
_VERSION = re.compile(r"keyman-(nothing|[0-9]+)(?:\.([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Seen:
    """A vault secret with its versions, as they were a moment ago."""

    secret: SecretSeen
    versions: tuple[VersionSeen, ...]

    @property
    def settled(self) -> bool:
        """May it be changed now?"""
        return self.secret.state == "ACTIVE"

    @property
    def dropped(self) -> frozenset[int]:
        return frozenset(int(n) for n in self.secret.tags.get(DROPPED, "").split() if n.isdigit())

    @property
    def current(self) -> VersionSeen | None:
        """What direct readers get."""
        return next((v for v in self.versions if "CURRENT" in v.stages), None)

    @property
    def pointed(self) -> int | None:
        """Which number direct readers get, if it is the secret that number stands for."""
        now = self.current
        found = now and _address(now.name)
        return int(found[0]) if found and found[0].isdigit() and self._given(now) else None

    @property
    def numbers(self) -> list[int]:
        """What `kept` finds."""
        named = {_address(version.name)[0] for version in self.versions}
        return sorted(int(what) for what in named if what.isdigit() and self.kept(int(what)))

    @property
    def placeholders(self) -> list[VersionSeen]:
        """Those that hold nothing and can be pointed at, the one that is current first."""
        found = [v for v in self._all("nothing") if self._alive(v)]
        return sorted(found, key=lambda version: "CURRENT" not in version.stages)

    @property
    def shows_nothing(self) -> bool:
        return self.current is not None and self.current in self.placeholders

    @property
    def lingers(self) -> bool:
        """Is a dropped one still PREVIOUS, with nothing to come that would push it on?"""
        previous = {v.number for v in self.versions if "PREVIOUS" in v.stages and not v.going}
        return self.shows_nothing and bool(previous & self.dropped)

    @property
    def spent(self) -> list[VersionSeen]:
        """What is given to nobody any more and can be destroyed now."""
        ripe = [v for v in self.versions if "DEPRECATED" in v.stages and not v.going]
        free = max(0, GOING_LIMIT - sum(version.going for version in self.versions))
        unneeded = [v for v in ripe if _address(v.name)[0].isdigit() and not self._given(v)]
        return unneeded[:free]

    @property
    def active(self) -> int:
        return sum(not version.going for version in self.versions)

    @property
    def full(self) -> bool:
        return self.active >= ACTIVE_LIMIT

    def numbered(self, number: int) -> VersionSeen:
        """By the vault's own number."""
        return next(version for version in self.versions if version.number == number)

    def is_active(self, number: int) -> bool:
        return any(v.number == number and not v.going for v in self.versions)

    def kept(self, number: int) -> VersionSeen | None:
        """The version that holds the secret of that number."""
        newest = max(self._all(str(number)), key=_suffix, default=None)
        return newest if newest is not None and self._alive(newest) else None

    def doomed(self, number: int) -> list[VersionSeen]:
        """All that must be forgotten when that number is: what was replaced must not come back."""
        return [version for version in self._all(str(number)) if self._alive(version)]

    def dropping(self, versions: Iterable[VersionSeen]) -> dict[str, str]:
        """The tags with which these are dropped as well. Those of others stay."""
        newest = max((version.number for version in self.versions), default=0)
        there = {version.number for version in self.versions if not version.going}
        wanted = self.dropped | {version.number for version in versions}
        # What the list does not show yet is remembered; what it shows no more is destroyed.
        kept = sorted(number for number in wanted if number in there or number > newest)
        return {**self.secret.tags, DROPPED: " ".join(map(str, kept))}

    def free_name(self, what: int | str, taken: Iterable[str] = ()) -> str:
        """A name for the next version of that number, or for the next that holds nothing."""
        names = {version.name for version in self._all(str(what))} | set(taken)
        last = max((_address(name)[1] for name in names), default=0)
        return f"keyman-{what}" if last == 0 else f"keyman-{what}.{last + 1}"

    def _all(self, what: str) -> list[VersionSeen]:
        return [version for version in self.versions if _address(version.name)[0] == what]

    def _alive(self, version: VersionSeen) -> bool:
        return not version.going and version.number not in self.dropped

    def _given(self, version: VersionSeen | None) -> bool:
        return version is not None and version == self.kept(int(_address(version.name)[0]))


def _address(name: str) -> tuple[str, int]:
    """`("7", 2)` for keyman-7.2; the part in front is empty for what isn't ours."""
    match = _VERSION.fullmatch(name)
    return (match[1], int(match[2] or 1)) if match else ("", 0)


def _suffix(version: VersionSeen) -> int:
    return _address(version.name)[1]
