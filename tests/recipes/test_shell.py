"""Lines for a shell. Where a command could see a secret in its arguments, it is watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyman.sandbox.keys import sha256
from tests.recipes.page import Block
from tests.recipes.world import Machine
from tests.servers import require

SPY = """\
#!/bin/sh
{{ printf '%s\\n' "$@"; env; }} >> '{notes}'
exec {real} "$@"
"""
DIGEST = 'while read -r _; do printf %s "$OPENAI_API_KEY" | sha256sum | cut -d" " -f1; done'
APP = """\
import hashlib, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
shown = hashlib.sha256(os.environ["OPENAI_API_KEY"].encode()).hexdigest()
print(shown, flush=True)
for line in sys.stdin:
    print(shown, flush=True)
"""


@pytest.fixture
def spied(box: Machine) -> Iterator[Path]:
    """curl, with its arguments and environment written down; the file that has them."""
    real = shutil.which("curl")
    require("curl", found=real, hint="apt-get install curl")
    notes, spy = box.folder / "curl.notes", box.bin / "curl"
    spy.write_text(SPY.format(notes=notes, real=real))
    spy.chmod(0o755)
    yield notes
    spy.unlink()
    notes.unlink()


def each_call_has_the_current_secret(box: Machine, text: str, notes: Path, answer: str) -> None:
    for comes in (box.current, box.revoke):
        secret = comes()
        before = box.seen(secret)
        done = box.sh(text)
        assert (done.status, answer in done.out, done.err) == (0, True, "")
        assert box.seen(secret).accepted == before.accepted + 1
        assert secret not in notes.read_text()


def test_curl(box: Machine, pasted: list[Block], spied: Path) -> None:
    each_call_has_the_current_secret(box, pasted[0].text, spied, "pong")


def test_curl_with_a_body(box: Machine, pasted: list[Block], spied: Path) -> None:
    each_call_has_the_current_secret(box, pasted[0].text, spied, "pong")
    assert list(box.folder.glob("tmp.*")) == []


def test_curl_with_a_configuration(box: Machine, pasted: list[Block], spied: Path) -> None:
    each_call_has_the_current_secret(box, pasted[0].text, spied, "gpt-5")


def test_a_secret_in_an_argument_would_be_noticed(box: Machine, spied: Path) -> None:
    done = box.sh('curl -s -H "Authorization: Bearer $(keyman get genai)" http://127.0.0.1:9')
    assert done.status == 7
    assert box.current() in spied.read_text()


def test_a_loop(box: Machine, pasted: list[Block], spied: Path) -> None:
    question = '{"model": "gpt-5", "messages": [{"role": "user", "content": "ping"}]}'
    with box.program(["/bin/sh", "-c", pasted[0].text]) as loop:
        first = box.current()
        assert "pong" in loop.ask(question)
        new = box.revoke()
        assert "pong" in loop.ask(question)
    assert box.seen(first).rejected == 0
    assert not any(secret in spied.read_text() for secret in (first, new))


def test_an_open_shell(box: Machine, pasted: list[Block]) -> None:
    with box.program(["/bin/sh", "-c", pasted[0].text + DIGEST]) as shell:
        old = box.current()
        assert shell.ask() == sha256(old)
        box.rotate()
        assert shell.ask() == sha256(old)
    with box.program(["/bin/sh", "-c", pasted[0].text + DIGEST]) as another:
        assert another.ask() == sha256(box.current())


def test_every_prompt(box: Machine, pasted: list[Block]) -> None:
    bash = shutil.which("bash")
    require("bash", found=bash, hint="apt-get install bash")
    (box.folder / "rc").write_text(pasted[0].text)
    asked = 'printf %s "$OPENAI_API_KEY" | sha256sum | cut -d" " -f1'
    with box.program([str(bash), "--rcfile", "rc", "-i"]) as shell:
        assert shell.ask(asked) == sha256(box.current())
        new = box.revoke()
        shell.ask("echo the prompt after this line asks anew")
        assert shell.ask(asked) == sha256(new)


def test_a_program_that_is_started_again(box: Machine, pasted: list[Block]) -> None:
    (box.folder / "app.py").write_text(APP)
    with box.program(["/bin/sh", "-c", "exec " + pasted[0].text]) as app:
        assert app.says() == sha256(box.current())
        new = box.rotate()
        assert app.says() == sha256(new)
    once = pasted[0].filled({" --restart": ""})
    with box.program(["/bin/sh", "-c", "exec " + once]) as app:
        assert app.says() == sha256(new)
        box.rotate()
        assert app.ask() == sha256(new)  # it keeps what it started with


def test_cron(box: Machine, pasted: list[Block]) -> None:
    """A crontab as cron reads it: variables, then five fields and a line for /bin/sh."""
    job = box.folder / "job"
    job.write_text('#!/bin/sh\nprintf %s "$OPENAI_API_KEY" | sha256sum\n')
    job.chmod(0o755)
    filled = pasted[0].filled(
        {
            "/run/keyman": box.place.state,
            "/opt/keyman/bin": box.bin,
            "/opt/app/bin/job": job,
        }
    )
    setting, line = filled.splitlines()
    name, _, value = setting.partition("=")
    *when, command = line.split(maxsplit=5)
    assert [field in ("*", "*/10") for field in when] == [True] * 5
    poor = {name: value, "HOME": str(box.folder), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    for comes in (box.current, box.revoke):
        secret = comes()
        done = box.run(["/bin/sh", "-c", command], poor)
        assert (done.status, done.out.split()[0]) == (0, sha256(secret)), done.err
