"""The parts of the proof: what each tries, and the command that does it. Plain values.

A part's figure in `make proof` is meant to fit, with all others, into an hour on two cores; what it
does beyond that under `make proof-long` stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    what: str  #: in the table
    words: tuple[str, ...]  #: after `python -m`
    longer: tuple[str, ...] = ()  #: more words, for the long proof; none: it is run as it is

    def command(self, *, long: bool) -> str:
        return " ".join(("python -m", *self.words, *(self.longer if long else ())))


PARTS = (
    Part(
        "sim",
        "the real core and rotator on virtual time: histories enumerated, lives drawn",
        ("tests.sim", "--histories", "30000", "--years", "2000"),
        ("--histories", "220000", "--years", "100000"),
    ),
    Part(
        "states",
        "every state that next_step can meet",
        ("tests.every_state", "--count", "25000"),
        ("--deep", "--count", "60000"),
    ),
    Part(
        "mutation",
        "small mistakes in the rules, one at a time: does a test see each?",
        ("tests.mutation", "core", "--quick", "--count", "150"),
        ("--count", "9999"),
    ),
    Part("failpoints", "kills, pauses, backups and clocks at failpoints", ("tests.failpoints",)),
    Part("disk-faults", "each I/O call of a rotation failing", ("tests.disk.faults",)),
    Part("power", "files as a power cut may leave them", ("tests.disk.power_cuts",)),
    Part(
        "kills",
        "kill -9 of the real daemon in random instants, every kind",
        ("tests.power_cut", "--kind", "all", "--kills", "40"),
        ("--kills", "1000"),
    ),
    Part(
        "store-calls",
        "kills at calls to a store, every kind",
        ("tests.store_calls", "--step", "4"),
        ("--step", "1"),
    ),
    Part(
        "network",
        "networks that reset, truncate, repeat and hold back",
        ("tests.network", "--workers", "8"),  # which wait for time-outs
    ),
    Part("fuzz", "hostile input to every parser", ("tests.fuzz",)),
    Part("api", "requests made from the OpenAPI document", ("tests.fuzz.api",)),
    Part(
        "schemathesis",
        "the same document, by a judge of its own",
        ("tests.fuzz.schemathesis",),
        ("--examples", "1000"),
    ),
    Part("tampering", "changed and exchanged bytes at rest", ("tests.tampering",)),
    Part(
        "load", "ten kinds of clients while keys rotate and the daemon dies", ("tests.under_load",)
    ),
    Part(
        "crowd",
        "very many credentials in one daemon",
        ("tests.load.crowd", "--credentials", "10000"),
        ("100000",),
    ),
    Part("soak", "one daemon for long", ("tests.load.soak", "--minutes", "1"), ("--minutes", "60")),
)
