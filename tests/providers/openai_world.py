"""An OpenAI of our own for provider tests: the sandbox over HTTP, its clock in the test's hand.

`World` builds providers as the application does, and says what only OpenAI knows. Nothing waits:
time passes when a test says so, for the sandbox and for the provider alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from keyman import errors
from keyman.clock import new_id
from keyman.core.model import KeySeen, Secret, Spec, Stage, Version
from keyman.core.policy import Policy
from keyman.providers import open_provider
from keyman.providers.openai import Openai
from keyman.sandbox.keys import sha256
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour

CANARY = "canary"
LIFETIME = timedelta(days=30)
LATE = timedelta(minutes=6)
SPEC = Spec(
    "openai-main_1",
    "openai",
    policy=Policy(lifetime=LIFETIME, rotate_before=timedelta(days=10)),
    installation="0123456789abcdef0123456789abcdef",
    claims=False,
    late=LATE,
)


class Dial:
    """A clock that stands still until a test turns it."""

    def __init__(self) -> None:
        self.at, self.running = datetime.now(UTC), 1000.0

    def now(self) -> datetime:
        return self.at

    def boot(self) -> float:
        return self.running

    def monotonic(self) -> float:
        return self.running

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.running += seconds


@dataclass(frozen=True)
class Network:
    proxy: str | None = None
    ca_bundle: str | None = None


@dataclass(frozen=True)
class Options:
    admin_key: Secret | None
    project_id: str | None
    service_account_id: str | None
    base_url: str
    admin_credential: str | None = None
    key_type: str = "service-account"


@dataclass
class World:
    sandbox: OpenAISandbox
    options: Options
    clock: Dial
    spec: Spec = SPEC
    held: dict[str, Secret] = field(default_factory=dict)  #: current secrets of credentials
    numbers: int = 0
    usual: Openai = field(init=False)  #: the provider that most tests want

    def __post_init__(self) -> None:
        # Before any wish, since an older wish is one of a process that is gone.
        self.usual = self.provider_with()

    @property
    def account(self) -> str:
        return self.options.service_account_id or ""

    def provider_with(self, **changes: Any) -> Openai:
        """Another one; `changes` are fields of its options, `network`, or a whole `spec`."""
        network = changes.pop("network", Network())
        spec = changes.pop("spec", self.spec)
        options = replace(self.options, **changes)
        made = open_provider(
            "openai", spec, options, network=network, clock=self.clock, secret_of=self.secret_of
        )
        assert isinstance(made, Openai)
        return made

    def secret_of(self, name: str) -> Secret:
        if name not in self.held:
            raise errors.NoUsableSecret(f"{name} has no version yet", hint="adopt one")
        return self.held[name]

    def wish(self, number: int | None = None) -> Version:
        """One that this process just wrote down."""
        self.numbers = number or self.numbers + 1
        self.clock.pass_by(0.25)
        now = self.clock.now()
        ends = (now + LIFETIME).replace(microsecond=0)
        return Version(self.numbers, Stage.REQUESTED, new_id(), now, ends)

    def by_hand(self, name: str = "by hand", seconds: int | None = None) -> tuple[str, Secret]:
        """A key of the account that a person made at the dashboard."""
        made = self.sandbox.dashboard.create_key(self.account, name, seconds)
        return made["id"], Secret(made["value"])

    def alive(self, *, admin: bool = False) -> list[str]:
        """Ids of the keys that exist, the oldest first."""
        there = [key for key in self.truth() if key["admin"] is admin]
        return [key["id"] for key in there if not key["deleted"]]

    def truth(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self.sandbox.truth()["keys"]
        return keys

    def holds(self, handle: str, secret: Secret) -> bool:
        """Is this the very secret of that key, and is the key alive?"""
        key = next(key for key in self.truth() if key["id"] == handle)
        return key["sha256"] == sha256(secret.reveal()) and not key["deleted"]

    def seen(self, handle: str) -> KeySeen:
        return self.usual.observe((handle,), self.clock.now()).keys[0]

    def late(self) -> None:
        """So much time that no call of before can still be carried out."""
        self.clock.pass_by(LATE.total_seconds())

    @property
    def spoilt(self) -> int:
        """How many calls met a fault."""
        return sum(1 for call in self.sandbox.calls() if call.fault)

    @property
    def changes(self) -> list[str]:
        """Operations other than reads that a provider asked for, in order."""
        reads = ("List", "Get")
        sent = [c for c in self.sandbox.calls() if c.actor != "dashboard"]
        return [c.operation for c in sent if not c.operation.startswith(reads)]


@contextmanager
def world(behaviour: OpenAIBehaviour | None = None, **sandbox: Any) -> Iterator[World]:
    clock = Dial()
    there = OpenAISandbox(seed=1, behaviour=behaviour, now=clock.now, mark=CANARY, **sandbox)
    with there.serve():
        account = there.dashboard.create_account("apps")["id"]
        options = Options(Secret(there.admin_key), there.project, account, there.base_url)
        yield World(there, options, clock)


def until_done(call: Callable[[], Any], clock: Dial, tries: int = 12) -> Any:
    """What the rotator does with RetryLater and Unknown: rest as long as it was told, or a bit."""
    for _ in range(tries - 1):
        try:
            return call()
        except errors.RetryLater as error:
            clock.pass_by(error.retry_after or 1.0)
        except errors.Unknown:
            clock.pass_by(1.0)
    return call()
