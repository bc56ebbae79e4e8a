"""Who Google knows: service accounts and their keys, people, workload identity pools, grants.

Plain records. Secrets of people are kept as their SHA-256 only; of a service account's key, only
the public half is known here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keyman.sandbox.keys import sha256

CLOUD = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(slots=True)
class ServiceAccount:
    """`long_lived` accounts are listed in the organisation's constraint for 12-hour tokens."""

    email: str
    disabled: bool = False
    long_lived: bool = False
    may_predict: bool = True
    impersonators: set[str] = field(default_factory=set)


@dataclass(slots=True)
class AccountKey:
    """One key of a service account."""

    id: str
    email: str
    public: RSAPublicKey


@dataclass(slots=True)
class Person:
    """Somebody who logged in with gcloud. Only the newest refresh token counts as current."""

    email: str
    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    refresh_tokens: list[str] = field(default_factory=list)
    revoked: bool = False
    needs_reauth: bool = False
    may_predict: bool = True
    refreshed: tuple[str, str, datetime] | None = None


@dataclass(slots=True)
class Pool:
    """A workload identity provider: who issues subject tokens for which audience."""

    audience: str
    issuer: str
    public: RSAPublicKey

    def principal(self, subject: str) -> str:
        path = self.audience.removeprefix("//iam.googleapis.com/").partition("/providers/")[0]
        return f"principal://iam.googleapis.com/{path}/subject/{subject}"


class Accounts:
    """Everybody who is known. The sandbox's lock guards it."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceAccount] = {}
        self.keys: dict[str, AccountKey] = {}
        self.people: dict[str, Person] = {}
        self.pools: dict[str, Pool] = {}
        self._by_refresh_token: dict[str, Person] = {}

    def service(self, email: str) -> ServiceAccount:
        """The account, made if there was none."""
        return self.services.setdefault(email, ServiceAccount(email))

    def add_key(self, key: AccountKey) -> None:
        self.service(key.email)
        self.keys[key.id] = key

    def add_person(self, person: Person, refresh_token: str) -> None:
        self.people[person.email] = person
        self.add_refresh_token(person, refresh_token)

    def add_refresh_token(self, person: Person, refresh_token: str) -> None:
        digest = sha256(refresh_token)
        person.refresh_tokens.append(digest)
        self._by_refresh_token[digest] = person

    def holder(self, refresh_token: str) -> tuple[Person, bool] | None:
        """Whose refresh token this is, and whether it is the newest."""
        digest = sha256(refresh_token)
        person = self._by_refresh_token.get(digest)
        return None if person is None else (person, person.refresh_tokens[-1] == digest)

    def may_predict(self, principal: str) -> bool:
        known = self.services.get(principal) or self.people.get(principal)
        return known is None or known.may_predict

    def disabled(self, principal: str) -> bool:
        account = self.services.get(principal)
        return account is not None and account.disabled
