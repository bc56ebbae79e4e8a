"""`keyman client`, and the agent over TCP as people set it up: a daemon, a file, a token."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.commands.kinds import findings, home_with
from tests.commands.shapes import TIME, mistakes
from tests.commands.world import GENEROUS, Home, until
from tests.serving.tcp_world import Authority
from tests.serving.test_wire import asked_by, need_root

TOKEN = re.compile(r"kmc_[A-Za-z0-9_-]{43}\n")
SECRET = "sk-canary-of-the-client-command"
CREDENTIALS = "  partner: {provider: static}\n  other: {provider: static}\n"
CLIENT = {
    "name": str,
    "grants": [str],
    "created_at": TIME,
    "used_at": (TIME, type(None)),
    "revoked_at": (TIME, type(None)),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def place(port: int) -> Iterator[Home]:
    """A home with a secret that came by hand, whose agent is to answer over TCP."""
    with home_with(CREDENTIALS) as made:
        configure(made, f"listen: 127.0.0.1:{port}")
        assert made.keyman("put", "partner", stdin=SECRET).status == 0
        yield made


def configure(place: Home, agent: str) -> None:
    text = re.sub(r"^agent:.*\n", "", place.config.read_text(), flags=re.MULTILINE)
    place.config.write_text(f"agent: {{{agent}}}\n{text}")


def added(place: Home, *words: str) -> str:
    done = place.keyman("client", "add", *words)
    assert (done.status, done.err) == (0, "")
    assert TOKEN.fullmatch(done.out)
    return done.out.strip()


def connected(port: int, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    if tls:
        return http.client.HTTPSConnection("localhost", port, timeout=GENEROUS, context=tls)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=GENEROUS)


def asked(
    connection: http.client.HTTPConnection, token: str, name: str = "partner"
) -> tuple[int, Any]:
    connection.request(
        "GET", f"/api/v1/secrets/{name}", headers={"Authorization": f"Bearer {token}"}
    )
    answer = connection.getresponse()
    return answer.status, json.load(answer)


def looked_up(
    port: int, token: str, name: str = "partner", tls: ssl.SSLContext | None = None
) -> int:
    with closing(connected(port, tls)) as connection:
        status, said = asked(connection, token, name)
        assert (said.get("value") == SECRET) == (status == 200)
        return status


# With and without a daemon.


def test_a_client_is_let_in_and_turned_out_while_the_daemon_runs(place: Home, port: int) -> None:
    """At once: also a connection that is open already."""
    with place.daemon():
        token = added(place, "build", "--allow", "partner")
        assert looked_up(port, token) == 200
        assert looked_up(port, token, "other") == looked_up(port, token, "nobody") == 404
        with closing(connected(port)) as kept:
            assert asked(kept, token)[0] == 200
            done = place.keyman("client", "revoke", "build")
            assert (done.status, done.err) == (0, "")
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                asked(kept, token)
        assert looked_up(port, token) == 401
    (one,) = place.keyman("client", "list", "--json").json["clients"]
    assert one["used_at"], "when it asked last was recorded at the end"
    assert one["revoked_at"]


def test_a_client_is_let_in_while_no_daemon_runs(place: Home, port: int) -> None:
    token, gone = added(place, "build", "--all"), added(place, "gone", "--all")
    assert place.keyman("client", "revoke", "gone").status == 0
    with place.daemon():
        assert (looked_up(port, token), looked_up(port, gone)) == (200, 401)


def test_tokens_outlive_a_kill(place: Home, port: int) -> None:
    with place.daemon() as process:
        token = added(place, "build", "--all")
        process.kill()
        process.wait(GENEROUS)
    with place.daemon():
        assert looked_up(port, token) == 200


@pytest.mark.parametrize("running", [True, False])
def test_the_list_says_who_may_look_up_what(place: Home, running: bool) -> None:
    for words in (("build", "--allow", "partner,other"), ("all", "--all"), ("old", "--all")):
        added(place, *words)
    place.keyman("client", "revoke", "old")
    if running:
        with place.daemon():
            done, shown = place.keyman("client", "list", "--json"), place.keyman("client", "list")
    else:
        done, shown = place.keyman("client", "list", "--json"), place.keyman("client", "list")
    said = done.json["clients"]
    assert [wrong for one in said for wrong in mistakes(one, CLIENT)] == []
    assert [(one["name"], one["grants"], bool(one["revoked_at"])) for one in said] == [
        ("all", ["*"], False),
        ("build", ["partner", "other"], False),
        ("old", ["*"], True),
    ]
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0][:4] == ["NAME", "MAY", "LOOK", "UP"]
    assert lines[1][:2] == ["all", "everything"]
    assert lines[2][:3] == ["build", "partner,", "other"]


def test_nobody_is_listed_where_nobody_was_added() -> None:
    with home_with(CREDENTIALS) as made:
        assert made.keyman("client", "list", "--json").json == {"clients": []}
        done = made.keyman("client", "list")
        assert (done.status, done.out) == (0, "")


# What is said.


def test_json(place: Home) -> None:
    said = place.keyman("client", "add", "build", "--allow", "partner", "--json").json
    assert mistakes(said, {**CLIENT, "token": str}) == []
    assert TOKEN.fullmatch(said["token"] + "\n")
    ended = place.keyman("client", "revoke", "build", "--json").json
    assert mistakes(ended, {**CLIENT, "revoked_at": TIME}) == []


def test_a_terminal_is_told_that_this_is_the_only_copy(place: Home) -> None:
    """The token alone is on standard output all the same."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "keyman", "client", "add", "build", "--all"]
    ran = subprocess.run(
        command,
        env=place.variables,
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=GENEROUS,
        check=True,
    )
    shown = os.read(ours, 1000).decode().replace("\r\n", "\n")
    for end in (ours, theirs):
        os.close(end)
    assert TOKEN.fullmatch(shown)
    assert "only copy" in ran.stderr.decode()
    assert shown.strip() not in ran.stderr.decode()


def test_a_token_is_nowhere_but_on_standard_output(place: Home, port: int) -> None:
    place.edit("log: {level: warning}", "log: {level: debug}")
    with place.daemon():
        token = added(place, "build", "--all")
        assert looked_up(port, token) == 200
        assert looked_up(port, token[:-1] + "x") == 401
    for path in place.folder.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("add", "build"), 2, "say what it may look up"),
        (("add", "build", "--all", "--allow", "partner"), 2, "say what it may look up"),
        (("add", "build", "--allow", "partnr"), 3, "no credential 'partnr'"),
        (("add", "build", "--allow", ""), 3, "no credential ''"),
        (("add", "build", "--allow", "*"), 3, "no credential '*'"),
        (("add", "Build", "--all"), 2, "a name is a-z, 0-9, - and _"),
        (("add", "here-already", "--all"), 1, "there is a client here-already already"),
        (("revoke", "nobody"), 3, "no client 'nobody'"),
        (("revoke", "a b"), 2, "a name is a-z, 0-9, - and _"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_what_can_not_be_followed(
    place: Home, words: tuple[str, ...], status: int, said: str, running: bool
) -> None:
    added(place, "here-already", "--all")
    if running:
        with place.daemon():
            done = place.keyman("client", *words)
    else:
        done = place.keyman("client", *words)
    assert (done.status, done.out) == (status, "")
    assert said in done.err.splitlines()[0]
    assert [one["name"] for one in place.keyman("client", "list", "--json").json["clients"]] == [
        "here-already"
    ]


def test_revoking_twice_is_fine(place: Home) -> None:
    added(place, "build", "--all")
    first = place.keyman("client", "revoke", "build", "--json")
    assert place.keyman("client", "revoke", "build", "--json") == first


def test_without_listen_it_is_said_that_nobody_is_answered() -> None:
    with home_with(CREDENTIALS) as made:
        done = made.keyman("client", "add", "build", "--all")
        assert TOKEN.fullmatch(done.out)
        assert "agent.listen is not set" in done.err


# The daemon's configuration.


def test_beyond_this_machine_the_daemon_does_not_start_without_a_certificate(place: Home) -> None:
    configure(place, "listen: 0.0.0.0:8425")
    done = place.run("daemon")
    assert done.status == 2
    assert "others would read along" in done.err


def test_a_port_that_is_taken_is_said(place: Home, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        done = place.run("daemon")
    assert done.status == 2
    assert done.err.splitlines()[-2].startswith(
        f"keyman: error: nobody can be answered on 127.0.0.1:{port}: "
    )


@pytest.mark.parametrize("how", ["reload", "SIGHUP"])
def test_a_renewed_certificate_is_taken_up(place: Home, port: int, how: str) -> None:
    authority = Authority(place.folder)
    files = authority.issue("agent", ends=timedelta(days=30))
    configure(place, f"listen: 127.0.0.1:{port}, tls: {{cert: {files.cert}, key: {files.key}}}")
    token = added(place, "build", "--all")

    def shown() -> bytes | None:
        with authority.trust().wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1"
        ) as connection:
            return connection.getpeercert(binary_form=True)

    with place.daemon() as process:
        first = shown()
        authority.issue("agent")
        if how == "reload":
            assert place.keyman("reload").status == 0
        else:
            process.send_signal(signal.SIGHUP)
        until(lambda: shown() != first)
        assert looked_up(port, token, tls=authority.trust()) == 200
        second = shown()
        files.key.write_text("nothing")
        done = place.keyman("reload")
        assert (done.status, "are no certificate and its key" in done.err) == (2, True)
        assert shown() == second


@need_root
def test_grants_of_users_follow_a_reload() -> None:
    """Another user of this machine, who may look: at what is left to all, or to them."""
    with home_with(CREDENTIALS) as place:
        path = place.folder / "agent.sock"
        place.folder.chmod(0o755)
        configure(place, f"socket: {path}, allow_uids: [12345, 12346]")
        assert place.keyman("put", "partner", stdin=SECRET).status == 0
        asking = b"GET /api/v1/secrets/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

        def sees(uid: int, name: bytes = b"partner") -> bool:
            answer = asked_by(uid, path, asking % name)
            assert (SECRET in answer) == answer.startswith("HTTP/1.1 200 ")
            return SECRET in answer

        process = place.process("daemon", stdin=subprocess.DEVNULL)
        try:
            until(lambda: path.exists() and sees(0))
            assert sees(12345)
            assert sees(12346)
            place.edit(
                "partner: {provider: static}", "partner: {provider: static, allow_uids: [12346]}"
            )
            assert place.keyman("reload").status == 0
            assert not sees(12345)
            assert sees(12346)
            assert sees(0)
            hidden, unknown = (asked_by(12345, path, asking % n) for n in (b"partner", b"nobody"))
            assert hidden == unknown
        finally:
            process.terminate()
            process.communicate(timeout=GENEROUS)


# What `check` finds.


def found(place: Home) -> dict[str, str]:
    """Code → severity, of what has to do with the network."""
    every = findings(place)
    return {c: said[0][0] for c, said in every.items() if c.startswith("tls") or c == "no_clients"}


def test_check_finds_that_nobody_may_ask(place: Home) -> None:
    assert found(place) == {"no_clients": "warning"}
    added(place, "build", "--all")
    assert found(place) == {}
    place.keyman("client", "revoke", "build")
    assert found(place) == {"no_clients": "warning"}


def test_check_finds_it_before_the_first_start(port: int) -> None:
    with home_with(CREDENTIALS) as made:
        configure(made, f"listen: 127.0.0.1:{port}")
        assert found(made) == {"no_clients": "warning"}


@pytest.mark.parametrize(
    ("days", "begins", "expected"),
    [
        (90, None, {}),
        (13, None, {"tls_expires_soon": "warning"}),
        (-1, None, {"tls_expired": "error"}),
        (90, timedelta(days=1), {"tls_not_yet": "error"}),
    ],
)
def test_check_reads_the_days_of_the_certificate(
    place: Home, port: int, days: int, begins: timedelta | None, expected: dict[str, str]
) -> None:
    files = Authority(place.folder).issue("agent", ends=timedelta(days=days), begins=begins)
    configure(place, f"listen: 127.0.0.1:{port}, tls: {{cert: {files.cert}, key: {files.key}}}")
    added(place, "build", "--all")
    assert found(place) == expected


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o600, {}), (0o640, {}), (0o644, {"tls_key_open": "warning"})]
)
def test_check_finds_a_key_that_others_may_read(
    place: Home, port: int, mode: int, expected: dict[str, str]
) -> None:
    files = Authority(place.folder).issue("agent")
    configure(place, f"listen: 127.0.0.1:{port}, tls: {{cert: {files.cert}, key: {files.key}}}")
    added(place, "build", "--all")
    files.key.chmod(mode)
    assert found(place) == expected


def spoil_missing(cert: Path, key: Path) -> None:
    cert.unlink()


def spoil_text(cert: Path, key: Path) -> None:
    key.write_text("nothing")


def spoil_swapped(cert: Path, key: Path) -> None:
    shutil.copy(Authority(cert.parent).issue("another").key, key)


@pytest.mark.parametrize("spoil", [spoil_missing, spoil_text, spoil_swapped])
def test_check_finds_files_that_will_not_do(place: Home, port: int, spoil: Any) -> None:
    files = Authority(place.folder).issue("agent")
    configure(place, f"listen: 127.0.0.1:{port}, tls: {{cert: {files.cert}, key: {files.key}}}")
    added(place, "build", "--all")
    spoil(files.cert, files.key)
    assert found(place) == {"tls_unusable": "error"}
