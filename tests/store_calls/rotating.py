"""One home, one rotation after another: each is killed once at a call to a store, begun again, and
judged by what the journal, the store, the cloud and strangers at the vault say then.

The credential is a key of OpenAI's: each is shown once, so that a secret that got lost is lost.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keyman.core.model import Stage
from keyman.sandbox.openai import OpenAISandbox
from tests.power_cut.evidence import Evidence
from tests.power_cut.outside import Keyman, Resting
from tests.power_cut.stores import BESIDE, Stores
from tests.store_calls.killing import Executioner, Gatekeeper, Inside

NAME = "main"
SECTION = """\
  main:
    provider: openai
    admin_key: !file {admin_key}
    project_id: proj_sandbox
    service_account_id: {account}
    base_url: {url}/v1
    verify: {{successes: 1, every: 50ms, within: 6s}}
    policy: {{lifetime: 1h, rotate_before: 20m, overlap: 1s}}
    late_after: 100ms
    mirrors: [{mirrors}]
"""
OPEN = (Stage.REQUESTED, Stage.PENDING)
HELD = (Stage.CURRENT, Stage.PREVIOUS)
MOST = 500  # more calls than any rotation makes


@dataclass(frozen=True, slots=True)
class Instants:
    """Which calls of a rotation it is killed at: before they have their effect, or right after.

    `changes`: of those only that change something.
    """

    after: bool
    changes: bool = False
    first: int = 1
    step: int = 1


class Rotating:
    """To be used by `with`. `broken` tells, in words, what did not hold."""

    def __init__(self, folder: Path, store: str, mirror: str | None = None) -> None:
        self._folder, self._mirror = folder, mirror
        self._open = ExitStack()
        self._cloud = OpenAISandbox(seed=1)
        self._keyman = Keyman(folder, log_format="text")
        self._stores = Stores(folder, store, mirror)
        self._evidence = Evidence()
        self.broken: list[str] = []
        self.killed_at: list[str] = []

    def __enter__(self) -> Self:
        url = self._open.enter_context(self._cloud.serve())
        self._stores.serve(self._open, self._keyman)
        section = SECTION.format(
            admin_key=self._cloud.write_credentials(self._folder)["admin-key"],
            account=self._cloud.dashboard.create_account("applications")["id"],
            url=url,
            mirrors=BESIDE if self._mirror else "",
        )
        self._keyman.sections = {NAME: section}
        self._keyman.configure()
        self._stores.watched_by_strangers({NAME: self._evidence}, self._keyman)
        gates = self._stores.gates
        self._executioner: Executioner = Gatekeeper(gates) if gates else Inside()
        assert self._run("daemon", "--once") == 0, self.log()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def log(self) -> str:
        return self._keyman.log_file.read_text()[-4000:]

    def killed_at_each(self, instants: Instants) -> Iterator[int]:
        """A rotation for each of these calls; ends with the one that was not killed."""
        for nth in range(instants.first, MOST, instants.step):
            if not self._killed_at(nth, instants):
                return
            yield nth
        raise AssertionError(f"a rotation makes more than {MOST} calls")

    def _killed_at(self, nth: int, instants: Instants) -> bool:
        """One rotation; False if it made fewer calls. What did not hold is added to `broken`."""
        before = self._rests()
        for place in self._stores.places.values():
            place.a_day_passes()
        self._executioner.wait_for(nth, after=instants.after, changes=instants.changes)
        killed = self._run_until_killed()
        if killed:
            self.killed_at.append(self._executioner.met)
            self._judge_the_dead()
        self._executioner.wait_for(None)
        begun = () if self._is_begun(before) else (("rotate", NAME),)
        for words in (*begun, ("daemon", "--once")):
            if killed and self._run(*words) != 0:
                self._say(f"keyman {words[0]} does not end well: {self.log()}")
        self._judge_what_rests(before)
        return killed

    def _is_begun(self, before: Resting) -> bool:
        """Does the journal know of the order, or what came of it?"""
        record, was = self._rests().record, before.record.versions[-1].number
        return bool(record.orders) or record.versions[-1].number > was

    def _run_until_killed(self) -> bool:
        for words in (("rotate", NAME), ("daemon", "--once")):
            status = self._run(*words)
            if status == -signal.SIGKILL:
                return True
            if status != 0:
                self._say(f"keyman {words[0]} ended with {status}: {self.log()}")
        return False

    def _run(self, *words: str) -> int:
        log = str(self._keyman.log_file)
        return self._executioner.run(self._keyman.variables() | {"KEYMAN_TEST_LOG": log}, *words)

    def _say(self, what: str) -> None:
        self.broken.append(f"[{self._executioner.met or self.killed_at[-1:]}] {what}")

    # What is so.

    def _rests(self) -> Resting:
        found = self._keyman.at_rest(NAME)
        assert found is not None
        return found

    def _taken(self) -> set[str]:
        return {key["sha256"] for key in self._cloud.truth()["keys"] if key["accepted"]}

    def _judge_the_dead(self) -> None:
        """I3, at the very moment: what is or was promoted is in the store, and works."""
        resting, taken = self._rests(), self._taken()
        for v in resting.record.all_at(Stage.PENDING, *HELD):
            if resting.secrets.get(v.number) not in taken:
                self._say(f"I3: version {v.number} is {v.stage}, and its secret is not kept")
        self._judge_strangers()

    def _judge_strangers(self) -> None:
        early = [one for one in self._evidence.shown if one.secret and not one.promoted]
        self._evidence.shown.clear()
        for one in early:
            self._say(f"P: strangers got {one.secret} from {one.store} before it was current")
        mirror = self._keyman.at_rest(NAME, BESIDE) if self._mirror else None
        if mirror is not None:
            known = {v.number: v for v in mirror.record.versions}
            early_there = [n for n in mirror.secrets if n in known and not known[n].promoted_at]
            if early_there:
                self._say(f"P: the mirror has {early_there}, never promoted")

    def _judge_what_rests(self, before: Resting) -> None:
        resting, taken = self._rests(), self._taken()
        record, was = resting.record, before.record.current
        assert was is not None
        if record.all_at(*OPEN) or record.orders or record.failures:
            self._say(f"it does not rest: {record.all_at(*OPEN)} {record.orders}")
        current = record.current
        if current is None or current.number <= was.number:
            self._say(f"nothing was rotated: {current and current.number} after {was.number}")
            return
        held = {resting.secrets.get(v.number) for v in record.all_at(*HELD)}
        secret = resting.secrets.get(current.number)
        if secret is None or secret not in taken:
            self._say(f"I3: version {current.number} is current, and of no use")
        if taken - held:
            self._say(f"{len(taken - held)} keys are left alive that nobody holds")
        for one in self._stores.not_shown(NAME, secret or ""):
            self._say(f"P: {one}")
        self._judge_strangers()
        self._judge_the_mirror(resting)

    def _judge_the_mirror(self, resting: Resting) -> None:
        mirror = self._keyman.at_rest(NAME, BESIDE) if self._mirror else None
        current = resting.record.current
        if mirror is None or current is None:
            return
        if mirror.secrets.get(current.number) != resting.secrets.get(current.number):
            self._say(f"P: the mirror does not have version {current.number}")
