"""The long run: the cloud, the daemon, ten kinds of applications, and kills in between.

    python -m tests.under_load --lookups 1000000 --kills 6 --seed 1

Ends once there were so many lookups, kills and promotions; status 1 if a promise broke, or if it
took longer than it may to get so far.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.power_cut.cloud import ROOT, Cloud, environment
from tests.power_cut.oci_case import POLICY, OciCase
from tests.power_cut.oci_verdict import Change
from tests.power_cut.outside import Keyman
from tests.proof.report import conclude
from tests.under_load import judge, seen
from tests.under_load.clients import BESIDE, KINDS

LONGEST = 600.0  # seconds: what is still missing then is told as broken
BETWEEN_KILLS = (4.0, 12.0)
# Due as often as there, but on a busy machine no slot expires before its turn comes.
PATIENT = "{lifetime: 90s, rotate_before: 82s, overlap: 2500ms}"


@dataclass(slots=True)
class Came:
    """What a run came to."""

    lookups: dict[str, int] = field(default_factory=dict)
    promotions: int = 0
    kills: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        lookups = sum(self.lookups.values())
        return {"lookups": lookups, "kills": self.kills, "promotions": self.promotions}

    def told(self) -> str:
        kinds = " ".join(f"{kind}={n:,}" for kind, n in self.lookups.items())
        return (
            f"{sum(self.lookups.values()):,} lookups, {self.promotions} promotions, "
            f"{self.kills} kills, {self.seconds:.0f} s: {len(self.broken)} broken\n   {kinds}"
        )


class Load:
    def __init__(self, folder: Path, seed: int) -> None:
        self._dice = random.Random(f"under load {seed}")
        self._folder = folder
        self._notes = folder / "seen"
        self._notes.mkdir()
        (folder / "oci").mkdir()
        self.case = OciCase(Cloud(folder / "oci", seed, *OciCase.arguments()))
        self.keyman = Keyman(folder, log_format="text")
        section = self.case.section().replace(POLICY, PATIENT)
        assert PATIENT in section
        self.keyman.sections = {self.case.name: section}
        self.keyman.configure()
        self._clients: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, wanted: Mapping[str, int], longest: float) -> Came:
        began, came = time.monotonic(), Came()
        self.keyman.start()
        while not (self.keyman.status(self.case.name) or {}).get("current"):
            time.sleep(0.1)
        self._clients = {kind: self._client(kind) for kind in KINDS}
        while time.monotonic() - began < longest:
            self.keyman.answers_within()  # killed before that, again and again, it gets nowhere
            time.sleep(self._dice.uniform(*BETWEEN_KILLS))
            self._count(came)
            if not any(judge.missing(came.counts(), wanted)):
                break
            self.keyman.kill()
            came.kills += 1
            time.sleep(self._dice.choice((0.0, 0.3, 2.0)))
            self.keyman.start()
        self._stop_clients()
        came.seconds = time.monotonic() - began
        self._count(came)
        came.broken = [*judge.missing(came.counts(), wanted), *self._broken(came)]
        return came

    def stop(self) -> None:
        self._stop_clients()
        self.keyman.kill()
        self.case.cloud.stop()

    def _client(self, kind: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join((str(ROOT / "scripts"), os.environ["PATH"]))
        places = {"KEYMAN_HOME": str(self.keyman.home), "PATH": path}
        places["KEYMAN_CONFIG"] = str(self._folder / "config.yaml")
        return subprocess.Popen(
            [sys.executable, "-m", "tests.under_load.clients", kind, str(self._notes / kind)],
            cwd=ROOT,
            env=environment(self._folder, **places),
            stdin=subprocess.DEVNULL,
        )

    def _stop_clients(self) -> None:
        for client in self._clients.values():
            client.terminate()
        for client in self._clients.values():
            try:
                client.wait(15)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()

    # What came of it.

    def _seen(self) -> dict[str, list[seen.Stretch]]:
        files = [file for file in self._notes.iterdir() if not file.name.endswith(("~", ".secret"))]
        return {file.name: seen.read(file) for file in sorted(files)}

    def _changes(self) -> Iterator[Change]:
        return (change for line in self.case.cloud.log() if (change := Change.read(line)).done)

    def _order(self) -> list[str]:
        """Secrets in the order in which they were issued, which is that of their versions."""
        renewed = [c.after for c in self._changes() if c.after and c.operation == "RenewApiKey"]
        keys = self.case.cloud.truth()["keys"]
        ever = (one["sha256"] for key in keys for one in key["secrets"])
        return [*(secret for secret in ever if secret not in renewed), *renewed]

    def _deaths(self) -> dict[str, float]:
        deaths: dict[str, float] = {}
        for change in self._changes():
            if change.ends_a_secret and change.before:
                deaths.setdefault(change.before, change.at.timestamp())
        return deaths

    def _count(self, came: Came) -> None:
        """What the applications were given so far; the first secret took no promotion."""
        found = self._seen()
        came.lookups = {kind: sum(one.lookups for one in of) for kind, of in found.items()}
        given = {one.secret for of in found.values() for one in of}
        came.promotions = max(0, len(given) - 1)

    def _broken(self, came: Came) -> Iterator[str]:
        found, order = self._seen(), self._order()
        beside = frozenset(kind for kind in found if kind in BESIDE)
        yield from (f"{kind}: never got anything" for kind in KINDS if not _served(kind, came))
        yield from judge.broken(found, order, self._deaths(), beside)


def _served(kind: str, came: Came) -> bool:
    """Has it, or a thread or child of it, ever got anything?"""
    return any(n and who.partition(".")[0] == kind for who, n in came.lookups.items())


def run(wanted: Mapping[str, int], seed: int, longest: float = LONGEST) -> Came:
    """Until so many lookups, kills and promotions were counted, for `longest` seconds at most."""
    with tempfile.TemporaryDirectory(prefix="kml") as folder:
        load = Load(Path(folder), seed)
        try:
            return load.run(wanted, longest)
        finally:
            load.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.under_load", description=__doc__)
    parser.add_argument("--lookups", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--promotions", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the clients are stopped, too
    wanted = {what: getattr(asked, what) for what in ("lookups", "kills", "promotions")}
    began = time.monotonic()
    came = run(wanted, asked.seed)
    print("\n".join([*came.broken, came.told()]))
    return conclude(came.counts(), len(came.broken), began)


if __name__ == "__main__":
    sys.exit(main())
