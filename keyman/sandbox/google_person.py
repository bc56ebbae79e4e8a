"""Somebody at Google's console or in its logs: changes that come from nowhere, for keyman.

Each takes effect at once. The door POST /sandbox/drift takes the name of a method as its action.
"""

from __future__ import annotations

import threading

from keyman.sandbox.google_accounts import Accounts, ServiceAccount
from keyman.sandbox.google_accounts import Person as Human
from keyman.sandbox.google_issuing import Issuing
from keyman.sandbox.google_tokens import Token

ACTIONS = frozenset(
    {
        "disable_account",
        "enable_account",
        "delete_key",
        "revoke_person",
        "restore_person",
        "require_reauth",
        "revoke_tokens",
        "allow_prediction",
        "forbid_prediction",
        "let_impersonate",
        "stop_impersonating",
        "allow_long_lives",
    }
)


class Person:
    """What somebody with the rights can do by hand."""

    def __init__(self, accounts: Accounts, issuing: Issuing, lock: threading.RLock) -> None:
        self._accounts = accounts
        self._issuing = issuing
        self._lock = lock

    def disable_account(self, email: str) -> None:
        self._service(email).disabled = True

    def enable_account(self, email: str) -> None:
        self._service(email).disabled = False

    def delete_key(self, key_id: str) -> None:
        """Tokens that were made with the key live on."""
        with self._lock:
            del self._accounts.keys[key_id]

    def revoke_person(self, email: str) -> None:
        """The person takes back what gcloud was allowed; living tokens die too."""
        with self._lock:
            self._human(email).revoked = True
            self._issuing.revoke(email)

    def restore_person(self, email: str) -> None:
        """The person logs in again, and by luck gets the same refresh token."""
        human = self._human(email)
        human.revoked = human.needs_reauth = False

    def require_reauth(self, email: str) -> None:
        """The Workspace session is over: invalid_rapt from now on."""
        self._human(email).needs_reauth = True

    def revoke_tokens(self, principal: str) -> int:
        """Kill the living tokens of a principal; returns how many."""
        with self._lock:
            return self._issuing.revoke(principal)

    def allow_prediction(self, principal: str) -> None:
        self._predictor(principal).may_predict = True

    def forbid_prediction(self, principal: str) -> None:
        """Take away aiplatform.endpoints.predict."""
        self._predictor(principal).may_predict = False

    def let_impersonate(self, caller: str, target: str) -> None:
        """Make `caller` a token creator of the account `target`, which is made if need be."""
        with self._lock:
            self._accounts.service(target).impersonators.add(caller)

    def stop_impersonating(self, caller: str, target: str) -> None:
        with self._lock:
            self._service(target).impersonators.discard(caller)

    def allow_long_lives(self, email: str) -> None:
        """List an account in the constraint that allows tokens of up to 12 hours."""
        with self._lock:
            self._accounts.service(email).long_lived = True

    def tokens_of(self, principal: str) -> list[Token]:
        with self._lock:
            return [t for t in self._issuing.tokens.all() if t.principal == principal]

    def _service(self, email: str) -> ServiceAccount:
        return self._accounts.services[email]

    def _human(self, email: str) -> Human:
        return self._accounts.people[email]

    def _predictor(self, principal: str) -> ServiceAccount | Human:
        found = self._accounts.services.get(principal) or self._accounts.people.get(principal)
        if found is None:
            raise ValueError(f"nobody is called {principal}")
        return found
