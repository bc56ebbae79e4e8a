"""Questions that are the same for every kind: does what we rely on still hold, and still work?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from keyman import errors
from keyman.checkup.finding import Finding, failed
from keyman.core.model import Credential, Observed, Stage, Verdict
from keyman.core.situation import Situation
from keyman.performer import Managed
from keyman.views import time_text


@dataclass(frozen=True, slots=True)
class Moves:
    """What a person can do about it, where that depends on the kind. `{name}` is filled in."""

    refused: str
    forbidden: str
    anew: str  #: how to get another secret


def look(managed: Managed, c: Credential, now: datetime) -> Observed | Finding | None:
    """What the provider shows of the keys that matter; a finding if it can't be asked."""
    try:
        return managed.provider.observe(Situation(c, None, now).handles, now)
    except errors.ProviderFailed as error:
        return failed(error, c.name)


def drift(s: Situation) -> Iterator[Finding]:
    """Where the provider's picture speaks against what we hand out."""
    for v in s.c.all_at(Stage.CURRENT, Stage.PREVIOUS):
        against = s.contradiction(v)
        others = f"{s.other_owner} drives the key" if s.other_owner else None
        mended = others or "keyman replaces what is dead by itself"
        if against:
            yield Finding(
                "error" if v.stage is Stage.CURRENT else "warning",
                "drift",
                f"version {v.number} ({v.stage}): {against}",
                f"someone changed it at the provider; {mended}",
                s.c.name,
                v.slot,
            )


def troubles(c: Credential, now: datetime) -> Iterator[Finding]:
    """What keeps a rotation from going on, by the record: what failed, what was given up."""
    s, current = Situation(c, None, now), c.current
    if current is not None and not current.stored:
        message = f"version {current.number} is not in its store any more: nothing is handed out"
        hint = (
            f"`keyman store copy`, if it rests in another store; else `keyman {_anew(c)} {c.name}`"
        )
        yield Finding("error", "lost", message, hint, c.name, current.slot)
    until, retry = s.rest_after_giving_up(), f"keyman rotate {c.name} tries at once"
    compare = f"compare with: keyman policy {c.name}; {retry}"
    if until is not None:
        what = f"new versions came to nothing, the last because {s.last_given_up}"
        message = f"{what}; the next is asked for at {time_text(until)}"
        yield Finding("error", "gave_up", message, compare, c.name)
    if c.failures and c.last_error and not s.given_up_for_good:
        again = f"; again at {time_text(c.retry_at)}" if c.retry_at else ""
        message = f"failed {c.failures} times: {c.last_error}{again}"
        yield Finding("warning", "failing", message, c.last_hint or retry, c.name)


def _anew(c: Credential) -> str:
    return "rotate" if c.spec.issues else "put"


def inference(managed: Managed, c: Credential, now: datetime, moves: Moves) -> Iterator[Finding]:
    """Is the current secret accepted where applications use it?"""
    current = c.current
    if current is None:
        return

    def finding(severity: str, code: str, message: str, hint: str) -> Finding:
        return Finding(severity, code, message, hint.format(name=c.name), c.name, current.slot)

    if current.expired(now):
        yield finding("error", "expired", f"version {current.number} expired", moves.anew)
        return
    try:
        secret = managed.read(current)
    except errors.StoreFailed as error:
        yield Finding("error", "store_failed", error.message, error.hint, c.name, current.slot)
        return
    if secret is None:
        if managed.store.durable:  # else only the daemon's own memory has it
            message = f"the secret of version {current.number} is not in the store"
            yield finding("error", "secret_missing", message, moves.anew)
    elif c.spec.probes:
        said = _verdict(managed.provider.verify(secret), moves)
        yield from [finding(*said)] if said else []


def _verdict(verdict: Verdict, moves: Moves) -> tuple[str, str, str, str] | None:
    match verdict:
        case Verdict.REFUSED:
            what = "inference refuses the current secret (401)"
            return "error", "refused", what, moves.refused
        case Verdict.FORBIDDEN:
            what = "inference knows the current secret but does not let it call the model"
            return "error", "forbidden", what, moves.forbidden
        case Verdict.SILENT:
            what = "inference gave no verdict on the current secret"
            hint = "check base_url, network.proxy and network.ca_bundle"
            return "warning", "no_verdict", what, hint
    return None
