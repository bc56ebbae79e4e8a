"""An OCI of our own for provider tests: the sandbox over HTTP, the real SDK before it.

`World` builds providers as the application does and says what only the cloud knows. Nothing waits:
the sandbox's durations are all zero unless a test says otherwise.
"""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from keyman.clock import SystemClock, new_id
from keyman.core.model import KeySeen, Secret, Spec, Stage, Version
from keyman.providers import open_provider
from keyman.providers.oci_genai import OciGenai
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.oci_genai import COMPARTMENT, TENANCY, USER, OciGenaiSandbox
from keyman.sandbox.profiles import Profile, write_profile

SLOTS = ("key-one", "key-two")
CANARY = "sk-canary"
LIFETIME = timedelta(days=60)


@dataclass(frozen=True)
class Auth:
    kind: str = "config-file"
    file: Path | str | None = None
    profile: str | None = "DEFAULT"
    token: Path | None = None


@dataclass(frozen=True)
class Network:
    proxy: str | None = None
    ca_bundle: str | None = None


@dataclass(frozen=True)
class Verify:
    model: str | None = "meta.llama-3.3-70b-instruct"


@dataclass(frozen=True)
class Options:
    auth: Auth
    endpoint: str | None
    base_url: str
    region: str | None = "us-chicago-1"
    compartment_id: str | None = COMPARTMENT
    verify: Verify = field(default_factory=Verify)


@dataclass
class World:
    sandbox: OciGenaiSandbox
    options: Options
    spec: Spec
    clock: SystemClock = field(default_factory=SystemClock)

    @cached_property
    def usual(self) -> OciGenai:
        """The provider that most tests want."""
        return self.provider_with()

    def provider_with(self, **changes: Any) -> OciGenai:
        """Another one; `changes` are fields of its options, `network`, or the spec's slots."""
        network = changes.pop("network", Network())
        slots = changes.pop("slots", self.spec.slots)
        options = replace(self.options, **changes)
        spec = replace(self.spec, slots=slots)
        made = open_provider("oci-genai", spec, options, network=network, clock=self.clock)
        assert isinstance(made, OciGenai)
        return made

    def wish(self, slot: str = "key-one", handle: str | None = None) -> Version:
        now = self.clock.now()
        return Version(1, Stage.REQUESTED, new_id(), now, now + LIFETIME, slot=slot, handle=handle)

    @property
    def standby_ends(self) -> datetime:
        return self.clock.now() + LIFETIME + timedelta(days=20)

    def made_by_hand(
        self, slots: tuple[str, ...] = SLOTS, tags: dict[str, str] | None = None
    ) -> tuple[str, dict[str, Secret]]:
        """A key that a person made in the console, and its secrets by slot."""
        handle, shown = self.sandbox.console.create("by_hand", COMPARTMENT, slots, tags=tags)
        return handle, {slot: Secret(text) for slot, text in shown.items()}

    def key(self, handle: str) -> dict[str, Any]:
        keys: list[dict[str, Any]] = self.sandbox.truth()["keys"]
        return next(key for key in keys if key["id"] == handle)

    def slot(self, handle: str, name: str) -> dict[str, Any]:
        slots: list[dict[str, Any]] = self.key(handle)["slots"]
        return next(slot for slot in slots if slot["keyName"] == name)

    def holds(self, handle: str, name: str, secret: Secret) -> bool:
        """Is this the very secret that the cloud has in the slot?"""
        digest = hashlib.sha256(secret.reveal().encode()).hexdigest()
        return bool(self.slot(handle, name)["sha256"] == digest)

    def seen(self, handle: str) -> KeySeen:
        observed = self.usual.observe((handle,), self.clock.now())
        return observed.keys[0]

    @property
    def changes(self) -> list[str]:
        """Operations other than reads that reached the cloud, in order."""
        reads = {"GetApiKey", "ListApiKeys"}
        return [c.operation for c in self.sandbox.calls() if c.operation not in reads]


@cache
def signing_profile() -> Profile:
    """A profile with its key, made once for all worlds: making one takes longer than most tests."""
    folder = tempfile.mkdtemp(prefix="keyman-test-")
    atexit.register(shutil.rmtree, folder)
    return write_profile(Path(folder), "DEFAULT", TENANCY, USER, "us-chicago-1")


@contextmanager
def world(behaviour: Behaviour | None = None, **sandbox: Any) -> Iterator[World]:
    cloud = OciGenaiSandbox(seed=1, behaviour=behaviour, secret_prefix=CANARY, **sandbox)
    profile = signing_profile()
    cloud.register_user(TENANCY, USER, profile.public_key)
    with cloud.serve() as url:
        options = Options(Auth(file=profile.config), url, cloud.base_url)
        spec = Spec("genai-1_a", "oci-genai", slots=SLOTS, installation="here")
        yield World(cloud, options, spec)


def instant(seed: int) -> Behaviour:
    """A cloud that answers the open questions by the seed, all but how long things take."""
    return replace(Behaviour.from_seed(seed, pace=0.0), stale_reads=0)
