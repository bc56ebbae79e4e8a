"""Coding tools. They are not here: what they read is read as they do, and what they run is run."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from keyman.sandbox.keys import sha256
from tests.recipes.page import Block
from tests.recipes.world import Machine
from tests.servers import require

TOLD = """\
#!/bin/sh
printf '%s\\n' "$*"
printf %s "$OPENAI_API_KEY" | sha256sum | cut -d' ' -f1
printf '%s\\n' "$OPENAI_BASE_URL"
"""


@pytest.fixture
def tells(box: Machine) -> Iterator[Callable[[str], None]]:
    """Puts a stand-in for a tool into PATH that tells how it was started."""
    made = []

    def put(tool: str) -> None:
        stand_in = box.bin / tool
        stand_in.write_text(TOLD)
        stand_in.chmod(0o755)
        made.append(stand_in)

    yield put
    for stand_in in made:
        stand_in.unlink()


def starts_with_the_current_secret(box: Machine, line: str, words: str) -> None:
    for comes in (box.current, box.revoke):
        secret = comes()
        done = box.sh(line)
        assert done.out.splitlines() == [words, sha256(secret), box.openai.base_url], done.err


def test_claude_code(box: Machine, pasted: list[Block]) -> None:
    settings = json.loads(pasted[0].text)
    assert int(settings["env"]["CLAUDE_CODE_API_KEY_HELPER_TTL_MS"]) == 60_000
    for comes in (box.current, box.put):
        secret = comes("partner")
        done = box.run(["/bin/sh", "-c", settings["apiKeyHelper"]])
        assert (done.status, done.out, done.err) == (0, f"{secret}\n", "")


def test_codex(box: Machine, pasted: list[Block]) -> None:
    read: dict[str, Any] = tomllib.loads(pasted[0].text)
    provider = read["model_providers"][read["model_provider"]]
    assert provider["wire_api"] == "responses"
    auth = provider["auth"]
    for comes in (box.current, box.revoke):
        secret = comes()
        done = box.run([auth["command"], *auth["args"]])
        assert (done.status, done.out, done.err) == (0, f"{secret}\n", "")


CRUSH = """\
provider() { printf '%s\\n' "$@"; }
model() { :; }
"""


def test_crush(box: Machine, pasted: list[Block]) -> None:
    """The tool has a bash of its own in which these two are commands."""
    bash = shutil.which("bash")
    require("bash", found=bash, hint="apt-get install bash")
    for comes in (box.current, box.revoke):
        secret = comes()
        done = box.sh(CRUSH + pasted[0].text, shell=str(bash))
        words = done.out.splitlines()
        told = dict(zip(words[2::2], words[3::2], strict=True))
        assert words[:2] == ["add", "genai"]
        assert (told["--base-url"], told["--api-key"]) == (box.openai.base_url, secret)


def test_cline(box: Machine, pasted: list[Block], tells: Callable[[str], None]) -> None:
    tells("cline")
    settings, line = pasted
    read = json.loads(settings.text)
    provider = read["providers"][read["lastUsedProvider"]]["settings"]["provider"]
    assert "apiKey" not in settings.text
    words = f"-P {provider} say hello"
    starts_with_the_current_secret(box, line.text, words)


JQ = """\
#!/bin/sh
stat -L -c %a /proc/self/fd/1 >> '{rights}'
exec '{jq}' "$@"
"""


@pytest.fixture
def rights(box: Machine) -> Iterator[Path]:
    """A file with the rights of what jq wrote to, as they were before it did."""
    jq, stands_in = shutil.which("jq"), box.bin / "jq"
    require("jq", found=jq, hint="apt-get install jq")
    rights = box.folder / "rights"
    stands_in.write_text(JQ.format(rights=rights, jq=jq))
    stands_in.chmod(0o755)
    yield rights
    stands_in.unlink()


def test_cline_with_the_key_in_its_file(box: Machine, pasted: list[Block], rights: Path) -> None:
    file = box.folder / ".cline/data/settings/providers.json"
    file.parent.mkdir(parents=True)
    file.with_name("providers.json.new").touch(mode=0o644)  # left behind by somebody
    other = {"settings": {"provider": "openai-native", "apiKey": "not ours"}}
    ours = {"settings": {"provider": "openai-compatible", "model": "gpt-5"}}
    before = {"version": 1, "providers": {"openai-native": other, "openai-compatible": ours}}
    file.write_text(json.dumps(before))
    for comes in (box.current, box.revoke):
        added = {"apiKey": comes(), "baseUrl": box.openai.base_url}
        done = box.sh(f"umask 022\n{pasted[0].text}")
        assert (done.status, done.err) == (0, "")
        ours["settings"] |= added
        assert json.loads(file.read_text()) == before
        assert file.stat().st_mode & 0o777 == 0o600
    assert rights.read_text() == "600\n600\n"
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert box.sh(pasted[0].filled({"keyman get genai": "keyman get nobody"})).status != 0
    assert json.loads(file.read_text()) == before


def test_continue(box: Machine, pasted: list[Block]) -> None:
    line, config = pasted
    model = yaml.safe_load(config.text)["models"][0]
    variable = model["apiKey"].removeprefix("${{ secrets.").removesuffix(" }}")
    file = box.folder / ".continue/.env"
    file.parent.mkdir()
    file.write_text("OTHER=kept\n")
    with box.program(["/bin/sh", "-c", f"exec {line.text}"]) as writer:
        for comes in (box.current, box.revoke):
            secret = comes()
            writer.until_it_says("written to")
            values = dotenv_values(file)
            assert (values[variable], values["OTHER"]) == (secret, "kept")


def test_aider(box: Machine, pasted: list[Block], tells: Callable[[str], None]) -> None:
    tells("aider")
    starts_with_the_current_secret(box, pasted[0].text, "--model openai/gpt-5")


def test_vs_code(box: Machine, pasted: list[Block], tmp_path: Path) -> None:
    tasks, launch = (json.loads(block.filled({"${workspaceFolder}": tmp_path})) for block in pasted)
    [task], [configuration] = tasks["tasks"], launch["configurations"]
    assert configuration["preLaunchTask"] == task["label"]
    for comes in (box.current, box.revoke):
        secret = comes()
        done = box.run([task["command"], *task["args"]])
        assert done.status == 0, done.err
        assert dotenv_values(configuration["envFile"])["OPENAI_API_KEY"] == secret
