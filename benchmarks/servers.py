"""Who answers lookups in benchmarks/agent.py: the agent, and two peers of it in Python.

    python -m benchmarks.servers agent|bare|starlette SOCKET [BODY]

Says "up" once it answers. The agent then takes wishes, a line each: `promote VERSION WAITING`
promotes once so many wait, and tells the moment before; `publish COUNT` adds so many names.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import httptools
import uvloop

from keyman.clock import SystemClock
from keyman.core.model import Secret, Stage
from keyman.providers.protocol import Lookup
from keyman.serving.api import Api
from keyman.serving.page import open_page
from keyman.serving.server import Agent
from keyman.serving.snapshot import Answer, Handout, Snapshot

BASE_URL = "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/v1"


class Nobody:
    """A desk of which nothing is asked here."""

    def names(self) -> list[str]:
        return []


def agent(place: Path) -> None:
    clock = SystemClock()
    home = place.with_suffix("")
    home.mkdir()
    snapshot = Snapshot(clock, open_page(home, key=b"benchmark", shared=False, now=clock.now))
    api = Api(Nobody(), snapshot, reload=dict, since=clock.now())  # type: ignore[arg-type]
    serving = Agent(api, place)
    _publish(snapshot, "genai", 1)
    serving.start()
    _say("up")
    for line in sys.stdin:
        wish, number, *more = line.split()
        if wish == "promote":
            while api.waiting.waiting("genai") < int(more[0]):
                time.sleep(0.01)
            _say(time.monotonic())
            _publish(snapshot, "genai", int(number))
        else:
            for one in range(int(number)):
                _publish(snapshot, f"credential-{one}", 1)
            _say("done")


def _publish(snapshot: Snapshot, name: str, version: int) -> None:
    ends = datetime.now(UTC) + timedelta(days=60)
    secret, lookup = Secret(f"sk-{version:048}"), Lookup(base_url=BASE_URL)
    slots = ("key-one", "key-two")
    current, previous = (
        Handout(name, secret, number, slots[number % 2], stage, ends, "oci-genai", lookup)
        for number, stage in ((version, Stage.CURRENT), (version - 1, Stage.PREVIOUS))
    )
    snapshot.publish(name, Answer(version, current, previous))


def bare(place: Path, body: str) -> None:
    """Nothing but the parser that the agent's framework has, and a finished answer."""
    head = (
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\n\r\n"
    )
    answer = (head + body).encode()

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast("asyncio.Transport", transport)
            self._parser = httptools.HttpRequestParser(self)

        def data_received(self, data: bytes) -> None:
            self._parser.feed_data(data)

        def on_message_complete(self) -> None:
            self._transport.write(answer)

    async def serve() -> None:
        await asyncio.get_running_loop().create_unix_server(Bare, str(place), backlog=1024)
        _say("up")
        await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def starlette(place: Path, body: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def secret(_: Request) -> Response:
        return Response(body, media_type="application/json")

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110 it has no event for that
            await asyncio.sleep(0.01)
        _say("up")
        await serving

    app = Starlette(routes=[Route("/api/v1/secrets/{name}", secret)])
    config = uvicorn.Config(
        app, uds=str(place), http="httptools", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


SERVERS: dict[str, Callable[..., None]] = {"agent": agent, "bare": bare, "starlette": starlette}

if __name__ == "__main__":
    name, where, *said = sys.argv[1:]
    SERVERS[name](Path(where), *said)
