"""Somebody at OpenAI's dashboard: changes that come from nowhere, as far as keyman knows.

Each takes effect at once on the Admin API and is written to the log with "dashboard" as its actor.
The door POST /sandbox/drift takes the name of a method as its action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keyman.sandbox.openai_org import ADMIN, Key, Organization, Owner, Policy
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json

ACTIONS = frozenset(
    {
        "create_account",
        "create_key",
        "create_user_key",
        "delete_key",
        "expire_key",
        "delete_account",
        "set_role",
        "archive_project",
        "set_policy",
        "limit_admin_key",
        "exhaust_quota",
    }
)


class Dashboard:
    """What an owner of the organisation can do by hand; `acting` opens a line in the log under
    the sandbox's lock.
    """

    def __init__(
        self, org: Organization, project: str, acting: Callable[[str], Iterator[Call]]
    ) -> None:
        self._org = org
        self._project = project
        self._acting = contextmanager(acting)

    def create_account(self, name: str, role: str = "member") -> Json:
        """A service account without a key."""
        with self._acting("CreateServiceAccount") as call:
            owner = self._org.add_owner(self._project, "service_account", name, role)
            call.target = owner.id
            return {"id": owner.id}

    def create_key(self, account_id: str, name: str, expires_in_seconds: int | None = None) -> Json:
        """A key of a service account; returns its id and value."""
        owner = self._org.account(self._project, account_id)
        return self._create(owner, name, expires_in_seconds)

    def create_user_key(self, name: str) -> Json:
        """A key of a person in the project; returns its id and value."""
        return self._create(self._org.add_owner(self._project, "user", "somebody"), name, None)

    def delete_key(self, key_id: str) -> None:
        """Any key, admin keys too."""
        with self._acting("DeleteApiKey") as call:
            call.target = key_id
            self._org.delete(self._key(key_id))

    def expire_key(self, key_id: str, in_seconds: float = 0) -> None:
        with self._acting("UpdateApiKey") as call:
            call.target = key_id
            self._key(key_id).expires = self._org.now().timestamp() + in_seconds

    def delete_account(self, account_id: str) -> None:
        with self._acting("DeleteServiceAccount") as call:
            call.target = account_id
            self._org.delete_owner(self._org.account(self._project, account_id))

    def set_role(self, account_id: str, role: str) -> None:
        """`none` takes the account's access to the project away."""
        with self._acting("UpdateServiceAccount") as call:
            call.target = account_id
            self._org.account(self._project, account_id).role = role

    def archive_project(self) -> None:
        with self._acting("ArchiveProject"):
            del self._org.projects[self._project]

    def set_policy(
        self,
        max_lifetime_seconds: int | None = None,
        *,
        expiry_required: bool = False,
    ) -> None:
        """What new keys must be like from now on."""
        with self._acting("UpdatePolicy"):
            self._org.policy = Policy(max_lifetime_seconds, expiry_required)

    def limit_admin_key(self, key_id: str, scopes: list[str]) -> None:
        """What an admin key may do; nothing named means everything."""
        with self._acting("UpdateAdminApiKey") as call:
            call.target = key_id
            self._org.find(ADMIN, key_id).scopes = tuple(scopes)

    def exhaust_quota(self, *, exhausted: bool = True) -> None:
        """No money is left, or there is some again."""
        with self._acting("Bill"):
            self._org.quota_exhausted = exhausted

    def _create(self, owner: Owner, name: str, seconds: int | None) -> Json:
        with self._acting("CreateApiKey") as call:
            now = self._org.now().timestamp()
            expires = None if seconds is None else now + seconds
            value, key = self._org.make_key(self._project, owner, name, expires)
            call.secret, call.target = key.sha256, key.id
            return {"id": key.id, "value": value}

    def _key(self, key_id: str) -> Key:
        project = self._org.keys[key_id].project if key_id in self._org.keys else self._project
        return self._org.find(project, key_id)
