"""A Google of our own for provider tests: the sandbox over HTTP, the real google-auth before it.

`World` builds providers as the application does. Each kind of source has its file, written by the
sandbox; where a request goes is what the configuration says, unless a test says otherwise.
"""

from __future__ import annotations

import inspect
import json
import shutil
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2

from keyman import errors
from keyman.clock import SystemClock, new_id
from keyman.core.model import Secret, Spec, Stage, Version
from keyman.providers import open_provider
from keyman.providers.google import Google
from keyman.sandbox.faults import Fault
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_files import PERSON, SERVICE, TARGET

CANARY = "canary"
HOUR = timedelta(hours=1)
VERTEX = "https://us-central1-aiplatform.googleapis.com/v1"
KINDS = (
    "service-account",
    "authorized-user",
    "external-account",
    "impersonate",
    "metadata",
    "adc",
)
# The token requests that one token of each kind takes, in order.
HOPS = {
    "service-account": ("AssertionToken",),
    "authorized-user": ("RefreshToken",),
    "external-account": ("ExchangeToken", "GenerateAccessToken"),
    "impersonate": ("AssertionToken", "GenerateAccessToken"),
    "metadata": ("MetadataToken",),
    "adc": ("AssertionToken",),
}


@dataclass(frozen=True)
class Source:
    kind: str
    file: Path | None = None
    target: str | None = None
    lifetime: timedelta = HOUR
    delegates: tuple[str, ...] = ()
    origin: Source | None = None


@dataclass(frozen=True)
class Endpoints:
    token: str | None = None
    iam: str | None = None
    sts: str | None = None
    metadata: str | None = None


@dataclass(frozen=True)
class Network:
    proxy: str | None = None
    ca_bundle: Path | None = None


@dataclass(frozen=True)
class Options:
    source: Source
    endpoints: Endpoints
    base_url: str
    scopes: tuple[str, ...] = (CLOUD,)
    quota_project: str | None = None
    project: str | None = "sandbox-project"


class Files(dict[str, Path]):
    """A file of each kind, written when a test first speaks of it."""

    KINDS = ("service-account", "authorized-user", "external-account", "impersonated")

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def __missing__(self, kind: str) -> Path:
        write, path = self._world.sandbox.files, self._world.folder / f"{kind}.json"
        match kind:
            case "service-account":
                write.service_account(path)
            case "authorized-user":
                write.authorized_user(path)
            case "external-account":
                write.external_account(path, target=TARGET)
            case "impersonated":
                write.impersonated(path)
            case _:
                raise KeyError(kind)
        self._world.secret_texts += _secrets_in(path)
        self[kind] = path
        return path


@dataclass
class World:
    """The sandbox, and a folder with files of credentials in it."""

    sandbox: GoogleSandbox
    folder: Path
    clock: SystemClock = field(default_factory=SystemClock)
    secret_texts: list[str] = field(
        default_factory=lambda: [CANARY + "-", "ya29.", "eyJ", "Bearer "]
    )

    @cached_property
    def files(self) -> Files:
        return Files(self)

    @property
    def endpoints(self) -> Endpoints:
        """Everything is asked of the sandbox."""
        url = self.sandbox.url
        return Endpoints(token=f"{url}/token", iam=url, sts=url, metadata=url)

    def source(self, kind: str) -> Source:
        """A source that works. For `adc`, GOOGLE_APPLICATION_CREDENTIALS must be set: `adc_env`."""
        if kind == "impersonate":
            self.sandbox.person.let_impersonate(SERVICE, TARGET)
            return Source(kind, target=TARGET, origin=self.source("service-account"))
        return Source(kind, self.files[kind] if kind in Files.KINDS else None)

    @property
    def adc_env(self) -> dict[str, str]:
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(self.files["service-account"])}

    def provider(self, source: str | Source = "service-account", **changes: Any) -> Google:
        """As the application opens it; `changes` are fields of its options, `network`, `clock`."""
        source = self.source(source) if isinstance(source, str) else source
        network, clock = changes.pop("network", Network()), changes.pop("clock", self.clock)
        usual = Options(source, self.endpoints, self.sandbox.base_url)
        spec = Spec("vertex", "google", observes=False, claims=False, probes=False, revokes=False)
        options = replace(usual, **changes)
        made = open_provider("google", spec, options, network=network, clock=clock)
        assert isinstance(made, Google)
        return made

    def wish(self, attempt: str | None = None) -> Version:
        now = self.clock.now()
        return Version(1, Stage.REQUESTED, attempt or new_id(), now, now + HOUR)

    def break_next(self, effect: Any, operation: str = "*", **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, **{"count": 1, **more}))

    def rewrite(self, name: str, **changes: Any) -> Path:
        """Change fields of a file; None removes one."""
        path = self.files[name]
        info = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: v for key, v in info.items() if v is not None}))
        return path

    def wait(self, seconds: float) -> None:
        """Let time pass at Google, not here."""
        self.sandbox.time_shift += timedelta(seconds=seconds)

    def asked(self, *operations: str) -> list[str]:
        """What was asked of Google, in order; with arguments, of these operations only."""
        calls = [call.operation for call in self.sandbox.calls()]
        return [call for call in calls if not operations or call in operations]

    def accepts(self, secret: Secret, headers: Mapping[str, str] | None = None) -> bool:
        """Does Vertex take the token?"""
        body = {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "?"}]}
        sent = {"authorization": f"Bearer {secret.reveal()}", **(headers or {})}
        url = f"{self.sandbox.url}{urlsplit(self.sandbox.base_url).path}/chat/completions"
        # It speaks plain HTTP; reading what this machine trusts would take longer than the call.
        post = partial(httpx2.post, trust_env=False, verify=False)
        status = post(url, json=body, headers=sent).status_code
        assert status in (200, 401, 403)
        return bool(status == 200)

    def check_fit_to_travel(self, error: errors.Error) -> None:
        """Ours through and through: a sentence, a next move, nothing foreign or secret behind."""
        assert isinstance(error, errors.Rejected | errors.RetryLater)
        assert error.__cause__ is None
        assert error.__context__ is None
        assert error.hint != errors.Error.default_hint
        texts = [str(error), repr(error), error.hint, str(vars(error)), str(error.as_json())]
        texts += traceback.format_exception(error)
        texts += [repr(value) for value in _locals(error.__traceback__)]
        for secret in self.secret_texts:
            assert not [text for text in texts if secret in text]


def _secrets_in(path: Path) -> list[str]:
    """Texts of a file that may be in no error, log or representation, in recognisable pieces."""
    info = json.loads(path.read_text())
    fields = ("private_key", "refresh_token", "client_secret")
    inner = info.get("source_credentials", {})
    found = [
        line for each in (info, inner) for key in fields for line in each.get(key, "").split("\n")
    ]
    if subject := info.get("credential_source", {}).get("file"):
        found += Path(subject).read_text().split(".")
    return [text for text in found if text and "PRIVATE KEY" not in text]


def _locals(tb: TracebackType | None) -> list[object]:
    """Of keyman's frames: what a crash reporter would print."""
    frames = inspect.getinnerframes(tb) if tb else []
    ours = [each.frame for each in frames if "/keyman/" in each.filename]
    return [value for frame in ours for value in frame.f_locals.values()]


@contextmanager
def world(behaviour: GoogleBehaviour | None = None, **sandbox: Any) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="keyman-google-"))
    cloud = GoogleSandbox(**{"seed": 1, "behaviour": behaviour, "mark": CANARY, **sandbox})
    try:
        with cloud.serve():
            yield World(cloud, folder)
    finally:
        shutil.rmtree(folder)


__all__ = ["HOPS", "KINDS", "PERSON", "SERVICE", "TARGET", "World", "world"]
