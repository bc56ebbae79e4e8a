"""Tests run against mutants: collected once, then a forked child for each mutant.

A first child runs all tests under coverage.py, which tells for each line which tests execute it and
how long they take. A mutant is then shown to those tests only, quickest first, until one fails. One
that takes far longer than the tests took without it is ended; that counts as seen.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.mutants import Mutant
from tests.mutation.planting import Live, live, plant

KILLED, SURVIVED, TIMED_OUT, UNREACHED, NOT_PLANTED = (
    "killed", "survived", "timed out", "unreached", "not planted",
)  # fmt: skip
PYTEST = ("-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--no-summary")
MEMORY = 6 << 30  # bytes of address space for a child: a mutant may collect without an end
PATIENCE, TIMES = 10.0, 6.0  # seconds of a processor, and how much longer than without a mutant
WAITING = 8  # times that by the clock: the machine may be busy, and what only waits costs nothing
NO_MUTANT = 3  # exit status of a child that found nothing to exchange


@dataclass(frozen=True, slots=True)
class Verdict:
    mutant: Mutant
    outcome: str
    by: str = ""  #: the test that failed
    asked: int = 0  #: tests that execute it


@dataclass(slots=True)
class Measured:
    """What the tests do without a mutant."""

    seconds: dict[str, float] = field(default_factory=dict)  #: of a processor, by test
    tests: dict[str, dict[int, list[str]]] = field(default_factory=dict)  #: by file and line
    coverage: dict[str, Any] = field(default_factory=dict)  #: the report of coverage.py, per file
    failed: str = ""

    def asked(self, mutant: Mutant) -> list[str]:
        """Quickest first."""
        lines = self.tests.get(str(mutant.path), {})
        found = {test for line in mutant.lines for test in lines.get(line, ())}
        if mutant.constant is not None:  # read at import, or anywhere
            found = set(self.seconds)
        return sorted(found & self.seconds.keys(), key=self.seconds.__getitem__)


@dataclass(slots=True)
class _Child:
    mutant: Mutant
    asked: int
    pid: int
    says: int
    folder: Path
    until: float


class Judge:
    """A plugin of pytest that judges mutants instead of running the tests once."""

    def __init__(
        self,
        paths: Iterable[Path],
        mutants: Sequence[Mutant],
        workers: int,
        until: float,
        slowest: float = math.inf,
    ) -> None:
        self.paths = list(paths)
        self.mutants = mutants
        self.workers = workers
        self.slowest = slowest  #: seconds; a test that takes longer is not asked
        self.until = until  #: of time.monotonic(); no mutant is begun after it
        self.measured = Measured()
        self.verdicts: list[Verdict] = []
        self.told: Callable[[Verdict], None] = lambda _: None
        self._killers: dict[str, list[str]] = {}

    def run(self, tests: Iterable[str]) -> None:
        """These, given as to pytest. Once in a process: what was collected stays imported."""
        pytest.main([*PYTEST, *tests], plugins=[self])

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            self.measured.failed = "the tests could not be collected"
            return True
        self.measured = _measure(session, self.paths)
        if not self.measured.failed:
            functions = live(self.paths)
            gc.collect()
            gc.freeze()  # so that no child copies what it only looks at
            self._judge(session, functions)
            gc.unfreeze()  # the next room looks for its functions
        return True

    def _judge(self, session: pytest.Session, functions: Live) -> None:
        waiting: Iterator[Mutant] = iter(self.mutants)
        running: list[_Child] = []
        done = False
        while running or not done:
            while not done and len(running) < self.workers:
                mutant = next(waiting, None) if time.monotonic() < self.until else None
                done = mutant is None
                if mutant is not None:
                    running += self._begin(session, mutant, functions)
            running = [child for child in running if not self._ended(child)]
            time.sleep(0.004)

    def _begin(self, session: pytest.Session, mutant: Mutant, functions: Live) -> list[_Child]:
        tests = [t for t in self.measured.asked(mutant) if self.measured.seconds[t] < self.slowest]
        if not tests:
            self._tell(Verdict(mutant, UNREACHED))
            return []
        earlier = [test for test in self._killers.get(_group(mutant), ()) if test in set(tests)]
        order = list(dict.fromkeys([*earlier, *tests]))
        seconds = sum(self.measured.seconds[test] for test in tests)
        folder = Path(tempfile.mkdtemp(prefix="keyman-mutant-"))
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reads)
            _limit(_patience(seconds))
            _in_child(folder, lambda: _show(session, mutant, functions, order, writes))
        os.close(writes)
        until = time.monotonic() + WAITING * _patience(seconds)
        return [_Child(mutant, len(tests), pid, reads, folder, until)]

    def _ended(self, child: _Child) -> bool:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        late = pid == 0 and time.monotonic() > child.until
        if late:
            _end(child.pid)
            os.waitpid(child.pid, 0)
        elif pid == 0:
            return False
        _end(child.pid)  # what a test left behind
        by = os.read(child.says, 4096).decode() if not late else ""
        os.close(child.says)
        shutil.rmtree(child.folder, ignore_errors=True)
        self._tell(Verdict(child.mutant, _outcome(status, late=late), by, child.asked))
        return True

    def _tell(self, verdict: Verdict) -> None:
        if verdict.by:
            known = self._killers.setdefault(_group(verdict.mutant), [])
            self._killers[_group(verdict.mutant)] = [
                verdict.by,
                *(test for test in known if test != verdict.by),
            ][:5]
        self.verdicts.append(verdict)
        self.told(verdict)


def _patience(seconds: float) -> float:
    return PATIENCE + TIMES * seconds


def _limit(seconds: float) -> None:
    """Of this process: SIGXCPU ends it where it computes for longer."""
    most = math.ceil(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _group(mutant: Mutant) -> str:
    return f"{mutant.path}:{mutant.function}"


def _outcome(status: int, *, late: bool) -> str:
    code = os.waitstatus_to_exitcode(status)
    if late or code in (-signal.SIGXCPU, -signal.SIGKILL):
        return TIMED_OUT
    return {0: SURVIVED, NO_MUTANT: NOT_PLANTED}.get(code, KILLED)


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # nobody is left of it


def _in_child(folder: Path, does: Callable[[], int]) -> None:
    """Never returns. Silent, with folders of its own, and nothing of the parent's is cleaned up."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
        silent = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(silent, descriptor)
        status = does()
    finally:
        os._exit(status)


def _show(
    session: pytest.Session, mutant: Mutant, functions: Live, tests: list[str], says: int
) -> int:
    """0 if no test notices."""
    if not plant(mutant, functions):
        return NO_MUTANT
    items = {item.nodeid: item for item in session.items}
    for nodeid, failed in _run(session, [items[test] for test in tests]):
        if failed:
            os.write(says, nodeid.encode())
            return 1
    return 0


def _run(session: pytest.Session, items: Sequence[pytest.Item]) -> Iterator[tuple[str, bool]]:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield item.nodeid, bool(session.testsfailed)


def _measure(session: pytest.Session, paths: Sequence[Path]) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="keyman-mutants-"))
    answer = folder / "measured.json"
    pid = os.fork()
    if pid == 0:
        _in_child(folder, lambda: _measured(session, paths, answer))
    _, status = os.waitpid(pid, 0)
    _end(pid)
    try:
        if not answer.exists():
            return Measured(failed=f"the tests ended with status {status} before any mutant")
        return Measured(**json.loads(answer.read_text(), object_hook=_numbered))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _numbered(read: dict[str, Any]) -> dict[Any, Any]:
    """JSON knows no numbers as keys."""
    return {int(key) if key.isdigit() else key: value for key, value in read.items()}


def _worked() -> float:
    """Seconds of a processor, those of ended children too: other work on it is not counted."""
    return sum(os.times()[:4])


def _measured(session: pytest.Session, paths: Sequence[Path], answer: Path) -> int:
    cov = coverage.Coverage(
        data_file=None, branch=True, config_file=False, include=[str(path) for path in paths]
    )
    found = Measured()
    cov.start()
    began = _worked()
    cov.switch_context(session.items[0].nodeid)
    for at, (nodeid, failed) in enumerate(_run(session, session.items), 1):
        found.seconds[nodeid] = _worked() - began
        if failed:
            found.failed = f"{nodeid} fails without any mutant"
            break
        if at < len(session.items):
            cov.switch_context(session.items[at].nodeid)
        began = _worked()
    cov.stop()
    data = cov.get_data()
    found.tests = {path: data.contexts_by_lineno(path) for path in map(str, paths)}
    report = answer.with_suffix(".report")
    cov.json_report(outfile=str(report), morfs=[str(path) for path in paths])
    found.coverage = json.loads(report.read_text())["files"]
    told = {name: getattr(found, name) for name in Measured.__slots__}
    partial = answer.with_suffix(".part")
    partial.write_text(json.dumps(told))
    partial.rename(answer)
    return 0
