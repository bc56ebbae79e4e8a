"""A program that was started once and is asked again and again while secrets are replaced."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest

from tests.commands.world import GENEROUS


def here(name: str, found: object, hint: str) -> str:
    """Where it is. The test is skipped without it, also where all real servers are required:
    these are tools of others that no test may ask a machine to have.
    """
    if not found:
        pytest.skip(f"{name} is not here: {hint}")
    return str(found)


EVALUATES = """
import sys
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


class Program:
    """A program that was started once; it says a line for each line that it is told."""

    def __init__(self, command: list[str], variables: Mapping[str, str], folder: Path) -> None:
        self._errors = (folder / "program.err").open("w+")
        self.process = subprocess.Popen(
            command,
            env=variables,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(GENEROUS)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self._errors.close()

    def ask(self, line: str = "") -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return self.says()

    def says(self) -> str:
        """Its next line."""
        out = self.process.stdout
        assert out is not None
        said = b""
        while not said.endswith(b"\n"):
            assert select.select([out], [], [], GENEROUS)[0], self.complaint()
            piece = out.read(1)
            assert piece, self.complaint()
            said += piece
        return said.decode().removesuffix("\n")

    def until_it_says(self, words: str) -> None:
        while words not in self.says():
            pass

    def complaint(self) -> str:
        self._errors.seek(0)
        return f"{self.process.args!r}: {self._errors.read()}"
