"""How many are in from each address, and how often each has shown a wrong token.

Both are counted by address, so that one peer's crowd or guessing is nobody else's trouble, and
no table grows without end. Knows no socket; `now` is in seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from ipaddress import ip_address


def peer_of(host: str) -> str:
    """Who counts as one peer: an IPv4 address, or an IPv6 network of the size that sites get."""
    address = ip_address(host.partition("%")[0])
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else address.exploded[:19]


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections there may be at once."""

    in_all: int
    of_a_peer: int
    strangers: int  #: of a peer: those that have not shown a token yet


@dataclass(eq=False, slots=True)
class Visit:
    """One connection, from before its first byte to its end. A stranger until it is `known`."""

    peer: str
    _crowd: Crowd
    _stranger: bool = True
    _here: bool = True

    def known(self) -> None:
        if self._stranger:
            self._stranger = False
            _one_less(self._crowd.strangers, self.peer)

    def leave(self) -> None:
        """Harmless if it left before."""
        self.known()
        if self._here:
            self._here = False
            self._crowd.count -= 1
            _one_less(self._crowd.peers, self.peer)


@dataclass(eq=False, slots=True)
class Crowd:
    room: Room
    count: int = 0
    peers: Counter[str] = field(default_factory=Counter)
    strangers: Counter[str] = field(default_factory=Counter)

    def enter(self, peer: str) -> Visit | None:
        """None: there is no room for another connection of this peer."""
        room = self.room
        if self.count >= room.in_all or self.peers[peer] >= room.of_a_peer:
            return None
        if self.strangers[peer] >= room.strangers:
            return None
        self.count += 1
        self.peers[peer] += 1
        self.strangers[peer] += 1
        return Visit(peer, self)


def _one_less(counted: Counter[str], peer: str) -> None:
    counted[peer] -= 1
    if not counted[peer]:
        del counted[peer]  # whoever was here once is not remembered


@dataclass(eq=False, slots=True)
class Guesses:
    """Wrong tokens, by the peer that showed them. Right ones are never held up by them: they are
    too long to be guessed, and one bad neighbour must not lock an address out.
    """

    allowed: int = 10
    within: float = 60.0
    remembered: int = 4096
    _times: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wrong(self, peer: str, now: float) -> float:
        """Note one more; how many seconds this peer should wait, 0 if it was not too many yet."""
        times = self._times.setdefault(peer, deque(maxlen=self.allowed))
        self._times.move_to_end(peer)
        if len(self._times) > self.remembered:
            self._times.popitem(last=False)
        full = len(times) == self.allowed
        wait = max(0.0, times[0] + self.within - now) if full else 0.0
        times.append(now)
        return wait
