"""Who is asking, and which names they may look up.

On the unix socket the kernel says who it is: a uid. Over TCP a client's token does, of which only
the digest is known here. Whoever may not see a name is answered as if nobody had it. The rights of
all are one object that is replaced whole: whoever keeps an answer of it beside the rights
that it came from sees by one comparison whether the answer still holds.

Decides; knows no socket, no clock and no journal.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import ClassVar, Protocol

from keyman.errors import Error, NotAllowed

TOKEN = re.compile(rb"(?i:bearer) +(kmc_[A-Za-z0-9_-]{43})")
EVERY = "*"
INDEXED_BY = 8  # bytes of a digest: what is compared after that is compared in constant time

Headers = Sequence[tuple[bytes, bytes]]
Narrowed = Mapping[str, frozenset[int]]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody on this machine."""

    uid: int
    owner: bool  #: may do whatever the API offers; others may look
    narrowed: Narrowed = field(default_factory=dict, repr=False)  #: names that not everyone may see

    def sees(self, name: str) -> bool:
        uids = self.narrowed.get(name)
        return self.owner or uids is None or self.uid in uids

    @property
    def sees_all(self) -> bool:
        return self.owner or all(self.uid in uids for uids in self.narrowed.values())


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody in the network, by the token that they showed."""

    name: str
    digest: bytes = field(repr=False)
    grants: frozenset[str]
    owner: ClassVar[bool] = False

    def sees(self, name: str) -> bool:
        return name in self.grants or EVERY in self.grants

    @property
    def sees_all(self) -> bool:
        return EVERY in self.grants


Caller = User | Client


class Known(Protocol):
    """A client as it was recorded."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str:
        """SHA-256 of the token, in hex."""

    @property
    def grants(self) -> Collection[str]: ...


@dataclass(frozen=True, slots=True)
class _Rights:
    narrowed: Narrowed = field(default_factory=dict)
    clients: Mapping[bytes, Client] = field(default_factory=dict)  #: by their digests' beginnings


NOBODY = Client("", bytes(sha256().digest_size), frozenset())


class Doors:
    """`uids` may look up, `owners` may do anything; `admit` says which clients there are.

    Any thread may change the rights; `told` is called after each change, in that thread.
    """

    def __init__(self, uids: Collection[int], owners: Collection[int]) -> None:
        self.uids = frozenset(uids) | frozenset(owners)
        self.owners = frozenset(owners)
        self.rights = _Rights()
        self.told: Callable[[], None] = lambda: None
        self._changing = threading.Lock()

    # Who is it?

    def user(self, uid: int) -> User | None:
        """None: they may not ask at all."""
        if uid not in self.uids:
            return None
        return User(uid, uid in self.owners, self.rights.narrowed)

    def client(self, authorization: bytes) -> Client | None:
        """Whose token this is. Told apart by their digests, so that time tells nothing of them."""
        shown = TOKEN.fullmatch(authorization)
        if shown is None:
            return None
        digest = sha256(shown[1]).digest()
        found = self.rights.clients.get(digest[:INDEXED_BY], NOBODY)
        return found if hmac.compare_digest(digest, found.digest) else None

    def knows(self, client: Client) -> bool:
        """Whether this very token may still be used."""
        found = self.rights.clients.get(client.digest[:INDEXED_BY])
        return found is not None and found.digest == client.digest

    # Who may?

    def admit(self, clients: Iterable[Known]) -> None:
        """From now on these are the clients, and no others."""
        made = (
            Client(one.name, bytes.fromhex(one.digest), frozenset(one.grants)) for one in clients
        )
        known = {one.digest[:INDEXED_BY]: one for one in made}
        with self._changing:
            self.rights = replace(self.rights, clients=known)
        self.told()

    def narrow(self, rules: Mapping[str, Collection[int]]) -> None:
        """From now on, of the users who may look up, only these see the names listed."""
        narrowed = {name: frozenset(uids) for name, uids in rules.items()}
        if narrowed == self.rights.narrowed:
            return
        with self._changing:
            self.rights = replace(self.rights, narrowed=narrowed)
        self.told()

    @contextmanager
    def narrowing(self, rules: Mapping[str, Collection[int]]) -> Iterator[None]:
        """`narrow`, where the block takes up the configuration that says so.

        At no moment does anybody see more than the old and the new configuration both allow.
        """
        before = self.rights.narrowed
        new = {name: frozenset(uids) for name, uids in rules.items()}
        both = {name: before[name] & new[name] for name in before.keys() & new.keys()}
        self.narrow({**before, **new, **both})
        try:
            yield
        except BaseException:
            self.narrow(before)
            raise
        self.narrow(new)


# What a request of the network must be, whoever sends it.

PASSED_ON = (b"forwarded", b"via")  # and whatever begins with x-forwarded


def misled(headers: Headers, hosts: Collection[bytes]) -> Error | None:
    """Why this request is not one that its sender meant for us; None if nothing speaks against it.

    A browser sends what a page in it wants, a proxy what strangers want: names that were made to
    lead here (DNS rebinding), pages of elsewhere, and requests that were passed on are refused.
    """
    named = []
    for name, value in headers:
        if name == b"host":
            named.append(value.lower())
        elif name == b"origin" or (name == b"sec-fetch-site" and value != b"none"):
            return NotAllowed("keyman does not speak to web pages", hint=_HINT)
        elif name in PASSED_ON or name.startswith(b"x-forwarded"):
            return NotAllowed("keyman does not speak through proxies", hint=_HINT)
    if len(named) != 1 or named[0] not in hosts:
        return NotAllowed("keyman is not called by that name here", hint="see agent.hosts")
    return None


_HINT = "ask the agent directly, from the program that needs the secret"


def hosts(names: Iterable[str], address: str, port: int, *, usual: int) -> frozenset[bytes]:
    """How the Host header may name us: the address, localhost, and the configured names.

    `usual` is the port that goes without saying (80, or 443 with TLS). A name that was configured
    with a port of its own is right with that one only: somebody maps it to ours.
    """
    found = set()
    for name in (f"[{address}]" if ":" in address else address, "localhost", *names):
        bare, colon, own = name.rpartition(":") if _OWN_PORT.search(name) else (name, "", "")
        theirs = int(own) if colon else port
        found.add(f"{bare}:{theirs}")
        if theirs == usual:
            found.add(bare)
    return frozenset(name.lower().encode() for name in found)


_OWN_PORT = re.compile(r":[0-9]+$")
