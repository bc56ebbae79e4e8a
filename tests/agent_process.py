"""An agent in a process of its own, which answers what a test says, and can be killed.

The real server, snapshot and page on the system's clock; only the desk behind it is one that
remembers what it is told. A restarted one has forgotten what it served, as a daemon that has not
read its journal yet.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyman.clock import SystemClock
from keyman.serving.api import Api
from keyman.serving.page import open_page
from keyman.serving.server import Agent
from keyman.serving.snapshot import Snapshot
from tests.commands.forked import Forked
from tests.scratch import SHORT
from tests.serving.world import MemoryDesk, nothing_usable, version_is

ROOT = Path(__file__).parents[1]


class AgentProcess:
    """The test's side. Each call returns once it is done over there."""

    def __init__(self, home: Path) -> None:
        self.path = home / "agent.sock"
        self._process: subprocess.Popen[str] | None = None

    @property
    def page(self) -> Path:
        return self.path.parent / "generation"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *serve: tuple[str, int], shared: bool = False) -> None:
        """With these names and versions answered before anybody can ask."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = Forked("tests.agent_process", [str(self.path.parent)], cwd=ROOT, **streams)
        self._say("begin", serve=serve, shared=shared)

    def serve(self, name: str, version: int, **options: Any) -> None:
        self._say("serve", name=name, version=version, **options)

    def refuse(self, name: str, revision: int) -> None:
        self._say("refuse", name=name, revision=revision)

    def withdraw(self, name: str) -> None:
        self._say("withdraw", name=name)

    def ask_again(self, name: str) -> None:
        self._say("ask_again", name=name)

    def reports(self) -> list[list[Any]]:
        found: list[list[Any]] = self._say("reports")
        return found

    def stop(self) -> None:
        """The way a daemon ends that is asked to."""
        self._say("stop")
        self._end()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._end()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        if self._process is not None:
            self.kill()

    def _end(self) -> None:
        assert self._process is not None
        self._process.communicate()
        self._process = None

    def _say(self, what: str, **more: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"what": what, **more}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def agent_process() -> Iterator[AgentProcess]:
    with tempfile.TemporaryDirectory(prefix="km-", dir=SHORT) as home:
        one = AgentProcess(Path(home))
        try:
            yield one
        finally:
            one.close()


# The other side.


class Served:
    def __init__(self, home: Path, *, shared: bool) -> None:
        clock = SystemClock()
        page = open_page(home, key=b"these tests", shared=shared, now=clock.now)
        self.snapshot = Snapshot(clock, page)
        self.desk = MemoryDesk(self.snapshot)
        api = Api(self.desk, self.snapshot, reload=dict, since=clock.now())
        self.agent = Agent(api, home / "agent.sock", allow_uids=[1] if shared else [])

    def serve(
        self,
        name: str,
        version: int,
        previous: int | None = None,
        lasts: float | None = None,
        standing: int | None = None,
    ) -> None:
        self.desk.credentials[name] = {"name": name}
        ends = None if lasts is None else datetime.now(UTC) + timedelta(seconds=lasts)
        answer = version_is(name, version, previous=previous, expires_at=ends)
        self.snapshot.publish(
            name, answer if standing is None else replace(answer, standing=standing)
        )

    def ask_again(self, name: str) -> None:
        self.snapshot.ask_again([name])

    def refuse(self, name: str, revision: int) -> None:
        self.snapshot.publish(name, nothing_usable(revision))

    def withdraw(self, name: str) -> None:
        self.snapshot.withdraw(name)

    def reports(self) -> list[Any]:
        return self.desk.reports

    def stop(self) -> None:
        self.agent.stop()


def main(home: Path) -> None:
    asked = map(json.loads, sys.stdin)
    begin = next(asked)
    served = Served(home, shared=begin["shared"])
    for name, version in begin["serve"]:
        served.serve(name, version)
    served.agent.start()
    print("null", flush=True)
    for one in asked:
        done = getattr(served, one.pop("what"))(**one)
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
