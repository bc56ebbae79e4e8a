"""Where what a command says can't be said: two lines and a status, or the work goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.world import GENEROUS, Cloud, Home, home, until

FULL = Path("/dev/full")  # a device whose every write finds no space left
pytestmark = pytest.mark.skipif(
    not FULL.exists(), reason="there is no /dev/full: pytest tests/commands/test_output.py on Linux"
)


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python is unless it is told otherwise: what fails may be tried once more at the end."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture(scope="module")
def kept(sky: Cloud) -> Iterator[Home]:
    with home(sky) as made:
        made.start()
        with made.daemon():
            yield made


def shell(place: Home, words: str) -> tuple[int, str, str]:
    """What a shell makes of `keyman WORDS`."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -P -m keyman {words}"],
        env=place.variables,
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("where", ["/dev/full", "&-"], ids=["full", "closed"])
@pytest.mark.parametrize(
    "words", ["get genai", "get genai --json", "get --help", "env genai", "env genai --json"]
)
def test_an_error_is_two_lines(kept: Home, words: str, where: str) -> None:
    status, _, said = shell(kept, f"{words} >{where}")
    why = "No space left on device" if where == "/dev/full" else "it is closed"
    assert status == 1
    assert said.splitlines() == [
        f"keyman: error: the output could not be written: {why}",
        "keyman: hint: look where standard output leads, and whether there is room",
    ]


@pytest.mark.parametrize("where", ["/dev/full", "&-"], ids=["full", "closed"])
@pytest.mark.parametrize(
    ("words", "status"), [("get genai --loudly", 2), ("get nobody --json", 3), ("run genai", 2)]
)
def test_where_nothing_can_be_said_the_status_says_it(
    kept: Home, words: str, status: int, where: str
) -> None:
    assert shell(kept, f"{words} >{where} 2>{where}")[0] == status


def test_a_reader_that_has_enough_is_no_error(kept: Home) -> None:
    assert shell(kept, "get genai | true")[::2] == (0, "")


def test_a_file_is_written_although_nobody_can_be_told(kept: Home, tmp_path: Path) -> None:
    to = tmp_path / "key"
    status, _, said = shell(kept, f"write genai --format raw --to {to} >/dev/full")
    assert (status, said.count("\n")) == (1, 2)
    assert to.read_text() == kept.keyman("get", "genai").out.strip()


@pytest.mark.parametrize("both", [False, True], ids=["output", "errors-too"])
def test_watching_goes_on(place: Home, tmp_path: Path, both: bool) -> None:
    place.start()
    to, said = tmp_path / "key", tmp_path / "said"
    words = ("write", "genai", "--format", "raw", "--to", str(to), "--watch")
    with FULL.open("w") as full, said.open("w") as heard:
        streams = {"stdout": full, "stderr": full if both else heard}
        with place.daemon(), place.process(*words, **streams) as process:
            try:
                until(to.exists)
                assert place.keyman("rotate", "genai").status == 0
                now = place.keyman("get", "genai").out.strip()
                lines = [f"keyman: genai: version {number} written to {to}" for number in (1, 2)]
                told = [] if both else lines  # it writes first, and says so then
                until(
                    lambda: (
                        (to.read_text(), said.read_text().splitlines()) == (now, told)
                        or process.poll() is not None
                    )
                )
                assert (to.read_text(), process.poll()) == (now, None)
                process.terminate()
                process.wait(timeout=GENEROUS)
            finally:
                process.kill()
    assert (process.returncode, said.read_text().splitlines()) == (0, told)


def test_nor_does_a_reader_that_left_end_it(place: Home, tmp_path: Path) -> None:
    """As a log's does that is started again."""
    place.start()
    to = tmp_path / "key"
    words = ("write", "genai", "--format", "raw", "--to", str(to), "--watch")
    with place.daemon(), place.process(*words) as process:
        try:
            until(to.exists)
            assert process.stdout is not None
            process.stdout.close()
            assert place.keyman("rotate", "genai").status == 0
            now = place.keyman("get", "genai").out.strip()
            until(lambda: to.read_text() == now or process.poll() is not None)
            assert process.poll() is None
        finally:
            process.kill()
