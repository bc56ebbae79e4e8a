"""What this process holds: for each name the last that the agent said of it.

A `Held` knows whether it is still what lookups are answered, without asking: see `fresh`. While
nobody answers it stands in for the agent until its secret expires; never after a refusal, and
never once the page shows that another version was promoted, or that this one leaked or is dead.

Any thread may note an answer; reading takes no lock. A forked child goes on with what its parent
held.
"""

from __future__ import annotations

import os
from _thread import RLock
from time import monotonic, time_ns

from keyman.client.connection import is_remote, not_keyman
from keyman.client.page import BEAT, FRESH, TAG, WORD, mapped, place, standing
from keyman.errors import Error, NoUsableSecret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any, NoReturn

    from keyman.client.connection import Answer

FIELDS = (
    "name",
    "value",
    "version",
    "slot",
    "stage",
    "expires_at",
    "base_url",
    "provider",
    "principal",
    "quota_project",
)
NO_PAGE = (0, 0)  # words that show no generation
NO_END = 1 << 63  # ns


class Secret:
    """One version of a credential's secret and what goes with it. Shows no value when printed."""

    __slots__ = (*FIELDS[:5], "_expires_at", *FIELDS[6:])

    name: str
    value: str
    version: int
    slot: str | None
    stage: str
    base_url: str | None
    provider: str
    principal: str | None
    quota_project: str | None
    _expires_at: str | None

    def __init__(self, said: Any) -> None:
        if not isinstance(said, dict) or not isinstance(said.get("value"), str):
            raise not_keyman()
        for field, slot in zip(FIELDS, self.__slots__, strict=True):
            object.__setattr__(self, slot, said.get(field))

    @property
    def expires_at(self) -> datetime | None:
        """When the provider stops taking it (aware, UTC); None if it never does."""
        if self._expires_at is None:
            return None
        from datetime import datetime

        return datetime.fromisoformat(self._expires_at)

    def as_dict(self) -> dict[str, Any]:
        """The object of `keyman get --json`, the value included."""
        return {
            field: getattr(self, slot) for field, slot in zip(FIELDS, self.__slots__, strict=True)
        }

    def __setattr__(self, field: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __repr__(self) -> str:
        return f"<keyman.Secret {self.name!r} version {self.version} ···>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")


class Held:
    """One answer. Not changed once it is noted, so that it is read without a lock."""

    __slots__ = (
        "answer",
        "at",
        "by",
        "generation",
        "noted_at",
        "secret",
        "shown",
        "until",
        "unusable",
        "value",
        "words",
    )

    def __init__(self, by: tuple[str, ...]) -> None:
        self.by = by  #: the addresses of the agent that said so
        self.answer: Answer | None = None
        self.secret: Secret | None = None
        self.value = ""
        self.until = NO_END  #: ns of the wall clock
        self.unusable = False  #: the agent said that there is nothing to hand out
        self.words: Sequence[int] = NO_PAGE
        self.shown: tuple[str, int, bytes] | None = None  #: by whose page, in which entry, its tag
        self.at = 0
        self.generation = -1
        self.noted_at = 0.0

    def fresh(self) -> bool:
        """Whether a lookup would be answered the same now, as far as the page can tell."""
        now, words = time_ns(), self.words
        return (
            words[self.at] == self.generation
            and 0 <= now - words[BEAT] < FRESH
            and now < self.until
        )

    def stale(self) -> bool:
        """Whether there is a page, and its heart has stopped."""
        words = self.words
        return words is not NO_PAGE and not 0 <= time_ns() - words[BEAT] < FRESH

    def stands_in(self) -> bool:
        """Whether it may be used while nobody answers."""
        return self.secret is not None and time_ns() < self.until and not self.outdated()

    def outdated(self) -> bool:
        """Whether its page shows that it must not stand in, as far as it was ever on one."""
        if self.secret is None or self.shown is None:
            return False
        return self.secret.version != standing(*self.shown, self.words)

    def supersedes(self, last: Held, asked_at: float) -> bool:
        """Whether this answer, to a question asked then, is to be held instead of the last.

        Of two answers whose questions overlapped only the version tells which is newer; and a
        refusal is never taken back by a question that was under way.
        """
        if self.secret is None or asked_at > last.noted_at:
            return True
        return last.secret is not None and self.secret.version >= last.secret.version


def given(answer: Answer, by: tuple[str, ...]) -> Held:
    """What an answer with a secret amounts to."""
    held = Held(by)
    held.answer = answer
    held.secret = Secret(answer.said())
    held.value = held.secret.value
    ends = held.secret.expires_at
    if ends is not None:
        held.until = int(ends.timestamp()) * 1_000_000_000
    if not is_remote(answer.source):
        _find_on_the_page(held, answer)
    return held


def _find_on_the_page(held: Held, answer: Answer) -> None:
    entry, _, rest = answer.headers.get("keyman-generation", "").partition(".")
    generation, _, written = rest.partition(".")
    tag = _tag(written)
    if tag and _digits(entry) and _digits(generation):
        words = mapped(answer.source, int(entry), tag)
        if words is not None:
            held.words, held.at, held.generation = words, place(int(entry)), int(generation)
            held.shown = answer.source, int(entry), tag


def refused(by: tuple[str, ...], *, unusable: bool) -> Held:
    """What it amounts to if the agent refuses: nothing is held any more."""
    held = Held(by)
    held.unusable = unusable
    return held


def _tag(written: str) -> bytes | None:
    try:
        tag = bytes.fromhex(written)
    except ValueError:
        return None
    return tag if len(tag) == TAG * WORD else None


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


# All of it.

HELD: dict[str, Held] = {}

_writing = (os.getpid(), RLock())


def note(name: str, found: Held, asked_at: float) -> None:
    """Hold an answer to a question asked then. A refusal counts from when it came in."""
    with _lock():
        last = HELD.get(name)
        if last is None or found.supersedes(last, asked_at):
            found.noted_at = monotonic()
            HELD[name] = found


def _lock() -> RLock:
    """Reentrant, since a signal handler may ask while its thread notes. A child has its own: the
    thread that holds its parent's does not exist in it.
    """
    global _writing  # noqa: PLW0603
    if _writing[0] != os.getpid():
        _writing = (os.getpid(), RLock())
    return _writing[1]


def instead(name: str, by: tuple[str, ...], error: Error) -> Held:
    """What stands in for an agent that has not answered; raises `error` if nothing does.

    Raises NoUsableSecret if the last that is known is that there is nothing to hand out, or
    something else than what this process holds.
    """
    held = HELD.get(name)
    if held is None or held.by != by:
        raise error
    if held.stands_in():
        return held
    if held.unusable or held.outdated():
        what = f"{name}: what this process held was replaced or withdrawn, and nobody answers now"
        raise NoUsableSecret(what, hint=error.hint) from error
    raise error
