"""What applications call: the current secret of a credential, at memory speed.

    get(name) ─ what this process holds, if the page says that it still holds ─ str
              └ else one question to the agent, which is held from then on
                 └ nobody answers: what this process holds, until it expires or is outdated

A promotion is seen by the very next call, since the agent changes the page at that instant. There
is no time to live, no thread and no socket on that way.
"""

from __future__ import annotations

from time import monotonic, time_ns

from keyman import errors
from keyman.client import asking
from keyman.client.asking import TIMEOUT
from keyman.client.connection import Answer, Silent, not_keyman
from keyman.client.held import HELD, Held, Secret, given, instead, note, refused
from keyman.client.page import BEAT, FRESH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-")
REFUSALS = (errors.NotFound, errors.NotAllowed, errors.NoUsableSecret)
STALE_PATIENCE = 1.0  # seconds for an agent without a heartbeat, where what is held would do
REMEMBERED = 4096  # names
HUNG_FOR = 5.0  # seconds that an agent who let us wait in vain is left alone then


def get(name: str) -> str:
    """The current secret of the credential.

    Raises NotFound, NotAllowed, NoUsableSecret or NotRunning (nobody answers, and this process
    holds nothing that is still valid).
    """
    held = HELD.get(name)
    if held is not None:
        # Held.fresh, written out: the call would take as long as what it does.
        now, words = time_ns(), held.words
        if (
            words[held.at] == held.generation
            and 0 <= now - words[BEAT] < FRESH
            and now < held.until
        ):
            return held.value
    return _asked(name).value


def secret(name: str, *, previous: bool = False) -> Secret:
    """The current secret and what goes with it; raises as `get` does.

    With `previous`, the version before it while that is still valid: always one question.
    """
    if previous:
        return Secret(lookup(name, stage="previous"))
    found = current(name) or _asked(name).secret
    assert found is not None, "what is returned from asking is never a refusal"
    return found


def current(name: str) -> Secret | None:
    """What this process holds, if it is sure that it is current; never asks, never waits."""
    held = HELD.get(name)
    return held.secret if held is not None and held.fresh() else None


def lookup(name: str, *, stage: str = "current", timeout: float = TIMEOUT) -> dict[str, Any]:
    """The object of `keyman get --json` as the agent answers it now; raises as `get` does.

    Nothing that this process holds stands in for an agent that is away, and none is waited for
    longer than `timeout` (seconds).
    """
    answer = _answered(asking.lookup(_path(name, stage), patience=timeout))
    said = answer.said()
    if not isinstance(said, dict):
        raise not_keyman()
    return dict(said)


class provider:  # noqa: N801 used like a function: `OpenAI(api_key=keyman.provider("genai"))`
    """A callable that gives the current secret of one credential each time it is called."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> str:
        return get(self.name)

    async def aio(self) -> str:
        """The same for those who await it: only a question is asked in a worker thread."""
        return (await secret_aio(self.name)).value

    def __repr__(self) -> str:
        return f"keyman.provider({self.name!r})"


async def secret_aio(name: str) -> Secret:
    """`secret` for those who must not hold up their loop."""
    found = current(name)
    if found is not None:
        return found
    import asyncio

    return await asyncio.to_thread(secret, name)


# A question.

_hung: dict[tuple[str, ...], tuple[float, int]] = {}  # whom → until when, and its heartbeat then


def _asked(name: str) -> Held:
    """What the agent says now, or what this process holds if it does not answer."""
    path = _path(name, "current")
    by = asking.addresses()
    held = HELD.get(name)
    would_do = held is not None and held.by == by and held.stands_in()
    if held is not None and would_do and _hangs(held):
        return held
    patience = STALE_PATIENCE if held is not None and would_do and held.stale() else TIMEOUT
    asked_at = monotonic()
    try:
        answer = _answered(asking.lookup(path, patience=patience))
    except REFUSALS as error:
        # The agent has spoken: what this process holds must not outlive that.
        unusable = isinstance(error, errors.NoUsableSecret)
        if unusable or name in HELD:
            note(name, refused(by, unusable=unusable), asked_at)
        raise
    except errors.UsageError:  # it is not the agent's fault
        raise
    except errors.Error as error:
        try:
            held = instead(name, by, error)
        except errors.NoUsableSecret:
            if would_do:
                return _asked(name)  # somebody has begun to serve since nobody was there
            raise
        if isinstance(error, Silent):
            _hung[by] = (monotonic() + HUNG_FOR, held.words[BEAT])
        return held
    if held is not None and held.answer is answer:
        return held
    found = given(answer, by)
    note(name, found, asked_at)
    return found


def _hangs(held: Held) -> bool:
    """Whether the agent has let us wait in vain and shown no sign of life since."""
    until, beat = _hung.get(held.by, (0.0, 0))
    return monotonic() < until and held.words[BEAT] == beat


def _answered(answer: Answer) -> Answer:
    """The answer, unless it stands for an error: that is raised."""
    if answer.status == 200:
        return answer
    try:
        asking.checked(answer.status, answer.said())
    except errors.NoUsableSecret as error:
        wait = answer.headers.get("retry-after", "")
        error.retry_after = float(wait) if wait.isdigit() else None
        raise
    raise not_keyman()


_paths: dict[tuple[str, str], str] = {}


def _path(name: str, stage: str) -> str:
    """The lookup's path. A name that can't be one is a name that nobody has."""
    path = _paths.get((name, stage))
    if path is None:
        if not 0 < len(name) <= 63 or name[0] in "_-" or not NAME_LETTERS.issuperset(name):
            raise errors.NotFound(f"no credential {name!r}")
        path = f"/api/v1/secrets/{name}{'' if stage == 'current' else f'?stage={stage}'}"
        if len(_paths) >= REMEMBERED:
            _paths.clear()
        _paths[name, stage] = path
    return path
