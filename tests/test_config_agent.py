"""Who may ask, as it is written: the address to answer on, its certificate, users and grants."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyman.config import Listen, TlsFiles
from tests.configs import GENAI, mistakes, read

STRANGER = os.getuid() + 4242
OUTSIDE = f"agent: {{allow_uids: [{STRANGER}], socket: /run/keyman/agent.sock}}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_nobody_is_answered_over_the_network_unless_it_is_asked_for(home: Path) -> None:
    assert read("", home).agent.listen is None
    assert read("agent: {hosts: [keyman.internal]}", home).agent.listen is None


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("127.0.0.1:8425", "127.0.0.1", 8425),
        ("127.9.9.9:1", "127.9.9.9", 1),
        ("[::1]:65535", "::1", 65535),
        ("[0:0:0:0:0:0:0:1]:8425", "::1", 8425),
    ],
)
def test_an_address_of_this_machine(written: str, host: str, port: int, home: Path) -> None:
    assert read(f"agent: {{listen: '{written}'}}", home).agent.listen == Listen(host, port)


@pytest.mark.parametrize(
    "written",
    [
        *("8425", "localhost:8425", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"),
        *("::1:8425", "[::1]", "[127.0.0.1]:", "127.0.0.1:8425/", "127.0.0.1:8425 ", "127.1:8425"),
        *("256.0.0.1:8425", "[::1%lo]:8425", "http://127.0.0.1:8425", "0177.0.0.1:8425"),
    ],
)
def test_what_is_no_address_is_refused(written: str, home: Path) -> None:
    said = "1: agent.listen: must be an address and a port such as 127.0.0.1:8425 or [::1]:8425"
    assert mistakes(f"agent: {{listen: '{written}'}}", home) == [said]


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.7", "[2001:db8::1]"])
def test_beyond_this_machine_only_with_a_certificate(host: str, home: Path) -> None:
    said = (
        "1: agent.listen: others would read along: beyond this machine only with agent.tls"
        " (cert and key)"
    )
    assert mistakes(f"agent: {{listen: '{host}:8425'}}", home) == [said]
    tls = "tls: {cert: tls/cert.pem, key: '{home}/key.pem'}"
    listen = read(f"agent: {{listen: '{host}:8425', {tls}}}", home).agent.listen
    assert listen is not None
    assert listen.tls == TlsFiles(home.parent / "tls/cert.pem", home / "key.pem")


@pytest.mark.parametrize("half", ["cert: c.pem", "key: k.pem"])
@pytest.mark.parametrize("listen", ["'192.0.2.7:8425'", "null"])
def test_half_a_certificate_is_none(half: str, listen: str, home: Path) -> None:
    text = f"agent: {{listen: {listen}, tls: {{{half}}}}}"
    assert mistakes(text, home) == ["1: agent.tls: cert and key go together"]


def test_other_names_for_the_address(home: Path) -> None:
    text = "agent: {listen: '127.0.0.1:8425', hosts: [Keyman.Internal, '10.0.0.7:443', '[::1]:80']}"
    listen = read(text, home).agent.listen
    assert listen is not None
    assert listen.hosts == ("keyman.internal", "10.0.0.7:443", "[::1]:80")


@pytest.mark.parametrize("written", ["a b", "a:0", "a:99999", "", "a/b", "a@b", "*", "a,b", "-a"])
def test_what_is_no_name_of_a_host_is_refused(written: str, home: Path) -> None:
    text = f"agent: {{listen: '127.0.0.1:8425', hosts: ['{written}']}}"
    said = "must be a host name or an address, with a port only if it is another one"
    assert mistakes(text, home) == [f"1: agent.hosts[0]: {said}"]


def test_a_credential_narrows_who_may_look_it_up(home: Path) -> None:
    own = f"    allow_uids: [{STRANGER}, 0]\n"
    assert read(OUTSIDE + GENAI + own, home).credentials["genai"].allow_uids == (STRANGER, 0)
    assert (
        read(OUTSIDE + GENAI + "    allow_uids: []\n", home).credentials["genai"].allow_uids == ()
    )
    assert read(OUTSIDE + GENAI, home).credentials["genai"].allow_uids is None


def test_a_credential_lets_nobody_in_whom_the_agent_turns_away(home: Path) -> None:
    own = f"    allow_uids: {sorted({STRANGER + 1, os.getuid(), 0})}\n"
    said = "names a user who is not in agent.allow_uids, and so may not ask at all"
    assert mistakes(OUTSIDE + GENAI + own, home) == [f"7: credentials.genai.allow_uids: {said}"]
    unread = OUTSIDE.replace("allow_uids: [", "allow_uids: [x, ")
    assert [line for line in mistakes(unread + GENAI + own, home) if said in line] == []
