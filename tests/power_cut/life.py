"""One life: a fresh home and fresh clouds, clients and people, so many kills, and rest at the end.

    python -m tests.power_cut.life --seed 7 --kind openai --kills 10 --folder /tmp/life

Prints one line of JSON and ends with status 0, or 1 if an invariant broke. The seed chooses the
clouds' answers, weather, aims and people; the machine's own timing is not replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.power_cut import aims, rest
from tests.power_cut.case import LINES_SHOWN, Case
from tests.power_cut.clients import applications
from tests.power_cut.evidence import Kill, now
from tests.power_cut.kinds import ALL, KINDS, open_case
from tests.power_cut.outside import Keyman
from tests.power_cut.people import People
from tests.power_cut.played import Played
from tests.power_cut.stores import BESIDE, DURABLE, Stores
from tests.power_cut.verdict import rotations


@dataclass(slots=True)
class Report:
    """What one life came to."""

    seed: int
    kind: str
    store: str = "sealed-file"
    mirror: str | None = None
    kills: int = 0
    rotations: int = 0
    lookups: int = 0
    requests: int = 0
    explained_refusals: int = 0
    orders: int = 0
    drifts: int = 0
    store_calls: int = 0
    shown: int = 0  # changes of what strangers get from a vault
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)  # each kill
    tail: list[str] = field(default_factory=list)  # of the clouds' logs and the history, if broken


class Life:
    def __init__(
        self,
        seed: int,
        kind: str,
        kills: int,
        folder: Path,
        *,
        store: str = "sealed-file",
        mirror: str | None = None,
    ) -> None:
        self.seed, self.kind, self.wanted = seed, kind, kills
        self.store, self.mirror = store, mirror
        self.dice = random.Random(f"power cut {seed}")
        self._serving = ExitStack()
        self._clients_stop, self._people_stop = threading.Event(), threading.Event()
        self._opened: list[Case] = []
        self.keyman = Keyman(folder, log_format=self.dice.choice(("text", "json")))
        self._folder = folder
        self.parts: list[Played] = []
        self._kills: list[Kill] = []
        os.environ["KEYMAN_SOCKET"] = str(self.keyman.socket)

    def run(self) -> Report:
        began = time.monotonic()
        self._open()
        for part in self.parts:
            for thread in (*part.clients, part.people):
                thread.start()
        for _ in range(self.wanted):
            self._live_and_die()
        self._people_stop.set()
        for part in self.parts:
            part.people.join()
        self._come_to_rest()
        self._clients_stop.set()
        for part in self.parts:
            for thread in part.clients:
                thread.join()
        report = self._judged()
        report.seconds = round(time.monotonic() - began, 1)
        return report

    def stop(self) -> None:
        """End every process, whatever has happened."""
        self._clients_stop.set()
        self._people_stop.set()
        self.keyman.kill()
        for case in self._opened:
            case.cloud.stop()
        self._serving.close()

    def _open(self) -> None:
        for kind in KINDS if self.kind == ALL else (self.kind,):
            self._opened.append(open_case(kind, self._folder, self.seed, self.dice))
        self.stores = Stores(self._folder, self.store, self.mirror)
        self.stores.serve(self._serving, self.keyman)
        evidence = {case.name: case.evidence for case in self._opened}
        self.stores.watched_by_strangers(evidence, self.keyman)
        self._say_what_is_wanted(peaceful=False)
        for case in self._opened:
            dice = random.Random(self.dice.random())
            calm = self.seed % 2 == 0
            people = People(case, self.keyman, self._people_stop, dice, calm=calm)
            users = applications(
                case, self.keyman, self._clients_stop, dice, beside=len(self._opened)
            )
            case.evidence.broke = self.stores.broke
            deck = aims.Deck(dice, case, gates=len(self.stores.gates))
            self.parts.append(Played(case, people, users, deck))

    def _say_what_is_wanted(self, *, peaceful: bool) -> None:
        follows = {case.name: self._follows(case) for case in self._opened}
        self.keyman.sections = {
            case.name: case.section(peaceful=peaceful) + follows[case.name] for case in self._opened
        }
        self.keyman.configure()

    def _follows(self, case: Case) -> str:
        """Tokens rest nowhere, so nothing can follow them."""
        return f"    mirrors: [{BESIDE}]\n" if self.mirror and not case.targets.fleeting else ""

    # One daemon's life.

    def _live_and_die(self) -> None:
        started = now()
        for part in self.parts:
            part.case.evidence.started.append(started)
        self.keyman.start()
        for part in self.parts:
            part.rules = part.case.weather(self.dice)
            part.case.cloud.suffer(part.rules)
        self.stores.weather(self.dice)
        part = self.dice.choice(self.parts)
        aim = part.deck.draw()
        how = aim(self._scene(part))
        self._alive()
        kill = Kill(f"{how} ({part.case.name})" if len(self.parts) > 1 else how, started, now())
        self.keyman.kill()
        self.stores.calm()
        self.stores.let_go(self.dice)
        self._kills.append(kill)
        if aim is aims.after_a_lost_answer:
            time.sleep(part.case.heard_within + 0.1)  # else nothing could be said of it yet
        self._find(kill)
        soon = aim is aims.long_before_the_effect
        time.sleep(0.0 if soon else self.dice.choice((0.0, 0.0, 0.1, 0.5, 1.5)))

    def _scene(self, part: Played) -> aims.Scene:
        def provoke(what: str) -> None:
            part.case.provoke(part.people, what, self.dice)

        gates = self.stores.gates
        return aims.Scene(self.keyman, part.case, self.dice, provoke, part.rules, gates)

    def _find(self, kill: Kill) -> None:
        """What lies on the disk now."""
        for part in self.parts:
            part.case.evidence.kills.append(kill)
            part.case.inspect(kill, self.keyman.at_rest(part.case.name))
            if self._follows(part.case):
                part.case.inspect_mirror(kill, self.keyman.at_rest(part.case.name, BESIDE))

    def _alive(self) -> None:
        if self.keyman.ended is not None:
            self._say(f"the daemon ended by itself, status {self.keyman.ended}")

    def _say(self, what: str) -> None:
        self.parts[0].case.evidence.said.append(what)

    # Rest.

    def _come_to_rest(self) -> None:
        """No more kills, faults or people: lifetimes become long, and everything is settled."""
        for part in self.parts:
            part.case.cloud.suffer([])
            part.case.make_peace()
            part.case.evidence.started.append(now())
        self._say_what_is_wanted(peaceful=True)
        self.keyman.start()
        if not self.keyman.answers_within():
            self._alive()
            self._say("L: the daemon does not answer after the last kill")
            return
        for part in self.parts:
            part.people.repeat_what_got_no_answer()
        for broken in rest.reached(self.keyman, self.stores, self.parts, self.dice):
            self._say(broken)
        self._alive()
        self.keyman.kill()

    # Judgement.

    def _judged(self) -> Report:
        report = Report(self.seed, self.kind, self.store, self.mirror, kills=len(self._kills))
        report.store_calls = sum(len(gate.calls) for gate in self.stores.gates)
        report.broken = self._log_speaks_of_bugs()
        report.how = [str(kill) for kill in self._kills]
        for part in self.parts:
            self._judge(part.case, report)
        if report.broken:
            for part in self.parts:
                report.tail += self._tail(part.case)
        return report

    def _judge(self, case: Case, report: Report) -> None:
        evidence, judge = case.evidence, case.judge()
        files = self.keyman.places_with(case.needles())
        broken = [*judge.broken(), *(f"I9: a secret lies in {name}" for name in files)]
        tag = f"{case.name}: " if len(self.parts) > 1 else ""
        report.broken += [f"{tag}{one}" for one in dict.fromkeys(broken)][:LINES_SHOWN]
        report.rotations += rotations(evidence.handed)
        report.lookups += len(evidence.handed)
        report.requests += len(evidence.called)
        report.explained_refusals += judge.explained_refusals
        report.orders += len(evidence.ordered) + len(evidence.put)
        report.drifts += len(evidence.drifted)
        report.shown += len(evidence.shown)

    def _log_speaks_of_bugs(self) -> list[str]:
        lines = self.keyman.log_file.read_text(errors="replace").splitlines()
        bad = ("AssertionError", "unforeseen", "Traceback", "no rest after", "has ended")
        return [f"W: {line[:300]}" for line in lines if any(word in line for word in bad)]

    def _tail(self, case: Case) -> list[str]:
        orders = [
            f"{o.at:%H:%M:%S.%f} {o.verb} {o.body} {'' if o.answered else '(no answer)'}"
            f" {(o.leaked or '')[:8]}"
            for o in case.evidence.ordered
        ]
        orders += [f"{p.at:%H:%M:%S.%f} put {p.secret[:8]}: {p.version}" for p in case.evidence.put]
        first: dict[int, str] = {}
        for one in case.evidence.handed:
            first.setdefault(one.version, f"{one.answered:%H:%M:%S.%f} {one.secret[:8]}")
        return [
            f"-- {case.name}: versions when first handed out",
            *(f"{version}: {said}" for version, said in first.items()),
            "-- orders",
            *sorted(orders)[-LINES_SHOWN:],
            "-- the cloud's log",
            *case.log_lines()[-LINES_SHOWN:],
            "-- history",
            *self.keyman.history(case.name, LINES_SHOWN),
        ]


def _end_with_parent() -> None:
    """If whoever started this life goes away, so do all its processes."""
    sys.stdin.read()
    with suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kind", choices=(*KINDS, ALL), required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--store", choices=DURABLE, default="sealed-file")
    parser.add_argument("--mirror", choices=DURABLE)
    parser.add_argument("--bound-to-stdin", action="store_true", help="end when it is closed")
    options = parser.parse_args(arguments)
    if options.bound_to_stdin:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    options.folder.mkdir(parents=True, exist_ok=True)
    where = {"store": options.store, "mirror": options.mirror}
    life = Life(options.seed, options.kind, options.kills, options.folder, **where)
    try:
        report = life.run()
    finally:
        life.stop()
    print(json.dumps(asdict(report), default=str))
    sys.stdout.flush()
    return 1 if report.broken else 0


if __name__ == "__main__":
    status = main()
    os._exit(status)  # a thread may hang in a call; its process is of no more use
