"""What one organisation at OpenAI holds: projects, service accounts, their keys, admin keys.

Plain records and what is legal to do with them; it speaks no HTTP and leaves locking to its caller.
A key is kept as its SHA-256: the characters leave in the reply that announces them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keyman.sandbox.keys import Acceptance, sha256
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.openai_errors import OpenAIRefusedError, invalid, not_found

ADMIN = "admin"
LONGEST = 31_536_000


@dataclass
class Owner:
    """A service account, or a person; `kind` says which."""

    id: str
    kind: str
    name: str
    role: str
    created: int
    deleted: bool = False

    @property
    def has_access(self) -> bool:
        return self.role != "none" and not self.deleted


@dataclass
class Key:
    """One key. Those of the organisation itself have the project `admin`."""

    id: str
    project: str
    owner: Owner
    name: str
    sha256: str
    redacted: str
    created: datetime
    expires: float | None
    scopes: tuple[str, ...]
    acceptance: Acceptance
    deleted: datetime | None = None
    uses: list[datetime] = field(default_factory=list)

    def used(self, now: datetime) -> None:
        # A second's resolution keeps the list short however busy the key is.
        if not self.uses or (now - self.uses[-1]).total_seconds() >= 1:
            self.uses.append(now)

    def expired(self, now: datetime, lingers: float = 0.0) -> bool:
        return self.expires is not None and now.timestamp() >= self.expires + lingers

    def last_used(self, now: datetime, rules: OpenAIBehaviour) -> int | None:
        """The last use the Admin API has heard of, in its coarse seconds."""
        lag = rules.last_used_lag if rules.last_used == "lagging" else 0.0
        heard = bisect_right(self.uses, datetime.fromtimestamp(now.timestamp() - lag, UTC))
        if rules.last_used == "absent" or not heard:
            return None
        at = int(self.uses[heard - 1].timestamp())
        return at - at % rules.last_used_step


@dataclass
class Policy:
    """What the organisation demands of new keys; a maximum makes an expiry required."""

    max_lifetime_seconds: int | None = None
    expiry_required: bool = False


class Organization:
    """The one organisation of a sandbox."""

    def __init__(
        self,
        now: Callable[[], datetime],
        new_text: Callable[[int], str],
        behaviour: Callable[[], OpenAIBehaviour],
        mark: str,
    ) -> None:
        self.now = now
        self.policy = Policy()
        self.projects: dict[str, str] = {}
        self.owners: dict[str, tuple[str, Owner]] = {}
        self.keys: dict[str, Key] = {}
        self.quota_exhausted = False
        self._new_text = new_text
        self._behaviour = behaviour
        self._mark = mark
        self._by_secret: dict[str, Key] = {}

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{self._new_text(12)}"

    def add_owner(self, project: str, kind: str, name: str, role: str = "member") -> Owner:
        prefix = {"user": "user", "service_account": "svc_acct"}[kind]
        owner = Owner(self.new_id(prefix), kind, name, role, int(self.now().timestamp()))
        self.owners[owner.id] = (project, owner)
        return owner

    def account(self, project: str, account_id: str) -> Owner:
        """A service account that is there."""
        where, owner = self.owners.get(account_id, ("", None))
        if owner is None or where != project or owner.deleted or owner.kind == "user":
            raise not_found("service account", account_id)
        return owner

    def accounts(self, project: str) -> list[Owner]:
        here = [owner for where, owner in self.owners.values() if where == project]
        return [each for each in here if each.kind == "service_account" and not each.deleted]

    def check_project(self, project: str) -> None:
        if project not in self.projects:
            raise not_found("project", project)

    def check_life(self, seconds: object) -> float | None:
        """When a key made now expires, if the policy lets it be made at all."""
        longest, rules = self.policy.max_lifetime_seconds, self._behaviour()
        if seconds is None:
            if longest is not None or self.policy.expiry_required:
                text = "Your organization requires API keys to expire: set expires_in_seconds."
                raise OpenAIRefusedError(
                    rules.policy_status, "expiration_required", text, "expires_in_seconds"
                )
            return None
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            raise invalid("expires_in_seconds must be an integer.", "expires_in_seconds")
        if not 1 <= seconds <= LONGEST:
            text = f"expires_in_seconds must be between 1 and {LONGEST}."
            raise invalid(text, "expires_in_seconds")
        if longest is not None and seconds > longest:
            text = f"expires_in_seconds exceeds the maximum lifetime of {longest} seconds."
            raise OpenAIRefusedError(
                rules.policy_status, "expiration_too_long", text, "expires_in_seconds"
            )
        return self.now().timestamp() + seconds

    def make_key(
        self,
        project: str,
        owner: Owner,
        name: str,
        expires: float | None,
        scopes: tuple[str, ...] = (),
    ) -> tuple[str, Key]:
        """A new key: its characters, which are seen this once, and what stays known."""
        limit = self._behaviour().keys_per_account
        if limit is not None and len(self.keys_of(owner)) >= limit:
            text = f"A service account may have at most {limit} API keys."
            raise invalid(text, None, "api_key_limit_reached")
        kinds = {"user": "proj", "service_account": "svcacct"}
        kind = ADMIN if project == ADMIN else kinds[owner.kind]
        value = f"sk-{kind}-{self._mark}-{self._new_text(60)}"
        now = self.now()
        key = Key(
            id=self.new_id("key"),
            project=project,
            owner=owner,
            name=name,
            sha256=sha256(value),
            redacted=_redacted(self._behaviour(), value),
            created=now,
            expires=expires,
            scopes=scopes,
            acceptance=Acceptance(),
        )
        key.acceptance.decide(accepted=True, now=now, delay=self._behaviour().new_key_delay)
        self.keys[key.id] = self._by_secret[key.sha256] = key
        return value, key

    def keys_of(self, owner: Owner) -> list[Key]:
        return [key for key in self.keys.values() if key.owner is owner and key.deleted is None]

    def find(self, project: str, key_id: str) -> Key:
        key = self.keys.get(key_id)
        if key is None or key.project != project or key.deleted is not None:
            raise not_found("API key", key_id)
        return key

    def by_secret(self, digest: str) -> Key | None:
        return self._by_secret.get(digest)

    def delete(self, key: Key) -> None:
        now = self.now()
        key.deleted = now
        lingers = self._behaviour().deleted_key_lingers
        key.acceptance.decide(accepted=False, now=now, delay=lingers)

    def delete_owner(self, owner: Owner) -> None:
        """The account's keys go with it."""
        for key in self.keys_of(owner):
            self.delete(key)
        owner.deleted = True


def _redacted(rules: OpenAIBehaviour, value: str) -> str:
    return {
        "head_tail": f"{value[:12]}****{value[-4:]}",
        "tail": f"sk-...{value[-4:]}",
        "constant": "sk-****",
    }[rules.redacted]
