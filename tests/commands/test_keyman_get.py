"""`keyman-get NAME`: the shell script, under several shells and with every way to ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.odd_agent import answer, odd_agent
from tests.commands.world import GENEROUS, ROOT, Cloud, Done, Home, home
from tests.judges import program

SCRIPT = ROOT / "scripts/keyman-get"
SHELLS = ("sh", "dash", "bash", "zsh --emulate sh")
BUSYBOX = "busybox sh"  # prefers an nc of its own, which knows no unix sockets
NEEDED = ("nc", "curl")
# Instead of `keyman`: says that it was asked, and with which words.
STAND_IN = '#!/bin/sh\nprintf "asked: %s\\n" "$*"\nexit 9\n'
# Prints its environment as it is, without a program to do so.
ENVIRON = 'while read -r line || [ -n "$line" ]; do echo "$line"; done </proc/self/environ'
REFUSAL = '{"error":{"code":"no_usable_secret","message":"genai: expired","hint":"wait"}}'


@pytest.fixture(scope="module")
def kept(sky: Cloud) -> Iterator[Home]:
    """A home whose daemon runs and where nothing changes."""
    with home(sky) as made:
        made.start()
        with made.daemon():
            yield made


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """The only folder in PATH: a stand-in for `keyman`, and what a test links into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "keyman").write_text(STAND_IN)
    (folder / "keyman").chmod(0o755)
    (folder / "sh").symlink_to(program("sh"))
    return folder


def keyman_get(
    *words: str,
    tools: Path,
    env: dict[str, str],
    with_: tuple[str, ...] = ("nc",),
    shell: str = "sh",
) -> Done:
    """Run the script where nothing is in PATH but these programs."""
    for name in with_:
        if not (tools / name).exists():
            (tools / name).symlink_to(program(name))
    name, *options = shell.split()
    ran = subprocess.run(
        [program(name), *options, str(SCRIPT), *words],
        env={"PATH": str(tools), "HOME": "/nowhere", **env},
        capture_output=True,
        text=True,
        timeout=GENEROUS,
        check=False,
    )
    return Done(ran.returncode, ran.stdout, ran.stderr)


def socket_of(place: Home) -> dict[str, str]:
    return at(place.state / "agent.sock")


def at(path: Path | str) -> dict[str, str]:
    return {"KEYMAN_SOCKET": str(path)}


# What it prints.


@pytest.mark.parametrize(
    ("shell", "asks_with"),
    [*((shell, tool) for shell in SHELLS for tool in NEEDED), (BUSYBOX, "curl")],
)
def test_the_secret_and_a_newline(kept: Home, tools: Path, shell: str, asks_with: str) -> None:
    done = keyman_get("genai", tools=tools, with_=(asks_with,), shell=shell, env=socket_of(kept))
    assert (done.status, done.out, done.err) == (0, kept.keyman("get", "genai").out, "")


@pytest.mark.parametrize("shell", [*SHELLS, BUSYBOX])
@pytest.mark.parametrize("name", ["nobody", "Genai", "", "gen ai", "genai\n", "../x", "é", "_a"])
def test_a_name_that_nobody_has(kept: Home, tools: Path, shell: str, name: str) -> None:
    done = keyman_get(name, tools=tools, with_=NEEDED, shell=shell, env=socket_of(kept))
    assert (done.status, done.out) == (3, "")
    assert done.err.splitlines() == [
        "keyman: error: no credential of that name",
        "keyman: hint: `keyman list` shows the names",
    ]


def test_a_name_that_can_t_be_one_is_never_asked_for(tools: Path) -> None:
    """This agent would answer anything."""
    with odd_agent(answer(b"sk-any\n")) as path:
        for name in ("a" * 63, "0", "a-_9"):
            assert keyman_get(name, tools=tools, env=at(path)).out == "sk-any\n"
        for name in ("a" * 64, "A", "aB", "_a", "a/b", "a?b", "a b", "a.b", "a\n", "ä", ""):
            done = keyman_get(name, tools=tools, env=at(path))
            assert (done.status, done.out) == (3, ""), name


@pytest.mark.parametrize(
    ("status", "exits"), [("403 Forbidden", 5), ("404 Not Found", 3), ("503 Unavailable", 4)]
)
@pytest.mark.parametrize("asks_with", NEEDED)
def test_a_refusal_is_said_in_the_agent_s_words(
    tools: Path, status: str, exits: int, asks_with: str
) -> None:
    with odd_agent(answer(REFUSAL.encode(), status=status)) as path:
        done = keyman_get("genai", tools=tools, with_=(asks_with,), env=at(path))
    assert (done.status, done.out) == (exits, "")
    assert done.err == "keyman: error: genai: expired\nkeyman: hint: wait\n"


def test_words_that_are_not_plain_are_not_repeated(tools: Path) -> None:
    body = b'{"error":{"message":"a\\u001b[31m","hint":"a\\"b"}}'
    with odd_agent(answer(body, status="503 Unavailable")) as path:
        done = keyman_get("genai", tools=tools, env=at(path))
    assert done.err.splitlines() == [
        "keyman: error: there is no secret for this name now",
        "keyman: hint: `keyman status` says why",
    ]


# What it leaves to `keyman get`.


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"not http at all\r\n\r\nsk-x\n",
        answer(b"sk-cut-o", "content-length: 12"),
        answer(b"sk-x\n", "content-length: 4"),
        answer(b"sk-x\n", "content-type: text/plain"),
        answer(b"sk-x\n", "transfer-encoding: chunked"),
        answer(b"sk-back\\nslash\n"),
        answer(b"-n\n"),
        answer(b"sk-x\n\n"),
        answer(b"busy", status="429 Too Many Requests"),
        answer(b"oops", status="500 Internal Server Error"),
        answer(b"", status="301 Moved"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shell", [*SHELLS, BUSYBOX])
def test_an_answer_that_is_not_plain(tools: Path, reply: bytes, shell: str) -> None:
    with odd_agent(reply) as path:
        done = keyman_get("genai", tools=tools, with_=NEEDED, shell=shell, env=at(path))
    assert (done.status, done.out) == (9, "asked: get genai\n")
    assert "sk-" not in done.err


def test_what_a_shell_s_variables_can_t_hold(tools: Path) -> None:
    with odd_agent(answer(b"sk-\0x\n")) as path:
        for shell in ("dash", "bash", BUSYBOX):
            done = keyman_get("genai", tools=tools, with_=NEEDED, shell=shell, env=at(path))
            assert (done.status, done.out) == (9, "asked: get genai\n")


@pytest.mark.parametrize("shell", [*SHELLS, BUSYBOX])
def test_a_secret_counts_in_bytes(tools: Path, shell: str) -> None:
    with odd_agent(answer("sk-é€ 'x' $HOME `id` *\n".encode())) as path:
        env = {**at(path), "LC_ALL": "C.UTF-8"}
        done = keyman_get("genai", tools=tools, with_=NEEDED, shell=shell, env=env)
    assert (done.status, done.out) == (0, "sk-é€ 'x' $HOME `id` *\n")


@pytest.mark.parametrize(
    "words",
    [(), ("genai", "--json"), ("--help",), ("a", "b"), ("--field=value", "genai"), ("-x",)],
    ids=" ".join,
)
def test_whatever_else_is_asked(kept: Home, tools: Path, words: tuple[str, ...]) -> None:
    done = keyman_get(*words, tools=tools, env=socket_of(kept))
    assert (done.status, done.out) == (9, f"asked: {' '.join(['get', *words])}\n")


def test_an_agent_over_tcp(kept: Home, tools: Path) -> None:
    url = {"KEYMAN_URL": "http://127.0.0.1:8425"}
    done = keyman_get("genai", tools=tools, env=url | socket_of(kept))
    assert done.out == "asked: get genai\n"


def test_neither_nc_nor_curl(kept: Home, tools: Path) -> None:
    done = keyman_get("genai", tools=tools, with_=(), env=socket_of(kept))
    assert (done.out, done.err) == ("asked: get genai\n", "")


def test_an_nc_without_unix_sockets_gives_way_to_curl(kept: Home, tools: Path) -> None:
    (tools / "nc").write_text('#!/bin/sh\necho "nc: invalid option -- U" >&2\nexit 1\n')
    (tools / "nc").chmod(0o755)
    done = keyman_get("genai", tools=tools, with_=("curl",), env=socket_of(kept))
    assert (done.out, done.err) == (kept.keyman("get", "genai").out, "")


def test_nobody_and_no_keyman(tools: Path) -> None:
    (tools / "keyman").unlink()
    done = keyman_get("genai", tools=tools, env=at("/nowhere/agent.sock"))
    assert (done.status, done.out, done.err.count("\n")) == (6, "", 2)
    assert done.err.startswith("keyman: error: nobody answers")


def test_the_keyman_beside_it_comes_first(tools: Path, tmp_path: Path) -> None:
    beside = tmp_path / "venv"
    beside.mkdir()
    shutil.copy(SCRIPT, beside)
    (beside / "keyman").write_text("#!/bin/sh\necho the one beside\n")
    (beside / "keyman").chmod(0o755)
    ran = subprocess.run(
        [beside / "keyman-get", "genai"], env={"PATH": str(tools)}, capture_output=True, check=True
    )
    assert ran.stdout == b"the one beside\n"


def test_a_home_without_a_daemon_is_read_as_get_does(place: Home, tmp_path: Path) -> None:
    """All the way through the real command."""
    place.start()
    (tmp_path / "keyman").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m keyman "$@"\n')
    (tmp_path / "keyman").chmod(0o755)
    variables = {**place.variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [program("sh"), SCRIPT, "genai"], env=variables, capture_output=True, text=True, check=True
    )
    assert ran.stdout == place.keyman("get", "genai").out


# Where it looks.


def test_it_looks_where_the_client_looks(kept: Home, tools: Path) -> None:
    secret = kept.keyman("get", "genai").out
    data, usual = kept.folder / "data", kept.folder / "person"
    for folder in (data, usual / ".local/share"):
        folder.mkdir(parents=True)
        (folder / "keyman").symlink_to(kept.state)
    for variables in (
        {"KEYMAN_HOME": str(kept.state)},
        {"KEYMAN_SOCKET": "", "KEYMAN_HOME": str(kept.state)},
        {"XDG_DATA_HOME": str(data)},
        {"HOME": str(usual)},
        {"HOME": str(usual), "XDG_DATA_HOME": "data"},
    ):
        assert keyman_get("genai", tools=tools, env=variables).out == secret, variables
    for variables in (
        {"KEYMAN_SOCKET": "/nowhere", "KEYMAN_HOME": str(kept.state)},
        {"KEYMAN_HOME": "/nowhere", "HOME": str(usual)},
        {"XDG_DATA_HOME": "/nowhere", "HOME": str(usual)},
        {"HOME": ""},
    ):
        assert keyman_get("genai", tools=tools, env=variables).status == 9, variables


# What it keeps to itself.


@pytest.mark.parametrize("shell", SHELLS)
def test_no_program_that_it_starts_is_told_a_secret(kept: Home, tools: Path, shell: str) -> None:
    """Neither by argument nor by environment. Nothing else is in PATH, so these are all."""
    real, log = program("nc"), tools / "told"
    for name, then in (("nc", f'exec {real} "$@"'), ("curl", "exit 1"), ("printf", "exit 1")):
        told = f'(echo "$@"; {ENVIRON}) >>{log}'
        (tools / name).write_text(f"#!{program('sh')}\n{told}\n{then}\n")
        (tools / name).chmod(0o755)
    # Had these come exported, what is put into them would be as well.
    inherited = dict.fromkeys(("answer", "body", "message", "field", "line", "head"), "x")
    done = keyman_get("genai", tools=tools, with_=(), shell=shell, env=inherited | socket_of(kept))
    assert done.out == kept.keyman("get", "genai").out
    seen = log.read_bytes()
    assert seen.startswith(b"-w 2 -U ")
    assert b"KEYMAN_SOCKET" in seen
    assert done.out.strip().encode() not in seen


def test_what_was_cut_off_is_handed_to_nobody(tools: Path) -> None:
    """`keyman get` is started without it, although its variable came exported."""
    seen = tools / "seen"
    (tools / "keyman").write_text(f"#!{program('sh')}\n{ENVIRON} >{seen}\n")
    with odd_agent(answer(b"sk-cut-o", "content-length: 12")) as path:
        inherited = dict.fromkeys(("answer", "body", "line", "head"), "x")
        keyman_get("genai", tools=tools, env=inherited | at(path))
    assert b"KEYMAN_SOCKET" in seen.read_bytes()
    assert b"sk-cut" not in seen.read_bytes()


@pytest.mark.parametrize("options", ["xtrace", "xtrace:verbose:allexport"])
def test_a_trace_that_somebody_left_on_shows_no_secret(
    kept: Home, tools: Path, options: str
) -> None:
    env = {**socket_of(kept), "SHELLOPTS": options}
    done = keyman_get("genai", tools=tools, shell="bash", env=env)
    assert done.out.startswith("sk-sandbox-")
    assert done.out.strip() not in done.err


# How it gets there.


def test_the_script_s_one_carriage_return_is_where_it_must_be() -> None:
    assert SCRIPT.read_bytes().count(b"\r") == 1
    assert b"\ncr='\r' #" in SCRIPT.read_bytes()
    assert SCRIPT.stat().st_mode & 0o111


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_an_installation_puts_it_beside_keyman(version: str, tmp_path: Path) -> None:
    """Byte for byte, also in the one that `make install` makes of the checkout."""
    build = (
        "import sys; from hatchling.builders.wheel import WheelBuilder;"
        f"print(next(WheelBuilder('.').build(directory=sys.argv[1], versions=['{version}'])))"
    )
    command = [sys.executable, "-c", build, str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(ran.stdout.split()[-1]) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith("/scripts/keyman-get")]
        assert wheel.read(name) == SCRIPT.read_bytes()
        assert wheel.getinfo(name).external_attr >> 16 & 0o111
