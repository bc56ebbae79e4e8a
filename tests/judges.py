"""Programs that read what keyman writes for them: shells, and readers of `.env` files.

They are the real ones, asked about thousands of values in one process each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from tests.servers import require

ROOT = Path(__file__).resolve().parent.parent
NODE_MODULES = ROOT / ".tools/node/node_modules"
NODE_HINT = (
    "apt-get install nodejs npm; mkdir -p .tools/node; cp requirements/node/*.json .tools/node; "
    "npm ci --prefix .tools/node --ignore-scripts"
)
PACKAGES = {"sh": "dash", "nc": "netcat-openbsd", "busybox": "busybox-static"}
MISSING = b"<not there>"

# What some parser or other acts on, beside letters, blanks of all kinds, and bytes of all sorts.
SIGNS = "'\"`$\\{}()[]<>|&;!*?~#%^=:,.@+-_/ \t"
STRANGE = "\x01\x07\x0b\x0c\x1b\x1f\x7f\x80\x81\x85\x88\xa0äß€\u2018\u2019\u201a\u201b\u2028\u2029"
PIECES = (
    "${HOME}",
    "${",
    "$HOME",
    "$(id)",
    "\\n",
    "\\'",
    "'\\''",
    "%PATH%",
    "!!",
    "~root",
    " #",
    "a",
)


def program(name: str) -> str:
    """Where it is; the test is skipped, or fails where it is required, if it is not there."""
    found = shutil.which(name)
    require(name, found=found, hint=f"apt-get install {PACKAGES.get(name, name)}")
    return str(found)


def values(seed: int, count: int) -> list[str]:
    """Values of one line each, most of them as awkward as can be."""
    dice = random.Random(seed)
    alphabets = ("abcXYZ019", SIGNS, SIGNS + "ab" + STRANGE, "-_./+=:@%,ab", "\\'\"")
    made = []
    for _ in range(count):
        letters = dice.choice(alphabets)
        value = "".join(dice.choice(letters) for _ in range(dice.randrange(1, 24)))
        if dice.random() < 0.3:
            at = dice.randrange(len(value) + 1)
            value = value[:at] + dice.choice(PIECES) + value[at:]
        made.append(value)
    return made


DUMP = (
    "import os, sys; sys.stdout.buffer.write(b'\\0'.join("
    f"os.environb.get(b'V%d' % i, {MISSING!r}) for i in range(int(sys.argv[1]))))"
)


def environment_after(command: list[str], script: str, count: int) -> list[str]:
    """What a program finds in V0, V1, … that is started after the shell has run the script."""
    with tempfile.TemporaryDirectory() as folder:  # fish makes itself a home where there is none
        ran = subprocess.run(
            [*command, sys.executable, "-I", "-S", "-c", DUMP, str(count)],
            input=script.encode(),
            capture_output=True,
            timeout=60,
            check=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": folder, "LANG": "C.UTF-8"},
        )
    assert ran.stderr == b""
    return [value.decode() for value in ran.stdout.split(b"\0")]


def python_dotenv(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=StringIO(text, newline=None)))


def node_dotenv(texts: list[str]) -> list[dict[str, str | None]]:
    """What node's dotenv reads in each of the texts."""
    found = (NODE_MODULES / "dotenv").is_dir() and shutil.which("node")
    require("node's dotenv", found=found, hint=NODE_HINT)
    asked = (
        "const {parse} = require('dotenv');"
        "const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "process.stdout.write(JSON.stringify(texts.map(text => parse(text))));"
    )
    ran = subprocess.run(
        [str(shutil.which("node")), "-e", asked],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": os.environ.get("PATH", os.defpath), "NODE_PATH": str(NODE_MODULES)},
    )
    read: list[dict[str, str | None]] = json.loads(ran.stdout)
    return read
