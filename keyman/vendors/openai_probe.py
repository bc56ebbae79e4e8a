"""Is this key accepted? Asked of OpenAI in the cheapest way: the list of models costs nothing.

A 401 has many causes there, and only some speak of the key itself: others name a missing scope or
an address that is not allowed, and say no word against the key. Taken for a dead key they would
have a good one thrown away, so REFUSED is what the key itself is refused for, and nothing else.

    200               accepted, if it is the list that was asked for
    429               accepted: the key was known before it was counted; so is "quota exhausted"
    401 403           accepted if all that is missing is the scope of this very question,
                      refused if the key itself is, else forbidden
    anything else     silent: it proves nothing
"""

from __future__ import annotations

from dataclasses import dataclass

from keyman.core.model import Secret, Verdict
from keyman.vendors.openai_calls import Line, Lost
from keyman.vendors.openai_outcomes import Answer

_COUNTED = {"rate_limit_exceeded", "insufficient_quota", "requests", "tokens"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for, and the scope it takes where that need not be there."""

    path: str
    scope: str | None = None


MODELS = Question("/models", "api.model.read")
ADMIN_KEYS = Question("/organization/admin_api_keys")


def verdict(line: Line, question: Question, secret: Secret) -> Verdict:
    """What OpenAI says of the secret; SILENT for anything that proves nothing. Never raises."""
    seen = line.send("GET", question.path, secret)
    return Verdict.SILENT if isinstance(seen, Lost) else meaning(question, seen)


def meaning(question: Question, answer: Answer) -> Verdict:
    """The verdict that follows from one answer."""
    if answer.status == 200:
        listed = isinstance(answer.body, dict) and isinstance(answer.body.get("data"), list)
        return Verdict.ACCEPTED if listed else Verdict.SILENT
    if answer.error is None:
        return Verdict.SILENT  # a page of somebody in between
    if answer.status == 429:
        counted = {answer.code, answer.kind} & _COUNTED
        return Verdict.ACCEPTED if counted else Verdict.SILENT
    if answer.status not in (401, 403):
        return Verdict.SILENT
    if question.scope and answer.missing_scopes == question.scope:
        return Verdict.ACCEPTED
    return Verdict.REFUSED if answer.about_the_key_itself else Verdict.FORBIDDEN
