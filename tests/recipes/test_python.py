"""Python applications that were started once and go on while secrets are replaced."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.recipes.page import Block, blocks_of
from tests.recipes.program import Program, here
from tests.recipes.world import Machine

QUESTION = '[{"role": "user", "content": "ping"}]'
CALL = f'client.chat.completions.create(model="gpt-5", messages={QUESTION})'
ANSWER = f"{CALL}.choices[0].message.content"
LITELLM = "uv pip install --python .venv litellm; it brings an older openai: make clean install"
META = ANSWER.replace("gpt-5", "meta.llama-3.3-70b-instruct")
GEMINI = ANSWER.replace("gpt-5", "google/gemini-2.5-flash")


def hears_at_its_next_call(box: Machine, app: Program, question: str) -> None:
    """The old secret is destroyed once there is a new one: whoever used it would be refused."""
    first = box.current()
    before = box.seen(first)
    assert app.ask(question) == "pong"
    new = box.revoke()
    at_first = box.seen(new)
    assert app.ask(question) == "pong"
    assert box.seen(first).accepted == before.accepted + 1
    assert box.seen(first).rejected == 0
    assert box.seen(new).accepted == at_first.accepted + 1


def test_openai_sdk(box: Machine, pasted: list[Block]) -> None:
    with box.python(pasted[0].text) as app:
        hears_at_its_next_call(box, app, ANSWER)
        box.lose()
        assert app.ask(ANSWER) == "AuthenticationError"
        box.rotate()
        assert app.ask(ANSWER) == "pong"


def test_openai_sdk_at_oci(box: Machine) -> None:
    """A slot's old secret is taken during the overlap, so only which one was sent can tell."""
    text = blocks_of("test_openai_sdk")[0].filled({"genai": "genai-oci"})
    with box.python(text) as app:
        assert app.ask(META) == "pong"
        new = box.rotate("genai-oci")
        before = box.seen(new).accepted
        assert app.ask(META) == "pong"
        assert box.seen(new).accepted == before + 1


@pytest.mark.slow
def test_openai_sdk_mends_a_refusal(box: Machine, pasted: list[Block]) -> None:
    with box.python(pasted[0].text) as app:
        hears_at_its_next_call(box, app, ANSWER)
        lost = box.current()
        box.lose()
        assert app.ask(ANSWER) == "pong"
        assert box.seen(lost).rejected > 0
        assert box.current() != lost
        assert box.seen("keyman").rejected == 0
        assert app.ask("client.timeout.read") == "600"
    other = pasted[0].filled({"DefaultHttpxClient,": "", "DefaultHttpxClient(": "httpx2.Client("})
    with box.python(f"import httpx2\n{other}") as app:
        hears_at_its_next_call(box, app, ANSWER)


@pytest.mark.slow
def test_async_openai_sdk(box: Machine, pasted: list[Block]) -> None:
    with box.python(pasted[0].text) as app:
        app.ask("(run := __import__('asyncio').Runner().run)")
        hears_at_its_next_call(box, app, f"run({CALL}).choices[0].message.content")
    with box.python(pasted[0].filled({".aio": ""})) as app:
        assert app.ask(f"__import__('asyncio').run({CALL})") == "TypeError"


@pytest.mark.slow
def test_langchain(box: Machine, pasted: list[Block]) -> None:
    with box.python(pasted[0].text) as app:
        hears_at_its_next_call(box, app, 'model.invoke("ping").content')
        app.ask("(run := __import__('asyncio').Runner().run)")
        hears_at_its_next_call(box, app, 'run(model.ainvoke("ping")).content')
    with box.python(pasted[0].filled({'("genai"),': '("genai").aio,'})) as app:
        assert app.ask('model.invoke("ping")') == "ValueError"


def test_litellm(box: Machine, pasted: list[Block]) -> None:
    here("litellm", find_spec("litellm"), LITELLM)
    question = f'complete(model="openai/gpt-5", messages={QUESTION}).choices[0].message.content'
    where = 'litellm.completion(api_base=keyman.secret("genai").base_url, '
    from_the_environment = question.replace("complete(", where)
    put_there = "__import__('os').environ.update(OPENAI_API_KEY=keyman.get('genai'))"
    a_callable = from_the_environment.replace("base=", 'key=keyman.provider("genai"), api_base=')
    with box.python(pasted[0].text) as app:
        hears_at_its_next_call(box, app, question)
        hears_at_its_next_call(box, app, f"({put_there}, {from_the_environment})[1]")
        app.ask("setattr(litellm, 'suppress_debug_info', True)")  # it says more than one line
        assert app.ask(a_callable).endswith("Error")


@pytest.mark.slow
def test_vertex_through_the_openai_sdk(box: Machine, pasted: list[Block]) -> None:
    plain = blocks_of("test_openai_sdk")[0].filled({"genai": "vertex"})
    for text in (pasted[0].text, plain):
        with box.python(text) as app:
            takes_the_new_token(box, app, GEMINI)


def takes_the_new_token(box: Machine, app: Program, question: str) -> None:
    old = box.current("vertex")
    before = box.seen(old).accepted
    assert app.ask(question) == "pong"
    new = box.rotate("vertex")
    assert (new != old, box.seen(new).accepted) == (True, 0)
    assert app.ask(question) == "pong"
    assert (box.seen(old).accepted, box.seen(new).accepted) == (before + 1, 1)


def test_google_auth(box: Machine, pasted: list[Block]) -> None:
    body = '{"model": "google/gemini-2.5-flash", "messages": ' + QUESTION + "}"
    url = 'keyman.secret("vertex").base_url + "/chat/completions"'
    question = f"session.post({url}, json={body}).status_code"
    with box.python(pasted[0].text) as app:
        old = box.current("vertex")
        before = box.seen(old).accepted
        assert app.ask(question) == "200"
        new = box.rotate("vertex")
        assert app.ask(question) == "200"  # with what it holds, until shortly before its end
        assert (box.seen(old).accepted, box.seen(new).accepted) == (before + 2, 0)
        app.ask("setattr(credentials, 'expiry', credentials.expiry.replace(year=2020))")
        assert app.ask(question) == "200"
        assert (box.seen(old).accepted, box.seen(new).accepted) == (before + 2, 1)


@pytest.mark.slow
def test_jupyter(box: Machine, pasted: list[Block]) -> None:
    with box.python(pasted[0].text) as app:
        hears_at_its_next_call(box, app, ANSWER)
        shown = app.ask('keyman.secret("genai")')
        assert "version" in shown
        assert box.current() not in shown
