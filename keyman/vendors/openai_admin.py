"""OpenAI's Admin API as far as keys need it: list, look at one, make one, delete one.

Two families of keys are spoken to alike: those of one service account in a project, and the
organization's admin keys. Every call is signed with the admin key as it is at that moment, sent
once, and answered with plain values or one of our errors. Making a key is not idempotent, and
nothing in the API can make it so: whoever calls `make` twice has two keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from keyman import errors
from keyman.core.model import Secret
from keyman.vendors import openai_keys
from keyman.vendors.openai_calls import Line, Lost
from keyman.vendors.openai_keys import Listed, Made, Page, check_id
from keyman.vendors.openai_outcomes import Answer, Asked, meaning, no_answer

T = TypeVar("T")
PAGES = 1000
ADMIN_PREFIX = "sk-admin-"
LONGEST_LIFE_SECONDS = 31_536_000


@dataclass(frozen=True, slots=True)
class Family:
    """Where keys of one kind lie in the API, and what people call them."""

    keys: str  #: path of the list; an id behind it names one
    make: str  #: path to which a new one is posted
    whose: str  #: `of svc_acct_x`, for sentences
    filters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_account(cls, project: str | None, account: str | None) -> Family:
        """The keys of a service account. Raises Rejected for what can't be an id."""
        project = check_id("project_id", project)
        account = check_id("service_account_id", account)
        base = f"/organization/projects/{project}"
        # Without the filter some keys are left out, those of owners without access among them.
        anyone = (("owner_project_access", "any"),)
        made_at = f"{base}/service_accounts/{account}/api_keys"
        return cls(f"{base}/api_keys", made_at, f"of {account}", anyone)

    @classmethod
    def of_admins(cls) -> Family:
        path = "/organization/admin_api_keys"
        return cls(path, path, "of the organization's admins")


class AdminApi:
    """Keys of one family, on behalf of one credential."""

    def __init__(
        self,
        line: Line,
        family: Callable[[], Family],
        admin_key: Callable[[], Secret],
        credential: str,
    ) -> None:
        self._line, self._family = line, family
        self._admin_key, self._credential = admin_key, credential

    def list(self) -> tuple[Listed, ...]:
        """Every key of the family, over all pages; keys of others are among those of a project."""
        return tuple(self._pages())

    def look(self, handle: str) -> Listed:
        """One key, as fresh as it gets. Raises Refused with `gone` if there is no such key."""
        path = f"{self._family().keys}/{check_id('id of a key', handle)}"
        return self._ask(
            "GET", path, f"show {handle}", lambda data: openai_keys.about(data, handle)
        )

    def make(self, name: str, seconds: int) -> Made:
        """A new key that lives for so many seconds."""
        family = self._family()
        return self._ask(
            "POST",
            family.make,
            f"make a key {family.whose}",
            openai_keys.made,
            body={"name": name, "expires_in_seconds": seconds},
        )

    def delete(self, handle: str) -> None:
        """Destroy a key for good. Raises Refused with `gone` if there is none."""
        path = f"{self._family().keys}/{check_id('id of a key', handle)}"
        self._ask(
            "DELETE", path, f"delete {handle}", lambda data: openai_keys.deleted(data, handle)
        )

    def role(self, project: str | None, account: str | None) -> str:
        """What that service account may do. Raises Refused with `gone` if there is none."""
        project, named = check_id("project_id", project), check_id("service_account_id", account)
        path = f"/organization/projects/{project}/service_accounts/{named}"
        return self._ask("GET", path, f"show {named}", lambda data: openai_keys.role(data, named))

    def _pages(self) -> Iterator[Listed]:
        last: str | None = None
        seen: set[str] = set()
        for _ in range(PAGES):
            page = self._page(last)
            yield from page.keys
            last = page.last
            if last is None:
                return
            if last in seen:
                break
            seen.add(last)
        raise errors.RetryLater("OpenAI's list of keys does not end")

    def _page(self, last: str | None) -> Page:
        family = self._family()
        query = {"limit": "100", **dict(family.filters), **({"after": last} if last else {})}
        what = f"list the keys {family.whose}"
        return self._ask("GET", family.keys, what, openai_keys.page, query=query)

    def _ask(
        self,
        method: str,
        path: str,
        what: str,
        read: Callable[[Any], T],
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> T:
        key = self._admin_key()
        by_admin_key = key.reveal().startswith(ADMIN_PREFIX)
        asked = Asked(what, method != "GET", self._credential, by_admin_key)
        outcome = self._line.send(method, path, key, query=query, body=body)
        if isinstance(outcome, Lost):
            raise _lost(outcome, asked)
        if not 200 <= outcome.status < 300:
            raise meaning(asked, outcome)
        try:
            return read(outcome.body)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
            failure = _senseless(outcome, asked)
        raise failure  # outside, so that the reply does not travel along as its context


def _lost(lost: Lost, asked: Asked) -> errors.ProviderFailed:
    what = f"no answer from OpenAI when asked to {asked.what}: {lost.why}"
    if lost.ours:
        hint = "compare admin_key, base_url and network in the configuration"
        return errors.Rejected(f"OpenAI was not asked to {asked.what}: {lost.why}", hint=hint)
    hint = "compare base_url, network.proxy and network.ca_bundle in the configuration"
    return no_answer(what, asked, sent=lost.sent, hint=None if lost.sent else hint)


def _senseless(answer: Answer, asked: Asked) -> errors.ProviderFailed:
    what = f"OpenAI's answer when asked to {asked.what} makes no sense"
    if answer.body is None:
        what += ": it is no JSON, so something in between may have answered"
    return no_answer(what, asked)
