"""What an answer of an OCI service means: the status decides, then the code.

Pure: from status, code and headers to one of our errors, each with the next move. It imports no
SDK, keeps no body, and repeats of the service's own words only what can't be a secret. The same
service has been seen to write `404` and `NotAuthorizedOrNotFound` into one field, so no decision
rests on a code alone that a status could make.

    400 413 422 405  rejected; LimitExceeded and QuotaExceeded name the limit
    401              rejected: our own credentials or clock
    403 404          rejected: no such thing, or no permission; OCI does not say which
    409 412          retry later: busy, or changed meanwhile; the caller looks again
    429              retry later, after what Retry-After says; so is 503 if it says when
    5xx 408 3xx      a change may have happened (unknown); a read is asked again later
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from keyman import errors

MAX_SKEW_SECONDS = 300  # OCI refuses signatures that are older or younger
LONGEST_WAIT_SECONDS = 86_400.0
LIMITS = {"LimitExceeded", "QuotaExceeded"}
_WORD = re.compile(r"[A-Za-z0-9]{1,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9/_-]{1,120}")
_MAYBE_SECRET = re.compile(r"\S*sk-\S*|(?<!\S)(?!ocid1\.)[^\s]{24,}")


class Refused(errors.Rejected):
    """A definite no, with the status it came as, and the code if there was one."""

    def __init__(self, message: str, *, hint: str, status: int, reason: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class Collided(errors.RetryLater):
    """409 or 412: not done, because of what the resource is or has become meanwhile."""

    def __init__(self, message: str, *, hint: str, status: int, reason: str | None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, for sentences: `to renew key-two`; and who may be allowed to, for hints."""

    what: str
    changes: bool
    permission: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A status other than 2xx and what came with it."""

    status: int
    code: str | None
    message: str | None
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        """Status and code, e.g. `409 IncorrectState`."""
        told = self.code and self.code != str(self.status) and _WORD.fullmatch(self.code)
        return f"{self.status} {self.code}" if told else str(self.status)

    @property
    def retry_after(self) -> float | None:
        """Seconds; None if the service says nothing readable."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return min(float(text), LONGEST_WAIT_SECONDS)
        until, now = _time(text), _time(self.headers.get("date"))
        if until is None or now is None:
            return None
        return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)

    def skew(self, now: datetime) -> float:
        """How many seconds our clock is ahead of the service's; 0 if it doesn't tell."""
        return ahead(self.headers.get("date"), now) or 0.0

    def sentence(self, asked: Asked) -> str:
        """`OCI refused to renew key-two: 409 IncorrectState (words), request A1B2`."""
        said = f" ({words})" if (words := _words(self)) else ""
        request = self.headers.get("opc-request-id", "")
        by = f", request {request}" if _REQUEST_ID.fullmatch(request) else ""
        return f"OCI refused to {asked.what}: {self.name}{said}{by}"


def ahead(date: str | None, now: datetime) -> float | None:
    """How many seconds `now` is ahead of a Date header; None if that is none."""
    theirs = _time(date)
    return (now - theirs).total_seconds() if theirs else None


def meaning(asked: Asked, answer: Answer, now: datetime) -> errors.ProviderFailed:
    """Our error for an answer that is not a success."""
    what, status = answer.sentence(asked), answer.status
    if status == 401:
        return Refused(what, hint=_who_are_you(answer, now), status=status)
    if status in (403, 404):
        return Refused(what, hint=_missing_or_forbidden(asked), status=status, reason=answer.code)
    if status in (409, 412):
        hint = "nothing to do: keyman looks what is there and tries again"
        return Collided(what, hint=hint, status=status, reason=answer.code)
    if status == 429 or (status == 503 and answer.retry_after is not None):
        hint = "nothing to do: keyman waits as long as it was told to"
        return errors.RetryLater(what, hint=hint, retry_after=answer.retry_after)
    if 400 <= status < 500 and status != 408:
        return Refused(what, hint=_bad_request(answer), status=status, reason=answer.code)
    if 300 <= status < 400:
        return _redirected(what, asked)
    return no_answer(what, asked)


def no_answer(
    what: str, asked: Asked, *, sent: bool = True, hint: str | None = None
) -> errors.ProviderFailed:
    """The answer was lost, broken or senseless. A change that was sent may have happened."""
    if asked.changes and sent:
        return errors.Unknown(what, hint=hint)
    return errors.RetryLater(what, hint=hint or "nothing to do: keyman asks again later")


def _redirected(what: str, asked: Asked) -> errors.ProviderFailed:
    hint = "keyman follows no redirect: correct `endpoint`, or remove it to use the region's"
    return errors.Unknown(what, hint=hint) if asked.changes else errors.Rejected(what, hint=hint)


def _who_are_you(answer: Answer, now: datetime) -> str:
    skew = answer.skew(now)
    if abs(skew) > MAX_SKEW_SECONDS:
        side = "ahead of" if skew > 0 else "behind"
        return f"set this machine's clock: it is {abs(skew):.0f} s {side} OCI's, 300 are allowed"
    return (
        "keyman's own credentials are not accepted: is the public key still uploaded for the user"
        " and fingerprint of this profile, or has the session or token ended?"
    )


def _missing_or_forbidden(asked: Asked) -> str:
    return (
        "OCI gives one answer for two causes. Either it does not exist in this region and"
        " compartment (compare api_key_id, compartment_id and region), or keyman may not see it:"
        f" add the IAM statement `{asked.permission}`"
    )


def _bad_request(answer: Answer) -> str:
    if answer.code in LIMITS:
        return (
            "a tenancy may hold 100 API keys unless the limit api-key-count was raised: delete"
            " unused ones (`keyman discover` lists them) or request more in the console"
        )
    return "compare slots, lifetime and names in the configuration with what OCI allows"


def _words(answer: Answer) -> str:
    """The service's own words, shortened; nothing if it is a page rather than a sentence."""
    if answer.code is None or not answer.message or "<" in answer.message:
        return ""
    # Cut afterwards: what is left of a long word would look like none.
    return _MAYBE_SECRET.sub("···", " ".join(answer.message.split()))[:160].rstrip(".")


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        read = parsedate_to_datetime(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
