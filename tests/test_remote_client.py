"""The client over TCP: where a URL leads, which token goes along, and whom it is shown to."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

import keyman
from keyman import client
from keyman.cli.following import answers
from keyman.client import asking, remote
from keyman.client.held import HELD
from keyman.errors import ConfigError
from keyman.serving.page import open_page
from keyman.serving.snapshot import Snapshot
from tests.serving.tcp_world import Authority, Network, network
from tests.serving.world import secret_of

ROOT = Path(__file__).resolve().parent.parent
SEVEN, EIGHT = secret_of("genai", 7), secret_of("genai", 8)
VARIABLES = (
    "KEYMAN_SOCKET",
    "KEYMAN_URL",
    "KEYMAN_TOKEN",
    "KEYMAN_TOKEN_FILE",
    "KEYMAN_CA_BUNDLE",
    "KEYMAN_HOME",
)
Say = Callable[..., None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Set these variables, and none of the others."""
    HELD.clear()
    remote.forget_token()

    def set_all(**variables: object) -> None:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(f"KEYMAN_{name}", str(value))

    return set_all


@pytest.fixture
def net(say: Say) -> Iterator[Network]:
    """An agent on this machine, where this process's client finds it, with a token in a file."""
    with network() as here:
        token = here.path.parent / "token"
        token.write_text(here.client("app", "genai") + "\n")
        say(URL=f"http://{here.host}", TOKEN_FILE=token)
        yield here


def token_file(net: Network) -> Path:
    return net.path.parent / "token"


# Asking.


def test_get_and_secret(net: Network) -> None:
    assert keyman.get("genai") == SEVEN
    assert keyman.secret("genai").base_url == "https://inference.example/v1"
    assert keyman.secret("genai", previous=True).version == 6
    assert client.lookup("genai")["version"] == 7


def test_a_token_may_stand_in_the_environment(net: Network, say: Say) -> None:
    say(URL=f"http://localhost:{net.address[1]}/", TOKEN=token_file(net).read_text().strip())
    assert keyman.get("genai") == SEVEN


def test_every_call_asks_over_one_connection(net: Network) -> None:
    for version in range(8, 20):
        net.serve("genai", version)
        assert keyman.get("genai") == secret_of("genai", version)
        assert not HELD["genai"].fresh()
    assert len(net.agent._state.connections) == 1


def test_no_page_of_this_machine_speaks_for_an_agent_elsewhere(
    net: Network, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that lies where its URL would lead, were it a path."""
    folder = tmp_path / "http:"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    page = open_page(folder, key=b"k", shared=False, now=lambda: datetime.now(UTC))
    assert page is not None
    with closing(page):
        net.agent.stop()
        net.snapshot = Snapshot(net.clock, page)
        net.start()
        say(URL=f"http://{net.host}", TOKEN_FILE=token_file(net))
        (folder / net.host).touch()
        for version in (8, 9):
            net.serve("genai", version)
            assert keyman.get("genai") == secret_of("genai", version)
            assert not HELD["genai"].fresh()
        assert "keyman-generation" in asking.lookup("/api/v1/secrets/genai").headers
        net.agent.stop()


def test_names_without_a_grant_and_names_of_nobody_are_not_found(net: Network) -> None:
    for name in ("vertex", "nobody"):
        with pytest.raises(keyman.NotFound):
            keyman.get(name)


def test_a_token_gives_no_orders(net: Network) -> None:
    with pytest.raises(keyman.NotAllowed):
        client.checked(*client.call("POST", "/api/v1/credentials/genai/rotate", {}))
    assert net.desk.wishes == []


def test_while_the_agent_is_away_what_is_held_is_used(net: Network) -> None:
    keyman.get("genai")
    net.agent.stop()
    assert keyman.get("genai") == SEVEN
    with pytest.raises(keyman.NotRunning):
        keyman.get("vertex")


def test_a_refused_secret_is_reported_and_replaced(net: Network) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.headers["Authorization"] == f"Bearer {EIGHT}":
            return httpx2.Response(200)
        net.serve("genai", 8)
        return httpx2.Response(401)

    with httpx2.Client(
        auth=keyman.auth("genai"), transport=httpx2.MockTransport(answer)
    ) as calling:
        assert calling.get("https://provider.example").status_code == 200


# The token.


def test_a_token_that_was_replaced_is_read_anew(net: Network) -> None:
    keyman.get("genai")
    net.register.revoke("app", "the test")
    token_file(net).write_text(net.client("app-2", "genai"))
    net.serve("genai", 8)
    assert keyman.get("genai") == EIGHT


@pytest.mark.parametrize("refusals", [0, 11], ids=["at-once", "after-many"])
def test_every_call_reads_it_anew(net: Network, refusals: int) -> None:
    """Whatever waits or reports, too; who was refused too often is no longer told why."""
    path = "/api/v1/secrets/genai"
    assert client.call("GET", path)[0] == 200
    net.register.revoke("app", "the test")
    statuses = [client.call("GET", path)[0] for _ in range(refusals)]
    token_file(net).write_text(net.client("app-2", "genai"))
    assert client.call("POST", f"{path}/rejected", {"version": 6})[0] == 200
    assert statuses[:1] + statuses[-1:] == ([401, 429] if refusals else [])


def test_what_follows_a_secret_goes_on_with_a_token_that_was_replaced(net: Network) -> None:
    """As `keyman write --watch` and `keyman run --restart` do."""
    following = answers("genai", None)
    assert next(following)["version"] == 7
    net.register.revoke("app", "the test")
    token_file(net).write_text(net.client("app-2", "genai"))
    net.serve("genai", 8)
    assert next(following)["version"] == 8


def test_a_token_that_was_revoked_is_not_shown_over_and_over(net: Network) -> None:
    keyman.get("genai")
    net.register.revoke("app", "the test")
    with pytest.raises(keyman.NotAllowed):
        keyman.get("genai")
    net.agent.stop()
    with pytest.raises(keyman.NotRunning):
        keyman.get("genai")


@pytest.mark.parametrize("said", ["", "  \n", "kmc_a b", "kmc_a\nX: y", "kmc_\x07", "kmc_é"])
def test_what_is_no_token_is_not_sent(net: Network, said: str) -> None:
    token_file(net).write_text(said)
    with pytest.raises(ConfigError, match="holds no token") as raised:
        keyman.get("genai")
    assert "kmc_" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(net: Network, say: Say) -> None:
    say(URL=f"http://{net.host}", TOKEN_FILE="/nowhere/token")
    with pytest.raises(ConfigError, match="/nowhere/token"):
        keyman.get("genai")


def test_a_url_needs_a_token(net: Network, say: Say) -> None:
    say(URL=f"http://{net.host}")
    with pytest.raises(ConfigError, match="needs a token"):
        keyman.get("genai")


# Where it leads.


def test_what_is_named_first_is_asked(say: Say) -> None:
    say(SOCKET="/s", URL="http://u", HOME="/h")
    assert client.addresses() == ("/s",)
    say(URL="http://u", HOME="/h")
    assert client.addresses() == ("http://u",)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://localhost:8425", ("localhost", 8425, "localhost:8425")),
        ("https://Keys.Example.com/", ("keys.example.com", 443, "keys.example.com")),
        ("http://127.0.0.1", ("127.0.0.1", 80, "127.0.0.1")),
        ("https://[::1]:8425", ("::1", 8425, "[::1]:8425")),
        ("https://[2001:db8::1]", ("2001:db8::1", 443, "[2001:db8::1]")),
    ],
)
def test_the_parts_of_a_url(url: str, parts: tuple[str, int, str]) -> None:
    door = remote.door(url)
    assert (door.host, door.port, door.authority) == parts


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8425",
        "ftp://localhost",
        "https://",
        "https://host:0",
        "https://host:65536",
        "https://host:8x",
        "https://host:",
        "https://:8425",
        "https://user@host",
        "https://host/api",
        "https://host?x",
        "https://host#x",
        "https://a b",
        "https://a\r\nX: y",
        "https://[::1",
        "https://::1",
        "https://h\u00f6st",
    ],
)
def test_what_leads_nowhere_is_said(say: Say, url: str) -> None:
    say(URL=url, TOKEN="kmc_x")
    with pytest.raises(ConfigError, match="KEYMAN_URL"):
        keyman.get("genai")


@pytest.mark.parametrize("url", ["http://192.0.2.1:8425", "http://[2001:db8::1]:8425"])
def test_a_token_does_not_leave_the_machine_in_the_clear(say: Say, url: str) -> None:
    say(URL=url, TOKEN="kmc_x")
    with pytest.raises(ConfigError, match="in the clear") as raised:
        keyman.get("genai")
    assert "https" in raised.value.hint


def test_nobody_answers(say: Say) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    say(URL=f"http://127.0.0.1:{port}", TOKEN="kmc_x")
    with pytest.raises(keyman.NotRunning, match="nobody answers"):
        keyman.get("genai")
    say(URL="https://nobody.invalid", TOKEN="kmc_x")
    with pytest.raises(keyman.NotRunning, match="no address is known"):
        keyman.get("genai")


# TLS.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority: Authority, say: Say) -> Iterator[Network]:
    with network(tls=authority.issue("agent")) as here:
        say(URL=f"https://{here.host}", TOKEN=here.client("app"), CA_BUNDLE=authority.file)
        yield here


def test_over_tls(encrypted: Network) -> None:
    assert keyman.get("genai") == SEVEN
    encrypted.serve("genai", 8, previous=7)
    assert keyman.get("genai") == EIGHT
    assert len(encrypted.agent._state.connections) == 1


def test_a_forked_child_has_a_connection_of_its_own(encrypted: Network) -> None:
    keyman.get("genai")
    connection = asking._kept.connection
    assert connection.made_for[0] != -1
    connection.made_for = (-1, connection.made_for[1])  # as a child finds its parent's
    assert keyman.get("genai") == SEVEN
    assert asking._kept.connection is not connection


def test_an_authority_that_nobody_trusts(encrypted: Network, say: Say) -> None:
    """Without the bundle the system's authorities decide."""
    say(URL=f"https://{encrypted.host}", TOKEN="kmc_x")
    with pytest.raises(keyman.NotRunning, match="not who it says") as raised:
        keyman.get("genai")
    assert "KEYMAN_CA_BUNDLE" in raised.value.hint


def test_a_certificate_of_somebody_else(authority: Authority, say: Say) -> None:
    with network(tls=authority.issue("other", "other.example")) as here:
        say(URL=f"https://{here.host}", TOKEN=here.client("app"), CA_BUNDLE=authority.file)
        with pytest.raises(keyman.NotRunning, match="not who it says"):
            keyman.get("genai")


def test_a_bundle_that_was_replaced_is_read_anew(
    encrypted: Network, authority: Authority, tmp_path: Path
) -> None:
    """As an authority's successor arrives: put in the place of the file, or written into it."""
    assert client.call("GET", "/healthz")[0] == 200
    ours = authority.file.read_bytes()
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").file
    for replace in (other.replace, lambda to: to.write_bytes(ours + b"\n")):
        replace(authority.file)
        if authority.file.read_bytes() != ours + b"\n":
            with pytest.raises(keyman.NotRunning, match="not who it says"):
                client.call("GET", "/healthz")
    assert client.call("GET", "/healthz")[0] == 200


def test_a_bundle_that_is_none(encrypted: Network, say: Say, tmp_path: Path) -> None:
    for bundle in ("/nowhere/ca.pem", __file__):
        say(URL=f"https://{encrypted.host}", TOKEN="kmc_x", CA_BUNDLE=bundle)
        with pytest.raises(ConfigError, match="KEYMAN_CA_BUNDLE"):
            keyman.get("genai")


def test_who_speaks_no_tls(net: Network, say: Say) -> None:
    say(URL=f"https://{net.host}", TOKEN="kmc_x")
    with pytest.raises(keyman.NotRunning, match="no TLS"):
        keyman.get("genai")


def test_who_takes_the_connection_and_says_nothing(say: Say) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for scheme in ("http", "https"):
            say(URL=f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", TOKEN="kmc_x")
            with pytest.raises(keyman.NotRunning, match="in time"):
                client.lookup("genai", timeout=0.3)


def test_threads_do_not_share_a_connection(encrypted: Network) -> None:
    wrong: list[str] = []

    def read() -> None:
        wrong.extend(value for _ in range(20) if (value := keyman.get("genai")) != SEVEN)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert wrong == []


# What it costs.


@pytest.mark.parametrize("wanted", [False, True])
def test_tls_is_imported_only_where_it_is_used(
    net: Network, encrypted: Network, say: Say, authority: Authority, wanted: bool
) -> None:
    where = encrypted if wanted else net
    program = (
        "import sys; sys.path.append(sys.argv[1]); import keyman; keyman.get('genai');"
        "print(sorted(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)],
        env={
            "KEYMAN_URL": f"{'https' if wanted else 'http'}://{where.host}",
            "KEYMAN_TOKEN": where.client("another"),
            "KEYMAN_CA_BUNDLE": str(authority.file),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ("ssl" in ast.literal_eval(ran.stdout)) is wanted
