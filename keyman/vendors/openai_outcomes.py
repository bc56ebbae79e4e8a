"""What an answer of OpenAI's Admin API means: the status decides, then code, parameter and words.

Pure: from an answer to one of our errors, each with the next move. It keeps no body. OpenAI's own
words are repeated only where they can't hold a secret, and never those of a 401, which echo a part
of the key that was sent. Its codes are documented in part only, so no decision rests on one alone
that a status could make.

    400 404 405 413 422  rejected; a refused expiry names the policy to change
    401 403              rejected: not an admin key, a scope is missing, or not from this address
    409                  not done: busy, or changed meanwhile
    429                  not done: again later, after what Retry-After says
    5xx 408 3xx          a change may have happened (unknown); a read is asked again later
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from keyman import errors

LONGEST_WAIT_SECONDS = 86_400.0
_WORD = re.compile(r"[A-Za-z0-9_.]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_]{1,80}")
_SCOPES = re.compile(r"[Mm]issing scopes?: ?([a-z_.]+(?:, ?[a-z_.]+)*)")
_ADDRESS = re.compile(r"\bip\b.{0,40}(authori[sz]ed|allow)|ip_not_", re.IGNORECASE)
_ENDED = "invalid|expired|revoked|disabled|deactivated"
_KEY_CODES = re.compile(rf"({_ENDED})_api_key|api_key_({_ENDED})|account_deactivated")
_KEY_ITSELF = re.compile(
    rf"(incorrect|provide|{_ENDED}).{{0,9}} api key|api key.{{0,9}} ({_ENDED})"
)
_OUR_IDS = r"['\"(]*(?:proj|svc_acct|key|org|user)[_-]"
_MAYBE_SECRET = re.compile(rf"\S*sk-\S*|(?<!\S)(?!{_OUR_IDS})[^\s]{{24,}}")


class Refused(errors.Rejected):
    """A definite no. `gone`: the API itself says that there is no such thing."""

    def __init__(self, message: str, *, hint: str, gone: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for sentences: `to make a key`; for whom; and with what kind of a key."""

    what: str
    changes: bool
    credential: str
    by_admin_key: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the headers in small letters, and the JSON that came with it, if it is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any = None

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error as OpenAI words it; None if somebody in between has answered."""
        told = self.body.get("error") if isinstance(self.body, dict) else None
        return told if isinstance(told, dict) else None

    def _said(self, name: str) -> str:
        value = (self.error or {}).get(name)
        return value if isinstance(value, str) else ""

    @property
    def code(self) -> str:
        return self._said("code")

    @property
    def kind(self) -> str:
        return self._said("type")

    @property
    def param(self) -> str:
        return self._said("param")

    @property
    def message(self) -> str:
        return self._said("message")

    @property
    def missing_scopes(self) -> str:
        """`api.management.write`, or nothing. Told in words only, and as 401 as well as 403."""
        found = _SCOPES.search(self.message)
        return found[1].strip(".") if found else ""

    @property
    def about_our_address(self) -> bool:
        return bool(_ADDRESS.search(f"{self.code} {self.message}"))

    @property
    def about_the_key_itself(self) -> bool:
        """Does a 401 say that this key is none? It is used for much else."""
        said = _KEY_CODES.fullmatch(self.code) or _KEY_ITSELF.search(self.message.lower())
        return self.status == 401 and said is not None

    @property
    def retry_after(self) -> float | None:
        """Seconds; None if nothing readable is said."""
        if (exact := _number(self.headers.get("retry-after-ms"))) is not None:
            return min(exact / 1000, LONGEST_WAIT_SECONDS)
        text = self.headers.get("retry-after", "")
        if (seconds := _number(text)) is not None:
            return min(seconds, LONGEST_WAIT_SECONDS)
        until, now = _time(text), _time(self.headers.get("date"))
        if until is None or now is None:
            return None
        return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)

    def sentence(self, asked: Asked) -> str:
        """`OpenAI refused to make a key: 400 expiration_too_long (words), request req_1`."""
        code = f" {self.code}" if _WORD.fullmatch(self.code) else ""
        said = f" ({words})" if (words := self._words()) else ""
        request = self.headers.get("x-request-id", "")
        by = f", request {request}" if _REQUEST_ID.fullmatch(request) else ""
        return f"OpenAI refused to {asked.what}: {self.status}{code}{said}{by}"

    def _words(self) -> str:
        """The service's own words, shortened; of a 401 only the scopes."""
        if self.missing_scopes:
            return f"missing scopes: {self.missing_scopes}"
        if self.status == 401 or not self.message or "<" in self.message:
            return ""
        # Cut afterwards: what is left of a long word would look like none.
        return _MAYBE_SECRET.sub("···", " ".join(self.message.split()))[:160].rstrip(".")


def meaning(asked: Asked, answer: Answer) -> errors.ProviderFailed:
    """Our error for an answer that is not a success."""
    what, status = answer.sentence(asked), answer.status
    if status == 409:
        return errors.RetryLater(what, hint="nothing to do: keyman looks and tries again")
    if status == 429:
        return errors.RetryLater(what, hint=_throttled(answer), retry_after=answer.retry_after)
    if answer.param == "after" and not asked.changes:  # the key that ended a page was deleted
        return errors.RetryLater(what, hint="nothing to do: keyman lists the keys again")
    if 400 <= status < 500 and status != 408:
        gone = status == 404 and answer.error is not None
        return Refused(what, hint=_why(asked, answer), gone=gone)
    if 300 <= status < 400:
        return _redirected(what, asked)
    return no_answer(what, asked, hint=_PORTAL if status == 511 else None)


def no_answer(
    what: str, asked: Asked, *, sent: bool = True, hint: str | None = None
) -> errors.ProviderFailed:
    """The answer was lost, broken or senseless. A change that was sent may have happened."""
    if asked.changes and sent:
        return errors.Unknown(what, hint=hint)
    return errors.RetryLater(what, hint=hint or "nothing to do: keyman asks again later")


def _redirected(what: str, asked: Asked) -> errors.ProviderFailed:
    hint = "keyman follows no redirect: correct `base_url`"
    return errors.Unknown(what, hint=hint) if asked.changes else errors.Rejected(what, hint=hint)


def _throttled(answer: Answer) -> str:
    if "quota" in f"{answer.code} {answer.kind}":
        return "the organization's credit is used up: add some in OpenAI's billing settings"
    return "nothing to do: keyman waits as long as it was told to"


def _why(asked: Asked, answer: Answer) -> str:
    """The next move after a definite no."""
    if answer.error is None:
        return (
            "that is no answer of OpenAI's but of something in between: look at `base_url`,"
            " network.proxy, and the firewall of this network"
        )
    if answer.missing_scopes:
        return _scopes_wanted(asked, answer)
    if answer.about_our_address:
        return (
            "this machine's address is not on the IP allowlist of the organization or project:"
            " add it in OpenAI's security settings (it takes effect within 15 minutes)"
        )
    if "country" in answer.code or "region" in answer.code:
        return "OpenAI serves no calls from here: let keyman run where it does, or set a proxy"
    if answer.status == 401:
        return _not_accepted(asked)
    if answer.param == "expires_in_seconds" or "expir" in answer.code:
        return (
            "the organization or project limits how long a key may live: shorten policy.lifetime"
            f" of {asked.credential} (and rotate_before, overlap to match)"
        )
    if "limit" in answer.code:
        return "delete keys of the service account that nobody uses, in OpenAI's dashboard"
    if answer.status == 404:
        return (
            "compare project_id and service_account_id with OpenAI's dashboard; the admin key must"
            " be of the same organization, and the project not archived"
        )
    return f"compare {asked.credential} in the configuration with what OpenAI allows"


def _scopes_wanted(asked: Asked, answer: Answer) -> str:
    want = (
        f"the admin key lacks {answer.missing_scopes}: `keyman policy {asked.credential}` says what"
        " it needs"
    )
    return want if asked.by_admin_key else f"{want}; {_WRONG_KIND}"


def _not_accepted(asked: Asked) -> str:
    if not asked.by_admin_key:
        return _WRONG_KIND
    return (
        "the admin key is not accepted: was it deleted, did it expire, or is it of another"
        " organization? `keyman policy` says how one is made"
    )


_PORTAL = (  # 511, Network Authentication Required, is no answer of any other server
    "a captive portal answers in OpenAI's place: sign in to the network, or let a proxy lead out of"
    " it (network.proxy); keyman looks and asks again"
)
_WRONG_KIND = (
    "what is configured as admin_key does not begin with sk-admin-: keys of projects and of service"
    " accounts can't manage keys"
)


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text) else None


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        read = parsedate_to_datetime(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
