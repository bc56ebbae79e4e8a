"""One question of `init`: what is asked, what Enter takes, and what the answer amounts to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keyman.setting_up.answers import Answers
from keyman.setting_up.surroundings import Surroundings

Read = Callable[[str], Answers]


@dataclass(frozen=True, slots=True)
class Question:
    """`read` turns what is typed into answers, or raises ValueError with words that finish the
    sentence "that …".
    """

    key: str  #: what `--set` calls it
    text: str
    read: Read
    default: str | None = None  #: what Enter takes
    needed: bool = True  #: whether there must be an answer; else Enter may leave it as it is
    ask: bool = True
    remark: str = ""


Step = Callable[[Surroundings, Answers, Mapping[str, str]], Question | None]
"""From what lies around, the answers so far and the environment to a question, if one is left."""


def left_as_it_is(question: Question) -> Answers:
    """Of a question whose answer may be missing, and is."""
    return {question.key: None}


def checked(key: str, check: Callable[[str], str], typed: str) -> Answers:
    """The answer for a key that takes what was typed, if the check lets it pass."""
    return {key: check(typed)}
