"""One daemon for long, compressed: python -m tests.load.soak [--minutes 5] [--seed 1]

Several keys, whose months are seconds, rotate again and again at the sandbox of OCI, while clients
look them up over the socket and by the page, restart, reload the configuration and leave. What the
daemon holds is looked at all the time: after a first third, in which caches fill, its descriptors,
threads and memory must stay as they were. Judged beside that: every lookup is answered.

Not tried here: kills (`python -m tests.power_cut`), and whether what is handed out is accepted
(`python -m tests.under_load`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from keyman import client
from keyman.errors import Error
from tests.power_cut.cloud import ROOT, Cloud
from tests.power_cut.oci_case import OciCase
from tests.power_cut.outside import Keyman
from tests.proof.report import conclude

KEYS = 8  # each of which rotates every eight seconds
EVERY = 0.5  # seconds between two looks at the daemon
GROWTH = 1.03  # of memory, from the second third to the last
SOME = 4  # descriptors or threads more or less: connections come and go


@dataclass(frozen=True, slots=True)
class Look:
    memory: int
    descriptors: int
    threads: int


@dataclass(slots=True)
class Asked:
    """What clients met."""

    lookups: int = 0
    failed: list[str] = field(default_factory=list)


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        (folder / "oci").mkdir()
        self.case = OciCase(Cloud(folder / "oci", seed, *OciCase.arguments()))
        self.keyman = Keyman(folder, log_format="text")
        section = self.case.section()
        self.names = [f"{self.case.name}-{n}" for n in range(KEYS)]
        own = {name: section.replace(f"{self.case.name}:", f"{name}:") for name in self.names}
        self.keyman.sections = own
        self.keyman.configure()
        self.looks: list[Look] = []
        self.asked = Asked()
        self._ends = threading.Event()

    def run(self, seconds: float) -> None:
        self.keyman.start()
        for name in self.names:
            while not (self.keyman.status(name) or {}).get("current"):
                time.sleep(0.1)
        clients = [threading.Thread(target=self._ask, args=(n,)) for n in range(2)]
        for one in clients:
            one.start()
        try:
            self._watch(time.monotonic() + seconds)
        finally:
            self._ends.set()
            for one in clients:
                one.join()

    def stop(self) -> None:
        self.keyman.kill()
        self.case.cloud.stop()

    def _watch(self, until: float) -> None:
        process, turn = self._daemon(), 0
        while time.monotonic() < until:
            with process.oneshot():
                memory = process.memory_info().rss
                self.looks.append(Look(memory, process.num_fds(), process.num_threads()))
            turn += 1
            if turn % 40 == 0:
                self.keyman.hang_up()
            if turn % 30 == 0:
                self._a_short_lived_client()
            time.sleep(EVERY)

    def _daemon(self) -> psutil.Process:
        assert self.keyman.process is not None
        return psutil.Process(self.keyman.process)

    def _a_short_lived_client(self) -> None:
        command = [sys.executable, "-m", "keyman", "get", self.names[0]]
        environ = self.keyman.variables()
        done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, check=False)
        if done.returncode:
            self.asked.failed.append(done.stderr.decode())

    def _ask(self, which: int) -> None:
        """As fast as one client comes to it, with a rest now and then."""
        while not self._ends.is_set():
            for name in self.names:
                self._one(f"/api/v1/secrets/{name}")
            if which:
                self._one("/api/v1/credentials")
                time.sleep(0.2)
            time.sleep(0.01)

    def _one(self, path: str) -> None:
        try:
            status, _ = client.call("GET", path, path_to_socket=str(self.keyman.socket))
        except Error as error:
            self.asked.failed.append(str(error))
            return
        self.asked.lookups += 1
        if status != 200:
            self.asked.failed.append(f"{path}: status {status}")

    @property
    def rotations(self) -> int:
        """Promotions of all keys since their first."""
        found = (self.keyman.status(name) or {} for name in self.names)
        return sum(int(one["current"]["version"]) - 1 for one in found if one.get("current"))


def broken(soak: Soak) -> Iterator[str]:
    third = len(soak.looks) // 3
    middle, last = soak.looks[third : 2 * third], soak.looks[2 * third :]
    for what in ("descriptors", "threads"):
        before = max(getattr(one, what) for one in middle)
        after = max(getattr(one, what) for one in last)
        if after > before + SOME:
            yield f"{what} grow: {before}, then {after}"
    before, after = median(one.memory for one in middle), median(one.memory for one in last)
    if after > before * GROWTH:
        yield f"memory grows: {before / 1e6:.1f} MB, then {after / 1e6:.1f} MB"
    yield from soak.asked.failed[:5]


def told(soak: Soak, rotations: int, seconds: float) -> str:
    third = len(soak.looks) // 3
    parts = [soak.looks[:third], soak.looks[third : 2 * third], soak.looks[2 * third :]]
    memory = ", ".join(f"{median(one.memory for one in part) / 1e6:.1f}" for part in parts)
    open_ = ", ".join(str(max(one.descriptors for one in part)) for part in parts)
    threads = ", ".join(str(max(one.threads for one in part)) for part in parts)
    return (
        f"{rotations:,} rotations and {soak.asked.lookups:,} lookups in {seconds:.0f} s; "
        f"third by third: memory {memory} MB, descriptors {open_}, threads {threads}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kms") as folder:
        soak = Soak(Path(folder), asked.seed)
        try:
            soak.run(asked.minutes * 60)
            rotations = soak.rotations
        finally:
            soak.stop()
    found = list(broken(soak))
    print("\n".join([*found, told(soak, rotations, time.monotonic() - began)]))
    tried = {"rotations of one daemon": rotations, "lookups": soak.asked.lookups}
    return conclude(tried, len(found), began)


if __name__ == "__main__":
    sys.exit(main())
