"""The shape of the configuration file: which keys there are, their types and their defaults.

These models exist between reading and `settings.py`; nobody else sees them. Scalars arrive as
text (or None for null), so a type alone decides how one is read. A key that a later version
brings is known here, and anything but null in it is refused. What the credentials of each
provider add lies in `kinds/`, what each kind of store needs in `stores/`, one file each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from keyman.config import values
from keyman.config.notify_settings import USUAL, Told
from keyman.config.places import Anchor
from keyman.config.settings import Options
from keyman.config.store_settings import DEFAULT, StorePlace
from keyman.core.model import Secret
from keyman.core.policy import Policy, RetireBy, Verification, Window

NOT_YET = "not in this version"


def scalar(convert: Any) -> BeforeValidator:
    """Run `convert` on text; lists and mappings are refused before it sees them."""

    def read(raw: object) -> Any:
        if not isinstance(raw, str):
            raise ValueError("must be a single value, not null, a list or a mapping")  # noqa: TRY004
        return convert(raw)

    return BeforeValidator(read)


def _later(raw: object) -> None:
    if raw not in (None, [], {}):
        raise ValueError(NOT_YET)


def refused(why: str) -> BeforeValidator:
    """For a key that other kinds have, and that would mean nothing here."""

    def read(raw: object) -> None:
        if raw is not None:
            raise ValueError(why)

    return BeforeValidator(read)


def distinct(listed: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(listed)) != len(listed):
        raise ValueError("must not name the same thing twice")
    return listed


def some(listed: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not by Field(min_length): that counts only what is valid, and so complains a second time.
    if not 1 <= len(listed) <= 16:
        raise ValueError("must list 1 to 16")
    return distinct(listed)


Text = Annotated[str, scalar(values.text)]
SecretText = Annotated[Secret, scalar(values.secret)]
Duration = Annotated[timedelta, scalar(values.duration)]
SomeTime = Annotated[timedelta, scalar(values.some_time)]
Hours = Annotated[Window, scalar(values.window)]
Url = Annotated[str, scalar(values.url)]
Variable = Annotated[str, scalar(values.variable)]
Later = Annotated[None, BeforeValidator(_later)]
StoreName = Annotated[str, scalar(values.store)]
Uid = Annotated[int, Field(ge=0, lt=2**32 - 1)]


class Section(BaseModel):
    """A mapping of the file. One whose lines are all commented out reads as null: as empty."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, raw: Any) -> Any:
        return {} if raw is None else raw


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Keys of one credential that do not go together."""

    about: tuple[str, ...]  #: not said if one of these could not be read
    text: str
    at: tuple[str, ...] = ()


class StoreSection(Section):
    """A store of any kind. The keys that its kind needs are its own."""

    kind: str

    def place(self, anchor: Anchor) -> StorePlace:
        raise NotImplementedError

    def contradictions(self) -> Iterator[Contradiction]:
        yield from ()


class TlsSection(Section):
    cert: Text | None = None
    key: Text | None = None


Uids = Annotated[tuple[Uid, ...], AfterValidator(distinct)]
Hosts = Annotated[tuple[Annotated[str, scalar(values.host)], ...], AfterValidator(distinct)]


class AgentSection(Section):
    socket: Text = "{home}/agent.sock"
    allow_uids: Uids = ()
    listen: Annotated[tuple[str, int], scalar(values.listen)] | None = None
    hosts: Hosts = ()
    tls: TlsSection = TlsSection()
    metadata_listen: Later = None


class NetworkSection(Section):
    proxy: Annotated[str, scalar(values.proxy)] | None = None
    ca_bundle: Text | None = None


class LogSection(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class NotifySection(Section):
    """One that is told. Its address is a secret."""

    url: Annotated[Secret, scalar(values.notify_url)]
    name: Annotated[str, scalar(values.target)] | None = None
    events: Annotated[tuple[Told, ...], AfterValidator(distinct)] = USUAL
    credentials: Annotated[
        tuple[Annotated[str, scalar(values.name)], ...], AfterValidator(distinct)
    ] = ()


def _none_is_empty(raw: Any) -> Any:
    return () if raw is None else raw


Notified = Annotated[tuple[NotifySection, ...], BeforeValidator(_none_is_empty)]


class PolicySection(Section):
    """Only the keys that are written count; the rest comes from the next wider policy."""

    lifetime: SomeTime = timedelta(days=90)
    rotate_before: SomeTime = timedelta(days=60)
    overlap: Duration = timedelta(hours=24)
    max_overlap: Duration | None = None
    wait_for_clients: Annotated[bool, scalar(values.switch)] = False
    retire: RetireBy = RetireBy.DEACTIVATE
    window: Hours | None = None

    def over(self, usual: Policy) -> Policy:
        return replace(usual, **{key: getattr(self, key) for key in self.model_fields_set})


class RetrySection(Section):
    first: SomeTime = timedelta(seconds=1)
    factor: Annotated[float, Field(ge=1, le=100, allow_inf_nan=False)] = 2.0
    max: SomeTime = timedelta(hours=1)


class DefaultsSection(Section):
    policy: PolicySection = PolicySection()
    max_client_staleness: Duration = timedelta(seconds=60)
    observe_every: SomeTime = timedelta(minutes=15)
    retry: RetrySection = RetrySection()


class EnvSection(Section):
    key: Variable = "OPENAI_API_KEY"
    base_url: Variable = "OPENAI_BASE_URL"


class VerifySection(Section):
    """How a new secret must prove itself."""

    successes: Annotated[int, Field(ge=1, le=100)] = 2
    every: Duration = timedelta(seconds=1)
    within: SomeTime = timedelta(seconds=120)

    @property
    def proof(self) -> Verification:
        return Verification(self.successes, self.every, self.within)

    def contradictions(self) -> Iterator[Contradiction]:
        if self.every * (self.successes - 1) >= self.within:
            text = "so many successes, so far apart, do not fit in `within`"
            yield Contradiction(("verify",), text, at=("verify",))


class CredentialSection(Section):
    """A credential of any kind. The keys that its provider needs are its kind's own."""

    provider: str
    env: EnvSection = EnvSection()
    allow_uids: Uids | None = None
    store: StoreName = DEFAULT
    mirrors: Annotated[tuple[StoreName, ...], AfterValidator(distinct)] = ()

    def over(self, usual: Policy) -> Policy:
        """The credential's policy, where `usual` is what `defaults` say."""
        raise NotImplementedError

    def policy_problems(self, policy: Policy) -> list[str]:
        """Why that policy can't be held."""
        return policy.problems()

    def options(self, anchor: Anchor) -> Options:
        raise NotImplementedError

    def contradictions(self) -> Iterator[Contradiction]:
        if self.env.key == self.env.base_url:
            text = "key and base_url must be different variables"
            yield Contradiction(("env",), text, at=("env",))


class FileShape(Section):
    """The whole file. Each store and credential is read by the section of its kind."""

    database: Text = "sqlite:///{home}/keyman.db"
    store: Any = None
    stores: Any = None
    agent: AgentSection = AgentSection()
    network: NetworkSection = NetworkSection()
    log: LogSection = LogSection()
    defaults: DefaultsSection = DefaultsSection()
    notify: Notified = ()
    credentials: Any = None
