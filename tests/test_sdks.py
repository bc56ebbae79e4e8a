"""What applications' own libraries do with our secret: real clients, through a rotation.

First the rules of `keyman.auth`, against a provider that says what a test wants; then OpenAI's,
LangChain's and Google's clients against the sandbox clouds and the real daemon, while secrets are
rotated and destroyed.
"""

from __future__ import annotations

import asyncio
import http.server
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import httpx2
import pytest
from google.auth.transport import Response as GoogleResponse
from google.oauth2.credentials import Credentials
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI, AuthenticationError, OpenAI
from pydantic import SecretStr

import keyman
from keyman import client
from keyman.client import sdks
from keyman.client.held import HELD
from keyman.errors import UsageError
from keyman.sandbox.google import GoogleSandbox
from tests.agent_process import AgentProcess, agent_process
from tests.commands.kinds import home_with
from tests.commands.test_google import VERTEX
from tests.commands.world import Cloud, Home, cloud, home, until
from tests.serving.world import secret_of

MODEL = "meta.llama-3.3-70b-instruct"
HI: Any = [{"role": "user", "content": "hi"}]
LIBRARIES = [httpx2, httpx]


# A provider that says what a test wants.


class Provider:
    """`say` decides on each request; what came is remembered."""

    def __init__(self, say: Callable[[str], int]) -> None:
        self.say = say
        self.url = ""
        self.tokens: list[str] = []
        self.bodies: list[bytes] = []

    def take(self, token: str, body: bytes) -> int:
        self.tokens.append(token)
        self.bodies.append(body)
        return self.say(token)


@contextmanager
def provider(say: Callable[[str], int]) -> Iterator[Provider]:
    one = Provider(say)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            _, _, token = self.headers["Authorization"].partition("Bearer ")
            if "Content-Length" in self.headers:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            else:
                body = b"".join(self._chunks())
            status = one.take(token, body)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def _chunks(self) -> Iterator[bytes]:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        one.url = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            yield one
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentProcess]:
    HELD.clear()
    with agent_process() as one:
        monkeypatch.setenv("KEYMAN_SOCKET", str(one.path))
        one.start(("genai", 7))
        yield one


def sent(library: Any, url: str, **how: Any) -> int:
    with library.Client(auth=keyman.auth("genai")) as one:
        return int(one.post(url, **how).status_code)


def sent_async(library: Any, url: str, **how: Any) -> int:
    async def send() -> int:
        async with library.AsyncClient(auth=keyman.auth("genai")) as one:
            return int((await one.post(url, **how)).status_code)

    return asyncio.run(send())


WAYS = [
    pytest.param(send, library, id=f"{library.__name__}-{send.__name__}")
    for library in LIBRARIES
    for send in (sent, sent_async)
]
Send = Callable[..., int]
SEVEN, EIGHT = secret_of("genai", 7), secret_of("genai", 8)


def promotes(agent: AgentProcess, version: int) -> Callable[[str], int]:
    """A provider that refuses whatever comes before this version, and has it promoted first."""

    def say(token: str) -> int:
        if token == secret_of("genai", version):
            return 200
        agent.serve("genai", version)
        return 401

    return say


@pytest.mark.parametrize(("send", "library"), WAYS)
def test_after_a_401_another_version_is_tried_once(
    agent: AgentProcess, send: Send, library: Any
) -> None:
    with provider(promotes(agent, 8)) as there:
        assert send(library, there.url, json={"a": 1}) == 200
        assert there.tokens == [SEVEN, EIGHT]
        assert there.bodies[0] == there.bodies[1]
        assert send(library, there.url, json={"a": 1}) == 200
        assert there.tokens == [SEVEN, EIGHT, EIGHT]


@pytest.mark.parametrize(("send", "library"), WAYS)
def test_a_second_401_is_the_applications(agent: AgentProcess, send: Send, library: Any) -> None:
    """Whatever happens, a request is sent twice at most."""
    versions = iter(range(8, 99))

    def say(token: str) -> int:
        agent.serve("genai", next(versions))
        return 401

    with provider(say) as there:
        assert send(library, there.url, content=b"x") == 401
        assert there.tokens == [SEVEN, EIGHT]


@pytest.mark.slow
@pytest.mark.parametrize(("send", "library"), WAYS)
@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
def test_nothing_else_is_a_reason_to_try_again(
    agent: AgentProcess, send: Send, library: Any, status: int
) -> None:
    def say(token: str) -> int:
        agent.serve("genai", 8)
        return status

    with provider(say) as there:
        assert send(library, there.url, content=b"x") == status
        assert there.tokens == [SEVEN]
    assert agent.reports() == []


@pytest.mark.slow
@pytest.mark.parametrize(("send", "library"), WAYS)
def test_the_version_is_reported_and_without_another_one_nothing_is_repeated(
    agent: AgentProcess, send: Send, library: Any
) -> None:
    with provider(lambda token: 401) as there:
        assert send(library, there.url, content=b"x") == 401
        assert there.tokens == [SEVEN]
    assert [(name, version) for name, version, _ in agent.reports()] == [("genai", 7)]


def lines() -> Iterator[bytes]:
    yield b"one\n"
    yield b"two\n"


async def lines_async() -> AsyncIterator[bytes]:
    for line in lines():
        yield line


@pytest.mark.parametrize(("send", "library"), WAYS)
def test_a_body_that_is_used_up_is_not_sent_twice(
    agent: AgentProcess, send: Send, library: Any
) -> None:
    with provider(promotes(agent, 8)) as there:
        body = lines() if send is sent else lines_async()
        assert send(library, there.url, content=body) == 401
        assert there.bodies == [b"one\ntwo\n"]
        assert send(library, there.url, content=b"") == 200
    assert there.tokens == [SEVEN, EIGHT]


@pytest.mark.parametrize(("send", "library"), WAYS)
def test_an_agent_that_is_away_changes_no_answer(
    agent: AgentProcess, send: Send, library: Any
) -> None:
    def say(token: str) -> int:
        agent.kill()
        return 401

    with provider(say) as there:
        assert send(library, there.url, content=b"x") == 401
        assert there.tokens == [SEVEN]


@pytest.mark.parametrize(("send", "library"), WAYS)
def test_without_a_secret_nothing_is_sent(agent: AgentProcess, send: Send, library: Any) -> None:
    agent.refuse("genai", 8)
    with provider(lambda token: 200) as there:
        with pytest.raises(keyman.NoUsableSecret):
            send(library, there.url, content=b"x")
        assert there.tokens == []


@pytest.mark.slow
def test_awaiting_an_answer_of_the_agent_holds_up_nobody_else(agent: AgentProcess) -> None:
    """The agent waits for a newer version for a while; the loop goes round meanwhile."""

    async def send() -> tuple[int, int]:
        rounds = 0

        async def others() -> None:
            nonlocal rounds
            while True:
                await asyncio.sleep(0.01)
                rounds += 1

        beside = asyncio.create_task(others())
        async with httpx2.AsyncClient(auth=keyman.auth("genai")) as one:
            status = (await one.post(there.url, content=b"x")).status_code
        beside.cancel()
        return status, rounds

    with provider(lambda token: 401) as there:
        status, rounds = asyncio.run(send())
    assert status == 401
    assert rounds > 100


def test_one_object_is_an_auth_of_both_libraries() -> None:
    auth = keyman.auth("genai")
    assert {httpx2.Auth, httpx.Auth} <= set(type(auth).__mro__)
    assert repr(auth) == "keyman.auth('genai')"
    assert keyman.auth("vertex") is not auth
    assert type(keyman.auth("vertex")) is type(auth)


def test_without_either_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sdks._auth_class.cache_clear()
    monkeypatch.setitem(sys.modules, "httpx", None)  # as if it were not installed
    assert not issubclass(sdks._auth_class(), httpx.Auth)
    assert issubclass(sdks._auth_class(), httpx2.Auth)
    sdks._auth_class.cache_clear()
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(UsageError, match="installed"):
        keyman.auth("genai")
    sdks._auth_class.cache_clear()


# Real clients, the sandbox's inference and the real daemon.


@pytest.fixture(scope="module")
def sky() -> Iterator[Cloud]:
    with cloud() as one:
        yield one


@pytest.fixture
def place(sky: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose daemon serves genai, and this process's client finds it."""
    HELD.clear()
    with home(sky, overlap="1s") as one, one.daemon():
        monkeypatch.setenv("KEYMAN_SOCKET", str(one.state / "agent.sock"))
        until(lambda: served("genai"))
        yield one


def served(name: str) -> bool:
    try:
        return bool(keyman.get(name))
    except keyman.Error:
        return False


def rotate(name: str) -> None:
    """Return once another version is current."""
    before = keyman.secret(name).version
    client.checked(*client.call("POST", f"/api/v1/credentials/{name}/rotate", {}))
    until(lambda: keyman.secret(name).version > before)


def key_id(place: Home) -> str:
    return str(client.call("GET", "/api/v1/credentials/genai")[1]["key_id"])


def destroy_current(place: Home) -> None:
    """Somebody revokes it in the console, where keyman does not see it."""
    secret = keyman.secret("genai")
    place.cloud.console("revoke", key_id(place), str(secret.slot))


def rejected(place: Home) -> int:
    return int(place.cloud.ask("GET", "counts")["rejected"])


def base_url() -> str:
    return str(keyman.secret("genai").base_url)


Call = Callable[[], str]


def said_of(completion: Any) -> str:
    return str(completion.choices[0].message.content)


@contextmanager
def openai_sync() -> Iterator[Call]:
    with OpenAI(api_key=keyman.provider("genai"), base_url=base_url(), max_retries=0) as one:
        yield lambda: said_of(one.chat.completions.create(model=MODEL, messages=HI))


@contextmanager
def openai_async() -> Iterator[Call]:
    with asyncio.Runner() as loop:
        key = keyman.provider("genai").aio
        one = AsyncOpenAI(api_key=key, base_url=base_url(), max_retries=0)

        async def ask() -> str:
            return said_of(await one.chat.completions.create(model=MODEL, messages=HI))

        yield lambda: loop.run(ask())
        loop.run(one.close())


def chat_openai(**how: Any) -> ChatOpenAI:
    how.setdefault("api_key", keyman.provider("genai"))
    return ChatOpenAI(model=MODEL, base_url=base_url(), max_retries=0, **how)


@contextmanager
def langchain_sync() -> Iterator[Call]:
    with httpx2.Client() as http:
        one = chat_openai(http_client=http)
        yield lambda: str(one.invoke("hi").content)


@contextmanager
def langchain_async() -> Iterator[Call]:
    with asyncio.Runner() as loop:
        http = httpx2.AsyncClient()
        one = chat_openai(http_async_client=http)

        async def ask() -> str:
            return str((await one.ainvoke("hi")).content)

        yield lambda: loop.run(ask())
        loop.run(http.aclose())


PROVIDED = [openai_sync, openai_async, langchain_sync, langchain_async]


@pytest.mark.slow
@pytest.mark.parametrize("made", PROVIDED)
def test_a_client_with_a_provider_goes_through_rotations(
    place: Home, made: Callable[[], AbstractContextManager[Call]]
) -> None:
    """A client that was made before the rotation calls with the newest secret after it.

    The one that it began with is dead by then: its slot was filled anew by the second rotation.
    """
    before = rejected(place)
    with made() as call:
        assert call()
        for _ in range(2):
            rotate("genai")
            assert call()
    assert rejected(place) == before


def answered(call: Call) -> bool:
    try:
        return bool(call())
    except AuthenticationError:
        return False


@contextmanager
def openai_with_auth(library: Any) -> Iterator[Call]:
    http = library.Client(auth=keyman.auth("genai"))
    with OpenAI(api_key="-", base_url=base_url(), max_retries=0, http_client=http) as one:
        yield lambda: said_of(one.chat.completions.create(model=MODEL, messages=HI))


@contextmanager
def openai_with_auth_async(library: Any) -> Iterator[Call]:
    with asyncio.Runner() as loop:
        http = library.AsyncClient(auth=keyman.auth("genai"))
        one = AsyncOpenAI(api_key="-", base_url=base_url(), max_retries=0, http_client=http)

        async def ask() -> str:
            return said_of(await one.chat.completions.create(model=MODEL, messages=HI))

        yield lambda: loop.run(ask())
        loop.run(one.close())


@contextmanager
def langchain_with_auth(library: Any) -> Iterator[Call]:
    with library.Client(auth=keyman.auth("genai")) as http:
        one = chat_openai(api_key=SecretStr("-"), http_client=http)
        yield lambda: str(one.invoke("hi").content)


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: str(library.__name__))
@pytest.mark.parametrize("made", [openai_with_auth, openai_with_auth_async, langchain_with_auth])
def test_a_client_with_auth_outlives_a_secret_that_somebody_destroyed(
    place: Home, made: Callable[[Any], AbstractContextManager[Call]], library: Any
) -> None:
    """Its call meets the 401, has keyman replace the secret, and comes back with an answer.

    Not the first one, where the replacement takes longer than the agent lets a client wait.
    """
    before = rejected(place)
    with made(library) as call:
        assert call()
        lost = keyman.secret("genai").version
        destroy_current(place)
        until(lambda: answered(call))
    assert keyman.secret("genai").version > lost
    assert rejected(place) >= before + 1


# Google.


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleSandbox]:
    HELD.clear()
    sandbox = GoogleSandbox(seed=1)
    with (
        sandbox.serve(),
        home_with(VERTEX.format(base_url=sandbox.base_url, url=sandbox.url)) as one,
    ):
        sandbox.files.service_account(one.folder / "sa.json")
        with one.daemon():
            monkeypatch.setenv("KEYMAN_SOCKET", str(one.state / "agent.sock"))
            until(lambda: served("vertex"))
            yield sandbox


def no_transport(*_: object, **__: object) -> GoogleResponse:
    raise AssertionError("the token comes from keyman, not over google-auth's transport")


def test_googles_credentials_take_their_token_from_keyman(google: GoogleSandbox) -> None:
    untyped: Any = Credentials
    credentials = untyped(None, refresh_handler=keyman.google_refresh_handler("vertex"))
    url = f"{keyman.secret('vertex').base_url}/chat/completions"

    def call() -> int:
        headers = {"Content-Type": "application/json"}
        credentials.before_request(no_transport, "POST", url, headers)
        body = {"model": "google/gemini-2.5-flash", "messages": HI}
        return httpx2.post(url, json=body, headers=headers).status_code

    assert call() == 200
    first = keyman.secret("vertex")
    assert (credentials.token, credentials.valid) == (first.value, True)
    assert first.expires_at is not None
    assert credentials.expiry == first.expires_at.replace(tzinfo=None)
    rotate("vertex")
    credentials.refresh(no_transport)  # as its transports do at a 401, and it does near the end
    assert credentials.token == keyman.secret("vertex").value != first.value
    assert call() == 200


def test_what_has_no_end_is_no_token(agent: AgentProcess) -> None:
    refresh = keyman.google_refresh_handler("genai")
    with pytest.raises(UsageError, match="no end"):
        refresh(None, scopes=None)


def test_a_token_near_its_end_is_handed_on_as_it_is(agent: AgentProcess) -> None:
    """google-auth judges by the end that it is told, in naive UTC."""
    agent.serve("genai", 8, lasts=30)
    value, ends = keyman.google_refresh_handler("genai")(None, scopes=["a"])
    assert value == EIGHT
    assert ends.tzinfo is None
    left = ends.replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=30)
