"""Programs in other languages, over HTTP."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.recipes.page import Block
from tests.recipes.program import Program, here
from tests.recipes.world import Machine
from tests.servers import require

NODE = """
require("node:readline").createInterface({ input: process.stdin }).on("line", (name) =>
  secret(name).then((said) => console.log(said.value), (error) => console.log(error.message)));
"""
GO = """\
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	for names := bufio.NewScanner(os.Stdin); names.Scan(); {
		if value, err := Secret(names.Text()); err == nil {
			fmt.Println(value)
		} else {
			fmt.Println(err)
		}
	}
}
"""


def gives_the_current_secret(box: Machine, app: Program) -> None:
    for comes in (box.current, box.revoke):
        secret = comes()
        assert app.ask("genai") == secret
    assert "no credential" in app.ask("nobody")


@pytest.mark.slow
def test_node(box: Machine, pasted: list[Block]) -> None:
    node = shutil.which("node")
    require("node", found=node, hint="apt-get install nodejs")
    with box.program([str(node), "-e", pasted[0].text + NODE], over_the_socket(box)) as app:
        gives_the_current_secret(box, app)


def test_go(box: Machine, pasted: list[Block], tmp_path: Path) -> None:
    go = here("go", shutil.which("go"), "apt-get install golang-go")
    (tmp_path / "secret.go").write_text(pasted[0].text)
    (tmp_path / "main.go").write_text(GO)
    files = [str(tmp_path / name) for name in ("secret.go", "main.go")]
    # What Go compiled of its own library lies in a folder of the user's; once is enough.
    kept = subprocess.run([go, "env", "GOCACHE"], check=True, capture_output=True, text=True)
    variables = {**over_the_socket(box), "GOCACHE": kept.stdout.strip()}
    with box.program([go, "run", *files], variables) as app:
        gives_the_current_secret(box, app)


def over_the_socket(box: Machine) -> dict[str, str]:
    return {**box.variables, "KEYMAN_SOCKET": str(box.place.state / "agent.sock")}


def test_waiting_for_the_next_one(box: Machine, pasted: list[Block]) -> None:
    require("curl", found=shutil.which("curl"), hint="apt-get install curl")
    announced = pasted[0].text.replace("curl", "echo waiting\ncurl", 1)
    with box.program(["/bin/sh", "-c", f"{announced}echo"], over_the_socket(box)) as app:
        assert app.says() == "waiting"
        new = box.rotate()
        said = json.loads(app.says())
    assert said["value"] == new
