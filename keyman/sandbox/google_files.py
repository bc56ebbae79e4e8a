"""Credential files as Google's tools leave them, each for somebody the sandbox then knows.

The addresses in them are the sandbox's own, so it must have been started. With
`real_addresses=True` they are Google's: for clients whose transport leads those to the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from keyman.sandbox import jwt
from keyman.sandbox.google_accounts import CLOUD, AccountKey, Accounts, Person, Pool
from keyman.sandbox.keys import sha256
from keyman.sandbox.profiles import new_key, private_pem, write_private
from keyman.sandbox.server import Json

SERVICE = "keyman@sandbox-project.iam.gserviceaccount.com"
TARGET = "target@sandbox-project.iam.gserviceaccount.com"
PERSON = "somebody@example.com"
CLIENT = "sandbox.apps.googleusercontent.com"
AUDIENCE = (
    "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/sandbox"
    "/providers/sandbox"
)
ISSUER = "https://issuer.example.com"
_IMPERSONATE = "/v1/projects/-/serviceAccounts/{}:generateAccessToken"


class CredentialFiles:
    """Writes files that only their owner may read, and registers whom they are for."""

    def __init__(
        self,
        accounts: Accounts,
        project: str,
        base_url: Callable[[], str],
        signed_now: Callable[[], datetime],
        new_text: Callable[[], str],
    ) -> None:
        self._accounts = accounts
        self._project = project
        self._base_url = base_url
        self._signed_now = signed_now
        self._new_text = new_text
        self._made = 0
        self._issuer_key: RSAPrivateKey | None = None

    def service_account(
        self, path: Path, email: str = SERVICE, *, real_addresses: bool = False
    ) -> Path:
        """A service account's key. All accounts of a process share one RSA key under different
        ids, because making a key takes longer than all the rest.
        """
        return _write(path, self.service_account_info(email, real_addresses=real_addresses))

    def service_account_info(self, email: str = SERVICE, *, real_addresses: bool = False) -> Json:
        key_id = self.register_key(email, _shared_key("accounts"))
        return {
            "type": "service_account",
            "project_id": self._project,
            "private_key_id": key_id,
            "private_key": private_pem(_shared_key("accounts")).decode(),
            "client_email": email,
            "client_id": "100000000000000000000",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": self._at("oauth2", "/token", real_addresses=real_addresses),
            "universe_domain": "googleapis.com",
        }

    def register_key(self, email: str, key: RSAPrivateKey, key_id: str | None = None) -> str:
        """Let a key of a service account in, which is made if need be; returns the key's id."""
        self._made += 1
        made = key_id or sha256(f"{email}/{self._made}")[:40]
        self._accounts.add_key(AccountKey(made, email, key.public_key()))
        return made

    def authorized_user(
        self,
        path: Path,
        email: str = PERSON,
        scopes: tuple[str, ...] = (CLOUD,),
        quota_project: str | None = None,
    ) -> Path:
        """What `gcloud auth application-default login` leaves. google-auth asks Google's token
        endpoint for such a file, whatever is in it, so there is no address to choose.
        """
        return _write(path, self.authorized_user_info(email, scopes, quota_project))

    def authorized_user_info(
        self,
        email: str = PERSON,
        scopes: tuple[str, ...] = (CLOUD,),
        quota_project: str | None = None,
    ) -> Json:
        secret, refresh_token = f"GOCSPX-{self._new_text()}", f"1//0{self._new_text()}"
        self._accounts.add_person(Person(email, CLIENT, sha256(secret), scopes), refresh_token)
        info = {
            "type": "authorized_user",
            "client_id": CLIENT,
            "client_secret": secret,
            "refresh_token": refresh_token,
            "universe_domain": "googleapis.com",
        }
        return info | ({"quota_project_id": quota_project} if quota_project else {})

    def external_account(
        self,
        path: Path,
        subject: str = "workload",
        target: str | None = None,
        *,
        lifetime: int | None = None,
        real_addresses: bool = False,
    ) -> Path:
        """A workload identity whose subject token lies in `path` with the suffix .subject; with a
        `target`, it goes on to impersonate that service account.
        """
        pool = self._pool()
        subject_file = path.with_suffix(".subject")
        self.subject_token(subject_file, subject)
        info: Json = {
            "type": "external_account",
            "audience": pool.audience,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": self._at("sts", "/v1/token", real_addresses=real_addresses),
            "credential_source": {"file": str(subject_file.resolve())},
        }
        if target is not None:
            self._accounts.service(target).impersonators.add(pool.principal(subject))
            where = _IMPERSONATE.format(target)
            url = self._at("iamcredentials", where, real_addresses=real_addresses)
            info["service_account_impersonation_url"] = url
        if lifetime is not None:
            info["service_account_impersonation"] = {"token_lifetime_seconds": lifetime}
        return _write(path, info)

    def subject_token(
        self, path: Path, subject: str = "workload", *, seconds: int = 3600, **claims: Any
    ) -> Path:
        """Write a subject token, as a platform does that mounts it; `claims` overrule its own."""
        pool, now = self._pool(), int(self._signed_now().timestamp())
        told: Json = {"iss": pool.issuer, "sub": subject, "aud": pool.audience}
        told |= {"iat": now, "exp": now + seconds, **claims}
        assert self._issuer_key is not None
        return write_private(path, jwt.encode(told, self._issuer_key))

    def impersonated(
        self, path: Path, target: str = TARGET, source: Json | None = None, *, caller: str = SERVICE
    ) -> Path:
        """Impersonation of `target` by a service account, or by the `source` given for `caller`."""
        self._accounts.service(target).impersonators.add(caller)
        url = self._at("iamcredentials", _IMPERSONATE.format(target), real_addresses=True)
        info = {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": url,
            "source_credentials": source or self.service_account_info(caller),
            "delegates": [],
        }
        return _write(path, info)

    def _pool(self) -> Pool:
        if self._issuer_key is None:
            self._issuer_key = _shared_key("issuer")
            pool = Pool(AUDIENCE, ISSUER, self._issuer_key.public_key())
            self._accounts.pools[pool.audience] = pool
        return self._accounts.pools[AUDIENCE]

    def _at(self, host: str, path: str, *, real_addresses: bool) -> str:
        base = f"https://{host}.googleapis.com" if real_addresses else self._base_url()
        return base + path


@cache
def _shared_key(_whose: str) -> RSAPrivateKey:
    return new_key()


def _write(path: Path, info: Json) -> Path:
    return write_private(path, json.dumps(info, indent=2))
