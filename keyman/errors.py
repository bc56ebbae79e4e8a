"""Every error that keyman raises, each a sentence and a next move.

Error                     code · message · hint
├── UsageError            the command or request cannot be followed as written
│   └── ConfigError       nor can the configuration (all mistakes at once)
├── NotFound              no credential of that name
├── NoUsableSecret        it exists, but nothing can be handed out now
│   └── NotAdopted        because nobody has entrusted keyman with its secret yet
├── NotAllowed            this caller may not
├── NotRunning            nobody answers
├── TooMany               asked too often
├── Conflict              someone else wrote first, or the wish contradicts what is so
├── StoreFailed           the place where secrets rest refused
└── ProviderFailed        the party that issues secrets refused
    ├── Rejected          a definite no: nothing was done, asking again the same way won't help
    │   └── SlotRefused   this slot can't be filled again (revoked or expired at the provider)
    ├── RetryLater        nothing was done: throttled, refused at the door, or changed meanwhile
    ├── Unknown           it may or may not have been done: the answer was lost
    └── SecretLost        it was done, but the answer no longer carries the secret

Codes map to exit statuses and to HTTP in the one table at the end. This file imports the
standard library only, since applications import it through the client.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Error(Exception):
    """Something a person can act on; `hint` says how. Neither part ever carries a secret."""

    code = "internal"
    default_hint = "run `keyman check`"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Words may be a service's own: half a surrogate pair could be written down nowhere.
        self.message = message.encode(errors="replace").decode()
        self.hint = (hint or self.default_hint).encode(errors="replace").decode()
        super().__init__(self.message)

    def as_json(self) -> dict[str, dict[str, str]]:
        """The object that commands with --json and the agent answer with."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class UsageError(Error):
    code = "usage"
    default_hint = "see `keyman --help`"


class ConfigError(UsageError):
    """What the operator wrote can't be followed; `problems` lists every mistake, one a line."""

    code = "config"
    default_hint = "compare with config.example.yaml, then run `keyman check`"

    def __init__(
        self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class NotFound(Error):
    code = "not_found"
    default_hint = "`keyman list` shows the names"


class NoUsableSecret(Error):
    """`retry_after` (seconds) says when asking again may help; None if nobody knows."""

    code = "no_usable_secret"
    default_hint = "`keyman status` says why"

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NotAdopted(NoUsableSecret):
    code = "not_adopted"
    default_hint = "`keyman adopt NAME --slot SLOT` takes the secret in use from standard input"


class NotAllowed(Error):
    code = "not_allowed"
    default_hint = "ask as the user who runs keyman, or have a grant added"


class NotRunning(Error):
    code = "not_running"
    default_hint = "start it with `keyman daemon`"


class TooMany(Error):
    code = "too_many"
    default_hint = "wait a little"


class Conflict(Error):
    code = "conflict"
    default_hint = "look at `keyman status`, then ask again"


class StoreFailed(Error):
    code = "store_failed"


class SecretDamaged(StoreFailed):
    default_hint = "nothing to do: keyman asks for another one"


class ProviderFailed(Error):
    code = "provider_failed"


class Rejected(ProviderFailed):
    pass


class SlotRefused(Rejected):
    default_hint = "`keyman rotate NAME --new-key` replaces the whole API key"


class RetryLater(ProviderFailed):
    """`retry_after` (seconds) is what the provider asked for; None leaves it to the policy."""

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class Unknown(ProviderFailed):
    default_hint = "nothing to do: keyman looks what happened and goes on from there"


class SecretLost(ProviderFailed):
    default_hint = "nothing to do: the standby slot is filled again"


#                      exit  HTTP
STATUSES: dict[str, tuple[int, int]] = {
    "usage": (2, 400),
    "config": (2, 400),
    "not_found": (3, 404),
    "no_usable_secret": (4, 503),
    "not_adopted": (4, 503),
    "not_allowed": (5, 403),
    "not_running": (6, 503),
    "too_many": (1, 429),
    "conflict": (1, 409),
    "store_failed": (1, 500),
    "provider_failed": (1, 502),
    "internal": (1, 500),
}
NOT_FINISHED_IN_TIME = 7
INTERRUPTED = 130


def from_code(code: str, message: str, hint: str) -> Error:
    """The error that an agent's answer stands for; an unknown code gives a plain Error."""
    known = _BY_CODE.get(code, Error)
    return known(message, hint=hint)


_BY_CODE: dict[str, type[Error]] = {
    kind.code: kind
    for kind in (
        UsageError,
        ConfigError,
        NotFound,
        NoUsableSecret,
        NotAdopted,
        NotAllowed,
        NotRunning,
        TooMany,
        Conflict,
        StoreFailed,
        ProviderFailed,
    )
}
