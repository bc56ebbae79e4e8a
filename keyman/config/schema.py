"""The shape of the configuration file: which keys there are, their types and their defaults.

These models exist between reading and `settings.py`; nobody else sees them. Scalars arrive as
text (or None for null), so a type alone decides how one is read. A key that a later version
brings is known here, and anything but null in it is refused.
"""

from __future__ import annotations

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
from keyman.core.model import Secret
from keyman.core.policy import RetireBy, Window

NOT_YET = "not in this version"


def _scalar(convert: Any) -> BeforeValidator:
    """Run `convert` on text; lists and mappings are refused before it sees them."""

    def read(raw: object) -> Any:
        if not isinstance(raw, str):
            raise ValueError("must be a single value, not null, a list or a mapping")  # noqa: TRY004
        return convert(raw)

    return BeforeValidator(read)


def _later(raw: object) -> None:
    if raw not in (None, [], {}):
        raise ValueError(NOT_YET)


def _known(later: tuple[str, ...]) -> BeforeValidator:
    def read(raw: object) -> object:
        if raw in later:
            raise ValueError(NOT_YET)
        return raw

    return BeforeValidator(read)


def _distinct(listed: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(listed)) != len(listed):
        raise ValueError("must not name the same thing twice")
    return listed


def _some(listed: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not by Field(min_length): that counts only what is valid, and so complains a second time.
    if not 1 <= len(listed) <= 16:
        raise ValueError("must list 1 to 16")
    return _distinct(listed)


Text = Annotated[str, _scalar(values.text)]
SecretText = Annotated[Secret, _scalar(values.secret)]
Duration = Annotated[timedelta, _scalar(values.duration)]
SomeTime = Annotated[timedelta, _scalar(values.some_time)]
Hours = Annotated[Window, _scalar(values.window)]
Url = Annotated[str, _scalar(values.url)]
Slot = Annotated[str, _scalar(values.slot)]
Variable = Annotated[str, _scalar(values.variable)]
Later = Annotated[None, BeforeValidator(_later)]
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


Backend = Literal["secret-service", "macos", "windows", "kwallet"]


class StoreKeySection(Section):
    kind: Literal["file", "keyring", "passphrase", "systemd-credential", "env"] = "file"
    path: Text = "{home}/store.key"
    passphrase: SecretText | None = None
    name: Annotated[str, _scalar(values.credential)] | None = None
    variable: Variable | None = None
    backend: Backend | None = None
    service: Text | None = None


class StoreSection(Section):
    kind: Annotated[
        Literal["sealed-file", "keyring", "memory"],
        _known(("vault", "oci-vault", "aws-secrets-manager")),
    ] = "sealed-file"
    path: Text = "{home}/secrets.db"
    backend: Backend | None = None
    service: Text | None = None
    key: StoreKeySection = StoreKeySection()


class AgentSection(Section):
    socket: Text = "{home}/agent.sock"
    allow_uids: Annotated[tuple[Uid, ...], AfterValidator(_distinct)] = ()
    listen: Later = None
    tls: Later = None
    metadata_listen: Later = None


class NetworkSection(Section):
    proxy: Annotated[str, _scalar(values.proxy)] | None = None
    ca_bundle: Text | None = None


class LogSection(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class PolicySection(Section):
    """Only the keys that are written count; the rest comes from the next wider policy."""

    lifetime: SomeTime = timedelta(days=90)
    rotate_before: SomeTime = timedelta(days=60)
    overlap: Duration = timedelta(hours=24)
    max_overlap: Duration | None = None
    retire: RetireBy = RetireBy.DEACTIVATE
    window: Hours | None = None


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


class AuthSection(Section):
    kind: Literal[
        "config-file",
        "session-token",
        "instance-principal",
        "resource-principal",
        "oke-workload",
    ] = "config-file"
    file: Text = "~/.oci/config"
    profile: Annotated[str, _scalar(values.profile)] = "DEFAULT"
    token: Text | None = None


class VerifySection(Section):
    model: Annotated[str, _scalar(values.model)] = "meta.llama-3.3-70b-instruct"
    successes: Annotated[int, Field(ge=1, le=100)] = 2
    every: Duration = timedelta(seconds=1)
    within: SomeTime = timedelta(seconds=120)


class OciGenaiSection(Section):
    provider: Literal["oci-genai"]
    region: Annotated[str, _scalar(values.region)] | None = None
    compartment_id: Annotated[str, _scalar(values.compartment_id)] | None = None
    api_key_id: Annotated[str, _scalar(values.api_key_id)] | None = None
    slots: Annotated[tuple[Slot, ...], AfterValidator(_some)] = ("key-one", "key-two")
    auth: AuthSection = AuthSection()
    endpoint: Url | None = None
    base_url: Url | None = None
    verify: VerifySection = VerifySection()
    late_after: Duration = timedelta(minutes=6)
    policy: PolicySection = PolicySection()
    env: EnvSection = EnvSection()


class FileShape(Section):
    """The whole file. Each credential is read by the section of its provider."""

    database: Text = "sqlite:///{home}/keyman.db"
    store: StoreSection = StoreSection()
    agent: AgentSection = AgentSection()
    network: NetworkSection = NetworkSection()
    log: LogSection = LogSection()
    defaults: DefaultsSection = DefaultsSection()
    notify: Annotated[Any, BeforeValidator(_later)] = None
    credentials: Any = None


PROVIDERS: dict[str, type[OciGenaiSection]] = {"oci-genai": OciGenaiSection}
LATER_PROVIDERS = ("google", "openai", "static")
