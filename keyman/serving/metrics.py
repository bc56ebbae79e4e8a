"""`GET /metrics`: what is counted, in the text format of Prometheus (0.0.4).

Everything in it is read from memory: a scrape asks neither the journal nor a store. It speaks of
every credential, so it is for those who may look up all of them (refusals.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from platform import python_version
from typing import Protocol

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from keyman import __version__
from keyman.core.health import Health
from keyman.errors import Error
from keyman.meter import Figures, Meter, Told
from keyman.serving.answers import Gives
from keyman.serving.snapshot import Ready, Snapshot

KIND = "text/plain; version=0.0.4; charset=utf-8"
GIVES = Gives(None, kinds=("text/plain",))
ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Door(Protocol):
    """What the agent counts while it answers."""

    @property
    def connections(self) -> int: ...
    @property
    def lookups(self) -> dict[str, int]:
        """Kind of lookup → how many were answered."""

    def taken(self, name: str) -> list[int]:
        """The versions of that name that connected clients took last."""


@dataclass(frozen=True, slots=True)
class Sample:
    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""  #: of the family's name


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str  #: gauge | counter | summary
    help: str
    samples: Iterable[Sample]


class Metrics:
    """`door` is set by who serves: what is counted there is left out before."""

    def __init__(
        self, meter: Meter, snapshot: Snapshot, names: Callable[[], Iterable[str]]
    ) -> None:
        self._meter = meter
        self._snapshot = snapshot
        self._names = names
        self.door: Door | None = None

    async def scrape(self) -> Response:
        """Figures for Prometheus."""
        said = await run_in_threadpool(self._said)
        return Response(said, headers={"content-type": KIND, "cache-control": "no-store"})

    def health(self) -> list[str]:
        """The word that `keyman status` shows of each credential."""
        figures = self._meter.read()
        return [_word(figures, name, self._current(name)) for name in self._names()]

    def _said(self) -> bytes:
        figures = self._meter.read()
        return exposed([*self._of_the_agent(figures), *self._of_credentials(figures)])

    def _of_the_agent(self, figures: Figures) -> Iterator[Family]:
        build = ("version", __version__), ("python", python_version())
        yield Family("keyman_up", "gauge", "1 while the daemon answers.", [Sample(1)])
        yield Family("keyman_build_info", "gauge", "What is running.", [Sample(1, build)])
        turn = [Sample(figures.last_turn.timestamp())] if figures.last_turn else []
        yield Family(
            "keyman_last_turn_timestamp_seconds",
            "gauge",
            "When a credential last came to the end of a turn.",
            turn,
        )
        failed = "Turns that came to no end, because of the journal or a fault of keyman's own."
        count = [Sample(figures.turns_failed)]
        yield Family("keyman_turns_failed_total", "counter", failed, count)
        yield from _of_the_door(self.door) if self.door else ()
        yield from _of_providers(figures)
        yield from _of_the_told(figures)

    def _of_credentials(self, figures: Figures) -> Iterator[Family]:
        current = {name: self._current(name) for name in self._names()}
        usable = {name: ready for name, ready in current.items() if ready}
        yield Family(
            "keyman_credential_expiry_timestamp_seconds",
            "gauge",
            "When the current secret expires; absent if it never does, or there is none.",
            [
                Sample(ready.until.timestamp(), (("credential", name),))
                for name, ready in usable.items()
                if ready.until
            ],
        )
        yield Family(
            "keyman_credential_version",
            "gauge",
            "Number of the current version; absent while there is none.",
            [Sample(ready.version, (("credential", name),)) for name, ready in usable.items()],
        )
        yield Family(
            "keyman_credential_health",
            "gauge",
            "1 for the word that says how the credential is, 0 for the others.",
            _of_health({name: _word(figures, name, ready) for name, ready in current.items()}),
        )
        yield Family(
            "keyman_rotations_total",
            "counter",
            "New versions since the daemon started: promoted, or given up before that.",
            [
                Sample(count, (("credential", name), ("outcome", outcome)))
                for (name, outcome), count in sorted(figures.rotations.items())
            ],
        )

        yield Family(
            "keyman_mirror_behind",
            "gauge",
            "1 while a store that follows the credential does not show what it should.",
            [
                Sample(behind, (("credential", name), ("store", store)))
                for (name, store), behind in sorted(figures.behind.items())
            ],
        )

    def _current(self, name: str) -> Ready | None:
        try:
            return self._snapshot.look_up(name)
        except Error:
            return None


def _of_the_door(door: Door) -> Iterator[Family]:
    what = "Connections of those who may ask."
    yield Family("keyman_agent_connections", "gauge", what, [Sample(door.connections)])
    yield Family(
        "keyman_lookups_total",
        "counter",
        "Lookups that came to the agent; those that clients answer from memory do not.",
        [Sample(count, (("kind", kind),)) for kind, count in sorted(door.lookups.items())],
    )


def _of_providers(figures: Figures) -> Iterator[Family]:
    yield Family(
        "keyman_provider_calls_total",
        "counter",
        "Steps that asked a provider.",
        [
            Sample(count, (("provider", kind), ("step", step), ("outcome", outcome)))
            for (kind, step, outcome), count in sorted(figures.calls.items())
        ],
    )
    spent = []
    for (kind, step), sum_ in sorted(figures.spent.items()):
        labels = (("provider", kind), ("step", step))
        spent += [Sample(sum_.seconds, labels, "_sum"), Sample(sum_.times, labels, "_count")]
    what = "How long those steps took, storing and reading back included."
    yield Family("keyman_provider_call_duration_seconds", "summary", what, spent)


def _of_the_told(figures: Figures) -> Iterator[Family]:
    told = sorted(figures.told.items())
    yield Family(
        "keyman_notify_failing",
        "gauge",
        "1 while a target of `notify` can't be reached.",
        [Sample(one.failing, (("target", name),)) for name, one in told],
    )
    counted = [(name, out, n) for name, one in told for out, n in _outcomes(one)]
    yield Family(
        "keyman_notifications_total",
        "counter",
        "Messages to people: sent, or tries that failed.",
        [Sample(n, (("target", name), ("outcome", out))) for name, out, n in counted],
    )


def _outcomes(one: Told) -> tuple[tuple[str, int], ...]:
    return ("sent", one.sent), ("failed", one.failed)


def _word(figures: Figures, name: str, ready: Ready | None) -> str:
    """Lookups have the last word: a secret may have expired since the last record."""
    return figures.health.get(name) or Health.OK if ready else Health.DOWN


def _of_health(words: dict[str, str]) -> Iterator[Sample]:
    for name, word in words.items():
        for one in Health:
            yield Sample(one == word, (("credential", name), ("health", one)))


# The format.


def exposed(families: Iterable[Family]) -> bytes:
    """The families as text. One without samples is left out."""
    return "".join(line for family in families for line in _lines(family)).encode()


def _lines(family: Family) -> Iterator[str]:
    samples = list(family.samples)
    if samples:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for sample in samples:
        labels = ",".join(f'{key}="{value.translate(ESCAPED)}"' for key, value in sample.labels)
        braces = f"{{{labels}}}" if labels else ""
        yield f"{family.name}{sample.suffix}{braces} {sample.value:.15g}\n"
