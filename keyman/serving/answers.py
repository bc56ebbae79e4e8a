"""How the agent's answers look, for `/api/openapi.json`: documentation, checked by the tests.

Nothing passes through these on its way out; views.py and snapshot.py make the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from keyman.core.health import Health
from keyman.core.model import OrderKind, OrderState, Stage
from keyman.errors import STATUSES

Time = str | None
TIME: Any = Field(description="RFC 3339 in UTC, or null", examples=["2026-11-21T09:00:00Z"])


class Answer(BaseModel):
    """Members may be added by a later version; none goes."""

    model_config = ConfigDict(extra="forbid")


class Secret(Answer):
    """What `keyman get --json` prints."""

    name: str
    value: str
    version: int
    slot: str | None
    stage: Stage
    expires_at: Time = TIME
    base_url: str | None
    provider: str
    principal: str | None
    quota_project: str | None


class Reported(Answer):
    name: str
    version: int


class Current(Answer):
    version: int
    slot: str | None
    expires_at: Time = TIME
    promoted_at: Time = TIME
    fingerprint: str | None
    issued_at: Time = TIME
    due_at: Time = Field(description="when its replacement begins, RFC 3339 in UTC, or null")


class Slot(Answer):
    name: str | None
    state: str | None = Field(description="as the provider calls it")
    stage: Stage | None
    version: int | None
    expires_at: Time = TIME
    last_used_at: Time = TIME
    issued_at: Time = TIME
    dead_at: Time = Field(description="since when it is known to be refused, RFC 3339, or null")


class NextStep(Answer):
    step: str
    at: Time = TIME
    reason: str


class Coming(NextStep):
    """The next step of one slot, or of one version where there are no slots."""

    slot: str | None
    version: int | None


class Alive(Answer):
    """A version that is wished for, being proven, current, or valid beside the current one."""

    version: int
    stage: Stage
    slot: str | None
    issued_at: Time = TIME
    promoted_at: Time = TIME
    replaced_at: Time = TIME
    expires_at: Time = TIME
    dead_at: Time = Field(description="since when it is known to be refused, RFC 3339, or null")


class Drift(Answer):
    """What the provider shows of a version that is not as keyman left it."""

    version: int
    slot: str | None
    what: str
    seen_at: Time = TIME


class Side(Answer):
    version: int | None
    slot: str | None


class Destroyed(Side):
    revoked_at: Time = TIME


class Receipt(Answer):
    """What an order has come to."""

    order: str
    name: str
    kind: OrderKind
    state: OrderState
    from_: Side = Field(alias="from")
    to: Side
    recorded_at: Time = TIME
    promoted_at: Time = TIME
    finished_at: Time = TIME
    until: Time = TIME
    revoked: list[Destroyed]
    alive_seconds: float | None
    error: str | None


class Clients(Answer):
    """Connected clients, by what each took last."""

    connected: int = Field(description="who took any version of it")
    behind: int = Field(description="who took an older one than the current")


class Mirror(Answer):
    """A store that follows the credential: a mirror, or its own with a current secret of its own.

    The version is the one that its readers get.
    """

    store: str
    state: Literal["ok", "behind", "failing"]
    version: int | None
    error: str | None
    since: Time = TIME


class OtherKey(Answer):
    """A secret that is still valid in a key that was left."""

    key_id: str
    slot: str | None
    stage: str
    version: int
    expires_at: Time = TIME


class Status(Answer):
    """One credential, as `keyman status NAME --json` shows it."""

    name: str
    provider: str
    health: Health
    current: Current | None
    slots: list[Slot]
    other_keys: list[OtherKey]
    next: NextStep | None
    order: Receipt | None
    failures: int
    last_error: str | None
    hint: str | None
    key_id: str | None
    adopted: bool
    versions: list[Alive]
    drift: list[Drift]
    coming: list[Coming]
    clients: Clients | None = Field(description="null where an order is answered")
    mirrors: list[Mirror] | None = Field(description="null while no daemon runs")


class Daemon(Answer):
    running: bool
    since: Time = TIME


class Target(Answer):
    """One that is told what happens; `error` is why it can't be reached, if it can't."""

    name: str
    service: str
    events: list[str]
    credentials: list[str] = Field(description="of whom it is told; empty: of all")
    state: Literal["ok", "failing", "unused"]
    since: Time = TIME
    error: str | None
    reached_at: Time = TIME


class Statuses(Answer):
    daemon: Daemon
    credentials: list[Status]
    notify: list[Target]


class LeftIn(Answer):
    """A store that could not be asked, and may have secrets of it still."""

    store: str
    error: str
    hint: str


class Forgotten(Answer):
    name: str
    forgotten: bool = Field(description="false while something is left")
    revoked: list[Side]
    left: list[LeftIn]


class Names(Answer):
    credentials: list[str]


class Well(Answer):
    status: Literal["ok"]


class NetworkClient(Answer):
    """Who may look up over TCP, as `keyman client list --json` shows it."""

    name: str
    grants: list[str]
    created_at: Time = TIME
    used_at: Time = TIME
    revoked_at: Time = TIME


class NetworkClients(Answer):
    clients: list[NetworkClient]


class Fault(Answer):
    code: str = Field(json_schema_extra={"enum": [*sorted(STATUSES)]})
    message: str
    hint: str


class Refused(Answer):
    """What every refusal looks like; the code says which status goes with it."""

    error: Fault


# What one call answers.


@dataclass(frozen=True, slots=True)
class Gives:
    """The answer of a call that did what was asked, and what else it may say short of a refusal."""

    model: type[Answer] | None
    status: int = 200
    kinds: tuple[str, ...] = ()  #: besides JSON, or where there is no model instead of it
    also: tuple[tuple[int, str], ...] = ()
    accepted: type[Answer] | None = None  #: with status 202

    def responses(self) -> dict[int | str, dict[str, Any]]:
        """As the framework takes it."""
        said: dict[int | str, dict[str, Any]] = {
            self.status: {"description": "done", "content": dict.fromkeys(self.kinds, TEXT)}
        }
        if self.model:
            said[self.status]["model"] = self.model
        if self.accepted:
            said[202] = {"description": "noted", "model": self.accepted}
        said |= {status: {"description": why} for status, why in self.also}
        return {**said, "default": {"description": "refused", "model": Refused}}


TEXT: dict[str, Any] = {"schema": {"type": "string"}}
UNCHANGED = (304, "nothing newer")
LOOKED_UP = Gives(Secret, kinds=("text/plain",), also=(UNCHANGED,))
REPORTED = Gives(Secret, kinds=("text/plain",), also=(UNCHANGED,), accepted=Reported)
ORDERED = Gives(Receipt, 202)
