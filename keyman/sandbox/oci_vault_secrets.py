"""What OCI Vault remembers of secrets: versions, their stages, what is on its way out.

Pure bookkeeping on a clock that is handed in; knows nothing of HTTP. Contents stay in here and in
the answers that ask for them. The caller holds the sandbox's lock.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.server import Json, RefusedError

SOONEST, LATEST, USUAL = timedelta(days=1), timedelta(days=30), timedelta(days=30)
NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
MAX_BYTES = 25_000
_UP_FROM_OLD = {"CURRENT": "PREVIOUS", "PREVIOUS": "DEPRECATED"}


def invalid(message: str, status: int = 400) -> RefusedError:
    return RefusedError(status, "InvalidParameter" if status == 400 else "Conflict", message)


def not_found(status: int = 404) -> RefusedError:
    text = "Authorization failed or requested resource not found."
    return RefusedError(status, "NotAuthorizedOrNotFound", text)


def incorrect(message: str) -> RefusedError:
    return RefusedError(409, "IncorrectState", message)


@dataclass
class Version:
    number: int
    name: str | None
    content: str
    stages: set[str]
    created: datetime
    goes: datetime | None = None
    content_unseen: int = 0  #: how many reads of the content still miss it

    def gone(self, now: datetime) -> bool:
        return self.goes is not None and now >= self.goes


@dataclass
class Secret:
    id: str
    name: str
    compartment: str
    key: str
    created: datetime
    tags: Json
    versions: list[Version] = field(default_factory=list)
    last: int = 0
    destroyed: set[str] = field(default_factory=set)
    busy_as: str = "CREATING"
    busy_until: datetime | None = None
    etag: str = "new"
    changes: int = 0
    goes: datetime | None = None
    before: Secret | None = None
    stale: int = 0  #: how many reads still show `before`, or nothing if there is none

    def state(self, now: datetime) -> str:
        if self.goes is not None:
            return "DELETED" if now >= self.goes else "PENDING_DELETION"
        busy = self.busy_until is not None and now < self.busy_until
        return self.busy_as if busy else "ACTIVE"

    def version(self, number: int) -> Version:
        for version in self.versions:
            if version.number == number:
                return version
        raise not_found()

    def active(self, now: datetime) -> list[Version]:
        return [version for version in self.versions if version.goes is None]

    def going(self, now: datetime) -> list[Version]:
        return [v for v in self.versions if v.goes is not None and not v.gone(now)]


def settle(secret: Secret, now: datetime, rules: VaultBehaviour) -> None:
    """Let go of what time has destroyed."""
    for version in [v for v in secret.versions if v.gone(now)]:
        version.content = ""
        if rules.destroyed_names_stay_taken and version.name:
            secret.destroyed.add(version.name)
        if not rules.destroyed_listed:
            secret.versions.remove(version)


def remember(secret: Secret, rules: VaultBehaviour) -> None:
    """Called before a change: reads may go on showing what was."""
    secret.before = None
    secret.before = copy.deepcopy(secret)
    secret.stale = rules.stale_reads


def be_busy(secret: Secret, now: datetime, doing: str, seconds: float) -> None:
    """Called after a change."""
    secret.changes += 1
    secret.etag = f"{secret.changes}-{secret.id[-6:]}"
    secret.busy_as, secret.busy_until = doing, now + timedelta(seconds=seconds)


def seen(secret: Secret) -> Secret | None:
    """The secret as one more read shows it; None if it doesn't yet."""
    if secret.stale > 0:
        secret.stale -= 1
        return secret.before
    return secret


def check_room(secret: Secret, now: datetime, rules: VaultBehaviour) -> None:
    if len(secret.active(now)) >= rules.active_limit:
        text = f"A secret may have {rules.active_limit} active versions."
        raise RefusedError(rules.update_at_limit, "LimitExceeded", text)


def check_version_name(secret: Secret, name: str | None, rules: VaultBehaviour) -> None:
    if name is None:
        return
    if not NAME.fullmatch(name):
        raise invalid("The name of a version has letters, digits, hyphens, underscores, periods.")
    if name in secret.destroyed or any(version.name == name for version in secret.versions):
        raise invalid("name already exists", rules.taken_name)


def add_version(
    secret: Secret, stage: str, name: str | None, content: str, now: datetime, rules: VaultBehaviour
) -> None:
    """A new version, which is the latest from now on."""
    secret.last += 1
    for version in secret.versions:
        version.stages.discard("LATEST")
        if stage == "PENDING" and rules.superseded_pending == "DEPRECATED":
            _move(version, {"PENDING": "DEPRECATED"})
    new = Version(secret.last, name, content, {"PENDING", "LATEST"}, now)
    new.content_unseen = rules.stale_content
    secret.versions.append(new)
    if stage == "CURRENT":
        promote(secret, secret.last)


def promote(secret: Secret, number: int) -> None:
    chosen = secret.version(number)
    if chosen.goes is not None:
        raise incorrect("The version is scheduled for deletion.")
    for version in secret.versions:
        if version is not chosen:
            _move(version, _UP_FROM_OLD)
    chosen.stages -= {"PENDING", "PREVIOUS", "DEPRECATED"}
    chosen.stages.add("CURRENT")


def _move(version: Version, stages: dict[str, str]) -> None:
    version.stages = {stages.get(stage, stage) for stage in version.stages}


def schedule_version(
    secret: Secret, number: int, at: datetime, now: datetime, rules: VaultBehaviour
) -> None:
    version = secret.version(number)
    if version.goes is not None:
        raise incorrect("The version is scheduled for deletion already.")
    latest = "LATEST" in version.stages and not rules.latest_can_go
    if "DEPRECATED" not in version.stages or latest:
        raise incorrect("Only a deprecated version can be deleted.")
    if len(secret.going(now)) >= rules.going_limit:
        text = f"A secret may have {rules.going_limit} versions pending deletion."
        raise RefusedError(rules.destroy_at_limit, "LimitExceeded", text)
    version.goes = at


def read_end(given: object, now: datetime) -> datetime:
    """`timeOfDeletion`: one to thirty days ahead."""
    if given is None:
        return now + USUAL
    try:
        at = datetime.fromisoformat(str(given))
    except ValueError as error:
        raise invalid("timeOfDeletion is not a time.") from error
    if at.tzinfo is None or not SOONEST <= at - now <= LATEST:
        raise invalid("timeOfDeletion must be 1 to 30 days ahead.")
    return at
