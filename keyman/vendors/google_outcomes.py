"""What an answer on the way to a Google token means: a token, or one of our errors.

Pure: from status, headers and body to values. google-auth's own word on what may be tried again
is not to be trusted (it takes a lost line and a server in trouble for final), so it is not asked.
No body is kept in an error.

    200 with a token that lives          that
    200 without one; page; redirect; 511 later: somebody is in between, or Google is in trouble
    408 429 5xx                          later, after what Retry-After says
    400 401 403 404                      rejected, if the reason is one that stays
    anything else                        later

To ask for a token again does no harm, so nothing is ever unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from keyman import errors
from keyman.core.model import Secret
from keyman.vendors.google_refusals import Asked, Hop, next_move, refusal

LONGEST_LIFE_SECONDS = 86_400.0  # Google's longest is half of that
LONGEST_WAIT_SECONDS = 86_400.0
NOTHING_TO_DO = "nothing to do: keyman asks again, and serves the old token while it lives"
_DEFINITE = {400, 401, 403, 404}
_PORTALS = 511  # Network Authentication Required: what only a captive portal answers
_SAME_TIME_SECONDS = 60.0  # Google allows for that much and more
_TOKEN = re.compile(r"[!-~]{8,16384}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, in the shape that google-auth reads; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes = field(repr=False)
    asked_at: datetime  #: by our clock, when the question was sent

    @property
    def date(self) -> datetime | None:
        """When it was answered, by the other side's clock."""
        return _date(self.headers.get("date"))

    @property
    def retry_after(self) -> float | None:
        """Seconds; None if nothing readable is said."""
        text = self.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return min(float(text), LONGEST_WAIT_SECONDS)
        until, now = _date(text), self.date
        if until is None or now is None:
            return None
        return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)


@dataclass(frozen=True, slots=True)
class Told:
    """A token. `legible` is the answer as google-auth can read it: in whole seconds."""

    secret: Secret
    expires_at: datetime
    legible: bytes = field(repr=False)


def meaning(asked: Asked, answer: Answer) -> errors.ProviderFailed:
    """Our error for an answer that is not a success."""
    status, body = answer.status, _json(answer.data)
    said = refusal(body)
    what = f"{asked.hop} refused: {status} {said}".rstrip()
    if status in (408, 429) or (status >= 500 and status != _PORTALS):
        return errors.RetryLater(what, hint=NOTHING_TO_DO, retry_after=answer.retry_after)
    of_google = asked.hop not in (Hop.METADATA, Hop.SUBJECT)
    if status < 400 or status == _PORTALS or (of_google and body is None):
        return _in_between(asked, status)
    if asked.hop is Hop.METADATA and not _flavoured(answer):
        return _no_metadata_server(asked)
    if status not in _DEFINITE or (of_google and not said.final):
        return errors.RetryLater(what, hint=NOTHING_TO_DO)
    if said.too_early_or_late:
        return _about_clocks(what, answer)
    return errors.Rejected(what, hint=next_move(asked, said))


def told(asked: Asked, answer: Answer) -> Told | errors.ProviderFailed:
    """The token in a 200, or our error if there is none that lives."""
    body = _json(answer.data)
    if body is None:
        return _in_between(asked, answer.status)
    if asked.hop is Hop.METADATA and not _flavoured(answer):
        return _no_metadata_server(asked)
    value = body.get("accessToken" if asked.hop is Hop.IMPERSONATE else "access_token")
    life = _life(asked, answer, body)
    if not isinstance(value, str) or not _TOKEN.fullmatch(value) or life is None or life < 1:
        what = f"{asked.hop} answered 200 without a token that lives {refusal(body)}".rstrip()
        return errors.RetryLater(what, hint=NOTHING_TO_DO)
    ends = (answer.asked_at + timedelta(seconds=life)).replace(microsecond=0)
    return Told(Secret(value), ends, _legible(asked, body, ends, life))


def _life(asked: Asked, answer: Answer, body: dict[str, Any]) -> float | None:
    """Seconds from the question on; None if the answer does not say, or nothing sensible."""
    if asked.hop is not Hop.IMPERSONATE:
        return _seconds(body.get("expires_in"))
    ends = _time(body.get("expireTime"))
    if ends is None:
        return None
    if answer.date is None:
        left = (ends - answer.asked_at).total_seconds()
        return left if left <= LONGEST_LIFE_SECONDS else None
    # A moment by Google's clock: what is left of it by that clock counts by ours, but for the
    # fraction of a second that a date leaves out.
    left = (ends - answer.date).total_seconds() - 1
    return min(left, asked.seconds)


def _legible(asked: Asked, body: dict[str, Any], ends: datetime, life: float) -> bytes:
    """google-auth fails at fractions of a second; the rest it may want to read, too."""
    if asked.hop is Hop.IMPERSONATE:
        return json.dumps({**body, "expireTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}).encode()
    return json.dumps({**body, "expires_in": int(life)}).encode()


def _in_between(asked: Asked, status: int) -> errors.RetryLater:
    """A page or a redirect where JSON was to be."""
    sure = status == _PORTALS
    who = "a captive portal: 511" if sure else f"perhaps a captive portal: {status} without JSON"
    return errors.RetryLater(
        f"{asked.hop} is answered for by somebody else, {who}",
        hint="sign in to the network, or let its proxy lead to Google (network.proxy); keyman asks"
        " again",
    )


def _no_metadata_server(asked: Asked) -> errors.Rejected:
    return errors.Rejected(
        f"what answers instead of {asked.hop} is not Google's (no Metadata-Flavor)",
        hint="does keyman run on Google Cloud? elsewhere take another kind of `source`",
    )


def _about_clocks(what: str, answer: Answer) -> errors.Rejected:
    ours, theirs = answer.asked_at, answer.date
    if theirs is None:
        return errors.Rejected(what, hint="set this machine's clock: Google finds it too far off")
    ahead = (ours - theirs).total_seconds()
    side = "ahead of" if ahead > 0 else "behind"
    hint = f"set this machine's clock: it is {abs(ahead):.0f} s {side} Google's"
    if abs(ahead) < _SAME_TIME_SECONDS:
        hint = (
            "both clocks agree by now: if this machine's was just set, or it slept, the next try"
            " does; else have a new key made for its file"
        )
    return errors.Rejected(
        f"{what}; it is {theirs:%Y-%m-%dT%H:%M:%SZ} there and {ours:%Y-%m-%dT%H:%M:%SZ} here",
        hint=hint,
    )


def _flavoured(answer: Answer) -> bool:
    return answer.headers.get("metadata-flavor") == "Google"


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    return body if isinstance(body, dict) else None


def _seconds(value: object) -> float | None:
    """A number, or the text of one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if seconds <= LONGEST_LIFE_SECONDS else None


def _time(value: object) -> datetime | None:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return read if read is None or read.tzinfo else read.replace(tzinfo=UTC)


def _date(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        read = parsedate_to_datetime(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
