"""A cloud of one life: the sandbox in a process of its own, with its doors for tests.

Started as anybody would start it, with an environment of its own; it outlives the daemon. Knows
nothing of keyman.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "powercut"  # in every secret of every cloud here


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Nothing of this process' own but where programs and our code are."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), **more}


class RefusedByConsoleError(Exception):
    """The sandbox would not do what a person in the console asked."""


class Cloud:
    """`folder` is where its credentials are written."""

    def __init__(self, folder: Path, seed: int, *arguments: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "keyman.sandbox", "--seed", str(seed), *arguments]
        command += ["--profile-dir", str(folder)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder.parent), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the sandbox did not start"

    def ask(self, method: str, door: str, body: object = None) -> Any:
        """One request to a door under /sandbox/."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        with closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, f"/sandbox/{door}", sent)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        if answer.status != 200:
            raise RefusedByConsoleError(said)
        return said

    def act(self, action: str, **how: object) -> Any:
        """Somebody in the console does this. Raises RefusedByConsoleError."""
        return self.ask("POST", "drift", {"action": action, **how})

    def log(self, operation: str | None = None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask(
            "GET", f"log?operation={operation}" if operation else "log"
        )
        return found

    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", "truth")
        return found

    def suffer(self, rules: list[dict[str, object]]) -> None:
        """Let these faults be in force, and no others."""
        self.ask("DELETE", "faults")
        if rules:
            self.ask("POST", "faults", rules)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class Line:
    """One application's connection to inference: kept open, made anew when it breaks."""

    def __init__(self, model: str) -> None:
        question = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        self._question = json.dumps(question).encode()
        self._connection: HTTPConnection | None = None

    def call(self, base_url: str, secret: str) -> int | None:
        """The status of one chat completion; None if there was no answer."""
        address = urlsplit(base_url)
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        self._connection = self._connection or HTTPConnection(address.netloc, timeout=5)
        try:
            path = f"{address.path}/chat/completions"
            self._connection.request("POST", path, self._question, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, HTTPException):
            self._connection.close()
            self._connection = None
            return None
        return answer.status
