"""All clouds at once for a person: what the folder holds works, and every way to break does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyman.config import load
from keyman.sandbox import breaking
from keyman.sandbox.breaking import WAYS, Doors
from tests.commands.world import GENEROUS, ROOT, Cloud, Home, until
from tests.scratch import short_folder

NAMES = ["genai", "vertex", "openai-main", "partner"]


@dataclass
class Tried:
    """The sandbox as a process, its folder, and a home beside it as the guide has it."""

    folder: Path
    said: Path
    home: Home

    @property
    def guide(self) -> list[tuple[list[str], str]]:
        """The commands that it told the person to type, and what is piped into each."""
        found = []
        for line in map(str.strip, self.said.read_text().splitlines()):
            piped, _, command = line.rpartition(" | ")
            if command.startswith("keyman "):
                given = Path(piped.removeprefix("cat ")).read_text() if piped else ""
                found.append((shlex.split(command)[1:], given))
        return found

    def told(self) -> list[str]:
        return re.findall(r"(?m)^TOLD keyman: (.*)$", self.said.read_text())

    def breaks(self, *words: str) -> None:
        assert breaking.main([str(self.folder), *words]) == 0

    def truth(self, cloud: str) -> Any:
        return Doors(self.folder).ask(cloud, "GET", "truth")


@dataclass
class Place(Home):
    """A home whose files are where the sandbox put them."""

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    outside = short_folder()
    folder, said = outside / "sandbox", outside / "said"
    command = [sys.executable, "-m", "keyman.sandbox", "--service", "all", "--kind"]
    with (
        said.open("w") as out,
        subprocess.Popen([*command, f"--profile-dir={folder}"], stdout=out, cwd=ROOT) as process,
    ):
        try:
            until(lambda: "keyman daemon" in said.read_text(), said.read_text)
            yield Tried(folder, said, Place(Cloud("", folder), folder))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(GENEROUS)
            shutil.rmtree(outside)


def test_the_guide_leads_to_a_credential_of_each_kind(tried: Tried) -> None:
    place = tried.home
    *prepare, daemon = tried.guide
    assert daemon == (["daemon"], "")
    for words, piped in prepare:
        done = place.keyman(*words, stdin=piped)
        assert done.status == 0, done.err
    assert list(place.settings.credentials) == NAMES
    with place.daemon():
        until(lambda: all(place.keyman("get", name).status == 0 for name in NAMES))
        for name in NAMES[:3]:
            assert place.keyman("rotate", name).status == 0
        found = place.keyman("status", "--json").json["credentials"]
        assert {one["name"]: one["health"] for one in found} == dict.fromkeys(NAMES, "ok")
        assert place.keyman("notify", "test").status == 0
        assert tried.told() == ["a test message"]


def test_no_other_may_read_what_is_in_the_folder(tried: Tried) -> None:
    made = {one for one in tried.folder.iterdir() if one.is_file() and one.name != "daemon.log"}
    assert len(made) >= 8
    assert {oct(one.stat().st_mode & 0o777) for one in made} == {"0o600"}


def test_a_folder_that_was_used_before_is_refused_and_left_as_it_is(tried: Tried) -> None:
    before = {one: one.stat().st_mtime_ns for one in tried.folder.iterdir()}
    command = [sys.executable, "-m", "keyman.sandbox", "--service", "all"]
    again = subprocess.run(
        [*command, f"--profile-dir={tried.folder}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert {one: one.stat().st_mtime_ns for one in tried.folder.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for name, ways in WAYS.items() for how in ways if how != "delete"]
)
def test_each_way_to_break_works_and_mend_takes_it_back(tried: Tried, name: str, how: str) -> None:
    tried.breaks(name, how)
    doors = Doors(tried.folder)
    faults = {cloud: doors.ask(cloud, "GET", "faults") for cloud in ("oci", "google", "openai")}
    assert any(faults.values()) == (how == "refuse")
    tried.breaks("mend")
    assert not any(doors.ask(cloud, "GET", "faults") for cloud in faults)
    if how in ("off", "revoke"):  # the slots are used up: somebody brings them back
        key = doors.api_key()
        for slot in key["slots"]:
            doors.act("oci", "renew", key_id=key["id"], slot=slot["keyName"])
            doors.act("oci", "activate", key_id=key["id"], slot=slot["keyName"])


def test_what_is_deleted_is_the_newest_of_its_account(tried: Tried) -> None:
    before = tried.folder.joinpath("partner.secret").read_text()
    tried.breaks("partner", "new")
    assert tried.folder.joinpath("partner.secret").read_text() != before
    doors = Doors(tried.folder)
    newest = doors.openai_key("partner")
    tried.breaks("partner", "delete")
    gone = [one["id"] for one in tried.truth("openai")["keys"] if one["deleted"]]
    assert newest in gone
    assert doors.openai_key("account") not in gone


def test_what_can_t_be_broken_is_said(
    tried: Tried, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert breaking.main([str(tried.folder)]) == 0
    listed = capsys.readouterr().out
    assert [name for name in NAMES if name not in listed] == []
    assert breaking.main([str(tried.folder), "genai", "sideways"]) == 2
    assert breaking.main([str(tmp_path), "mend"]) == 1
    assert "no sandbox was started with --service all" in capsys.readouterr().err


def test_the_configuration_is_whole(tried: Tried) -> None:
    settings = load(tried.folder / "config.yaml", home=tried.folder / "home", environ=os.environ)
    assert {one.provider for one in settings.credentials.values()} == {
        "oci-genai",
        "google",
        "openai",
        "static",
    }
    assert [one.name for one in settings.notify] == ["sandbox"]
