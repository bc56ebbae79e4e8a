"""One life: a fresh home and a fresh cloud, clients and people, so many kills, and rest at the end.

    python -m tests.power_cut.life --seed 7 --kills 10 --folder /tmp/life

Prints one line of JSON and ends with status 0, or 1 if an invariant broke. The seed chooses the
cloud's answers, weather, aims and people; the machine's own timing is not replayed.
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.power_cut import aims, weather
from tests.power_cut.clients import applications
from tests.power_cut.evidence import Evidence, Kill, now
from tests.power_cut.outside import PEACE, PREFIX, Cloud, Keyman
from tests.power_cut.people import HEARD_WITHIN, People
from tests.power_cut.verdict import Change, Judge, rotations, strays

COMES_TO_REST_WITHIN = 60.0  # seconds
LINES_SHOWN = 60
ACCEPTABLE = ("ok",)


@dataclass(slots=True)
class Report:
    """What one life came to."""

    seed: int
    kills: int = 0
    rotations: int = 0
    lookups: int = 0
    requests: int = 0
    explained_refusals: int = 0
    orders: int = 0
    drifts: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    how: list[str] = field(default_factory=list)  # each kill
    tail: list[str] = field(default_factory=list)  # of the cloud's log and the history, if broken


class Life:
    def __init__(self, seed: int, kills: int, folder: Path) -> None:
        self.seed, self.wanted = seed, kills
        self.dice = random.Random(f"power cut {seed}")
        self.evidence = Evidence()
        self.cloud = Cloud(folder, seed)
        log_format = self.dice.choice(("text", "json"))
        self.keyman = Keyman(folder, self.cloud, log_format=log_format)
        self.keyman.configure()
        self._aim: aims.Moment | None = None
        self._clients_stop, self._people_stop = threading.Event(), threading.Event()
        self.people = People(
            self.keyman,
            self.cloud,
            self.evidence,
            self._people_stop,
            random.Random(self.dice.random()),
            calm=seed % 2 == 0,
        )
        os.environ["KEYMAN_SOCKET"] = str(self.keyman.socket)

    def run(self) -> Report:
        began = time.monotonic()
        clients = applications(
            self.evidence, self._clients_stop, self.keyman, random.Random(self.dice.random())
        )
        for thread in (*clients, self.people):
            thread.start()
        for _ in range(self.wanted):
            self._live_and_die()
        self._people_stop.set()
        self.people.join()
        self._come_to_rest()
        self._clients_stop.set()
        for thread in clients:
            thread.join()
        report = self._judged()
        report.seconds = round(time.monotonic() - began, 1)
        return report

    def stop(self) -> None:
        """End every process, whatever has happened."""
        self._clients_stop.set()
        self._people_stop.set()
        self.keyman.kill()
        self.cloud.stop()

    # One daemon's life.

    def _live_and_die(self) -> None:
        started = now()
        self.keyman.start()
        rules = weather.some(self.dice)
        weather.change(self.cloud, rules)
        self._aim = aims.choose(self.dice, self._aim)
        how = self._aim(aims.Scene(self.keyman, self.cloud, self.dice, self._provoke, rules))
        self._alive()
        kill = Kill(how, started, now())
        self.keyman.kill()
        self.evidence.kills.append(kill)
        self._inspect(kill)
        soon = self._aim is aims.long_before_the_effect
        time.sleep(0.0 if soon else self.dice.choice((0.0, 0.0, 0.1, 0.5, 1.5)))

    def _alive(self) -> None:
        if self.keyman.ended is not None:
            self.evidence.said.append(f"the daemon ended by itself, status {self.keyman.ended}")

    def _provoke(self, operation: str) -> None:
        if operation == "SetApiKeyState" and self.dice.random() < 0.6:
            self.people.switch()
        else:
            self.people.rotate()

    def _inspect(self, kill: Kill) -> None:
        """What a fresh process finds on the disk now, beside what the cloud takes now."""
        resting = self.keyman.at_rest()
        if resting is None:
            return
        taken, kill.inspected = self.cloud.accepted(), now()
        versions, secrets = resting.record.versions, resting.secrets
        kill.open_versions = sum(v.stage in ("requested", "pending") for v in versions)
        kept = {v.attempt for v in versions if v.stage not in ("retired", "revoked")}
        kill.still_on = {
            v.number: secrets[v.number]
            for v in versions
            if v.stage == "retired" and v.attempt not in kept and secrets.get(v.number) in taken
            if v.retired_at and (kill.inspected - v.retired_at).total_seconds() > HEARD_WITHIN
        }
        current = resting.record.current
        if current is None or current.dead_at or current.compromised:
            return
        kill.current, kill.secret = current.number, secrets.get(current.number)
        kill.accepted = kill.secret in taken

    # Rest.

    def _come_to_rest(self) -> None:
        """No more kills, faults or people: lifetimes become long, and everything is settled."""
        weather.change(self.cloud, [])
        self.keyman.configure(policy=PEACE)
        self.keyman.start()
        if not self.keyman.answers_within():
            self._alive()
            self.evidence.said.append("L: the daemon does not answer after the last kill")
            return
        self.people.repeat_what_got_no_answer()
        deadline = time.monotonic() + COMES_TO_REST_WITHIN
        missing = ["nothing was looked at"]
        while missing and time.monotonic() < deadline:
            time.sleep(0.5)
            self.people.care()
            self.people.hold_them_to_their_word()
            missing = self._missing()
        self.evidence.said += [
            f"L: no rest within {COMES_TO_REST_WITHIN:.0f} s: {m}" for m in missing
        ]
        self._alive()
        self.keyman.kill()

    def _missing(self) -> list[str]:
        """What is not yet as it should be."""
        status = self.keyman.status()
        if status is None:
            return ["nobody answers"]
        said = []
        if status["health"] not in ACCEPTABLE or status["failures"]:
            said.append(f"health {status['health']}: {status['last_error']}")
        if status["order"]:
            said.append(f"order {status['order']['kind']} is {status['order']['state']}")
        open_ones = {v for v in self.keyman.stages() if v[1] in ("requested", "pending")}
        said += [f"version {number} is {stage}" for number, stage in open_ones]
        return said + self._not_as_the_cloud_has_it(status)

    def _not_as_the_cloud_has_it(self, status: dict[str, Any]) -> list[str]:
        handed = self.evidence.handed[-1] if self.evidence.handed else None
        truth, taken = self.cloud.truth(), self.cloud.accepted()
        said = [f"I6: {s[:8]} leaked and lives" for s in self.evidence.leaked() & taken]
        if handed is None or (now() - handed.answered).total_seconds() > 2:
            return [*said, "no lookup is answered"]
        if handed.secret not in taken:
            said.append(f"version {handed.version} is handed out and refused")
        home = next((key for key in truth if key["id"] == status["key_id"]), None)
        if home is None:
            return [*said, f"{status['key_id']} is not a key of the cloud's"]
        states = {slot["keyName"]: slot["state"] for slot in home["slots"]}
        shown = {slot["name"]: slot["state"] for slot in status["slots"]}
        if states != shown:
            said.append(f"I10: slots are {states}, shown as {shown}")
        current = (status["current"] or {}).get("slot")
        in_it = next((s["sha256"] for s in home["slots"] if s["keyName"] == current), None)
        if in_it != handed.secret:
            said.append(f"{current} does not hold what is handed out")
        return said + [
            f"{s[:8]} is still taken" for s in self._unexplained_strays(truth, handed.secret)
        ]

    def _unexplained_strays(self, truth: list[dict[str, Any]], current: str) -> set[str]:
        wanted_on = {order.slot for order in self.evidence.ordered if order.verb == "activate"}
        switched_on = {
            line["secret_before"]
            for line in self.cloud.log("SetApiKeyState")
            if line["wanted"] == "ACTIVE"
            and (line["actor"] == "console" or line["slot"] in wanted_on)
        }
        return strays(truth, current, self.evidence) - switched_on

    # Judgement.

    def _judged(self) -> Report:
        evidence, log = self.evidence, self.cloud.log()
        judge = Judge(evidence, log, self.cloud.ask("GET", "behaviour"))
        broken = [*judge.broken(), *self._log_speaks_of_bugs(), *self._secrets_in_files()]
        return Report(
            self.seed,
            kills=len(evidence.kills),
            rotations=rotations(evidence.handed),
            lookups=len(evidence.handed),
            requests=len(evidence.called),
            explained_refusals=judge.explained_refusals,
            orders=len(evidence.ordered),
            drifts=evidence.drifts,
            broken=list(dict.fromkeys(broken)),
            how=[str(kill) for kill in evidence.kills],
            tail=self._tail(log) if broken else [],
        )

    def _log_speaks_of_bugs(self) -> list[str]:
        lines = self.keyman.log_file.read_text(errors="replace").splitlines()
        bad = ("AssertionError", "unforeseen", "Traceback", "no rest after", "has ended")
        return [f"W: {line[:300]}" for line in lines if any(word in line for word in bad)]

    def _secrets_in_files(self) -> list[str]:
        files = [self.keyman.log_file, *self.keyman.home.rglob("*")]
        return [
            f"I9: a secret lies in {path.name}"
            for path in files
            if path.is_file() and PREFIX.encode() in path.read_bytes()
        ]

    def _tail(self, log: list[dict[str, Any]]) -> list[str]:
        ours = [str(Change.read(line)) for line in log if line["operation"] != "GetApiKey"]
        orders = [
            f"{o.at:%H:%M:%S.%f} {o.verb} {o.body} {'' if o.answered else '(no answer)'}"
            f" {(o.leaked or '')[:8]}"
            for o in self.evidence.ordered
        ]
        first: dict[int, str] = {}
        for one in self.evidence.handed:
            first.setdefault(one.version, f"{one.answered:%H:%M:%S.%f} {one.secret[:8]}")
        return [
            "-- versions when first handed out",
            *(f"{version}: {said}" for version, said in first.items()),
            "-- orders",
            *orders[-LINES_SHOWN:],
            "-- the cloud's log",
            *ours[-LINES_SHOWN:],
            "-- history",
            *self.keyman.history(LINES_SHOWN),
        ]


def _end_with_parent() -> None:
    """If whoever started this life goes away, so do all its processes."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bound-to-stdin", action="store_true", help="end when it is closed")
    options = parser.parse_args(arguments)
    if options.bound_to_stdin:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    options.folder.mkdir(parents=True, exist_ok=True)
    life = Life(options.seed, options.kills, options.folder)
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
