"""What an answer of HashiCorp Vault or OpenBao means: the status decides, then words we know.

Pure: from what was asked and what came back to one of our errors, each with the next move. Of the
service's own words only the phrases below are repeated: all others might hold a secret.

    403            our token has ended, or a policy lacks the line that the hint shows
    404            absent in Vault's own words; else no engine there, or somebody in between
    400 405 412    not done: no KV version 2, outdated replica, a check-and-set that did not match
    429            not done: a quota, or a standby that was asked for its health
    472 473 3xx    not done: not the node that works
    5xx, nonsense  lost: it may have been done
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyman.errors import StoreFailed

ENDED = "invalid token"
PHRASES = {
    "vault is sealed": "unseal it: `vault operator unseal`",
    ENDED: "keyman's token has ended or was revoked: give it another one, best by"
    " `auth: {kind: approle}` or kubernetes, which sign in again by themselves",
    "permission denied": "",
    "no handler for route": "",
    "check-and-set parameter did not match": "somebody else writes there: give each installation"
    " its own `prefix`",
    "check-and-set parameter required": "keyman always sends it: is this a KV version 2 engine?",
    "rate limit quota exceeded": "keyman tries again later; if it happens often, raise the quota",
    "required index state not present": "nothing to do: this replica is behind, keyman tries again",
    "invalid role or secret id": "correct `role_id` and `secret_id`: it may have ended, or may have"
    " been used as often as it could be",
    "not authorized": "bind keyman's service account and its namespace to the role",
    "upgrading from non-versioned": "nothing to do: the engine becomes one of version 2",
    "active cluster node not found": "nothing to do: the nodes elect one, keyman tries again",
}


class Lost(StoreFailed):
    """What was asked may have been done or not."""


class NoAnswerError(Exception):
    """Nothing that can be read came back. `lost` if what was asked may have been done."""

    def __init__(self, detail: str, *, hint: str, lost: bool) -> None:
        super().__init__(detail)
        self.detail, self.hint, self.lost = detail, hint, lost


@dataclass(frozen=True, slots=True)
class Place:
    """The part of the service that is ours."""

    address: str
    mount: str
    prefix: str

    def line(self, area: str) -> str:
        """What a policy must say, for `data` or `metadata`."""
        names = ", ".join(f'"{each}"' for each in NEEDED[area])
        return f'path "{self.mount}/{area}/{self.prefix}/*" {{ capabilities = [{names}] }}'


NEEDED = {
    "data": ("create", "read", "update"),
    "metadata": ("create", "update", "list", "delete"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for sentences: `put genai/7`; and the part of the policy that allows it."""

    what: str
    area: str = "data"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Mapping[str, Any] | None = field(repr=False)  #: None: no JSON object

    def member(self, *names: str) -> Any:
        """What stands there in the body; None if nothing does."""
        found: Any = self.body
        for name in names:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    @property
    def phrase(self) -> str | None:
        """What it says, if those are words we know."""
        errors = self.member("errors")
        said = " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""
        return next((phrase for phrase in PHRASES if phrase in said), None)

    @property
    def absent(self) -> bool:
        """Vault itself says that there is nothing: without a word, or with what is left of it."""
        left = isinstance(self.member("data", "metadata"), Mapping)
        return self.status == 404 and (self.member("errors") == [] or left)


def asking(asked: Asked, place: Place, act: Callable[[], Answer]) -> Answer:
    """What `act` brings back. Raises StoreFailed, or Lost, if that is nothing."""
    try:
        return act()
    except NoAnswerError as none:
        kind = Lost if none.lost else StoreFailed
        raise kind(_sentence(asked, place, none.detail), hint=none.hint) from None


def meaning(asked: Asked, place: Place, answer: Answer) -> StoreFailed:
    """Our error for an answer that is not the hoped-for one."""
    phrase = answer.phrase
    if answer.status < 400 or answer.body is None:
        return _not_vaults(asked, place, answer)
    kind = Lost if answer.status >= 500 and phrase != "vault is sealed" else StoreFailed
    said = f"{answer.status} ({phrase})" if phrase else f"{answer.status}"
    return kind(_sentence(asked, place, said), hint=_hint(asked, place, answer, phrase))


def _sentence(asked: Asked, place: Place, detail: str) -> str:
    return f"could not {asked.what}: vault ({place.address}) said {detail}"


def _not_vaults(asked: Asked, place: Place, answer: Answer) -> StoreFailed:
    detail = f"{answer.status} with nothing that Vault says"
    if 300 <= answer.status < 400:
        hint = "keyman follows no redirect: let `address` be the active node or a load balancer"
        return StoreFailed(_sentence(asked, place, detail), hint=hint)
    hint = (
        "something else may answer there (a captive portal, a proxy, a load balancer), or the"
        f" engine at `{place.mount}` is no KV of version 2"
    )
    kind = Lost if answer.status < 300 or answer.status >= 500 else StoreFailed
    return kind(_sentence(asked, place, detail), hint=hint)


def _hint(asked: Asked, place: Place, answer: Answer, phrase: str | None) -> str:
    if phrase == "no handler for route" or answer.status in (404, 405):
        return (
            f"there is no KV engine of version 2 at `{place.mount}`: correct `mount` or"
            f" `namespace`, or `vault secrets enable -path={place.mount} kv-v2`"
        )
    if phrase and PHRASES[phrase]:
        return PHRASES[phrase]
    if answer.status == 403:
        return f"add to the policy of keyman's token (if it lives): {place.line(asked.area)}"
    return _BY_STATUS.get(answer.status, "look at the vault's own log; keyman tries again later")


_BY_STATUS = {
    412: "nothing to do: this replica is behind, keyman tries again later",
    413: "a proxy in front of the vault allows too little",
    429: "nothing to do: keyman tries again later",
    472: "`address` is a node for disaster recovery: name the active cluster",
    473: "`address` is a standby node: name the active one, or a load balancer",
    501: "the vault was never initialised: `vault operator init`",
    503: "the vault is sealed or has no active node: `vault status` says which",
}
