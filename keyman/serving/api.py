"""The agent's HTTP API: the table of its routes, and the half of it that asks the desk.

Lookups (lookups.py) touch neither journal nor store. What may block runs in a worker thread;
waiting for news holds none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from keyman import errors
from keyman.core.model import OrderKind, OrderState
from keyman.desk import Wish
from keyman.serving import requests as asked
from keyman.serving.desk import Desk
from keyman.serving.lookups import Lookups, answer
from keyman.serving.refusals import Shell, refusal, speak_our_shape
from keyman.serving.snapshot import Snapshot
from keyman.serving.watchers import Watchers
from keyman.views import Json, time_text

LOOK_AGAIN = 2.0  # seconds: an order's progress is normally told, not looked for
OPEN = (OrderState.WAITING, OrderState.RUNNING)


class Api:
    """`app` is the ASGI application; `waiting.close()` ends every wait."""

    def __init__(
        self, desk: Desk, snapshot: Snapshot, *, reload: Callable[[], Json], since: datetime
    ) -> None:
        self._desk = desk
        self._reload = reload
        self._since = since
        self.snapshot = snapshot
        self.waiting = Watchers()
        snapshot.subscribe(self.waiting.published)
        framework = FastAPI(
            title="keyman agent",
            openapi_url="/api/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        framework.include_router(self._routes())
        speak_our_shape(framework)
        self.app = Shell(framework)

    def _routes(self) -> APIRouter:
        lookups = Lookups(self._desk, self.snapshot, self.waiting)
        routes = APIRouter()

        def route(call: str, do: Callable[..., Any], *queries: str) -> None:
            method, path = call.split()
            checks = [asked.only(*queries)]
            routes.add_api_route(path, do, methods=[method], dependencies=checks)
            if method == "GET":  # the same without its body, which the server leaves out
                routes.add_api_route(
                    path, do, methods=["HEAD"], dependencies=checks, include_in_schema=False
                )

        route("GET /api/v1/secrets/{name}", lookups.secret, "stage", "after", "wait")
        route("POST /api/v1/secrets/{name}/rejected", lookups.rejected)
        route("GET /api/v1/credentials", self.credentials)
        route("GET /api/v1/credentials/{name}", self.credential)
        route("POST /api/v1/credentials/{name}/rotate", self.rotate)
        route("POST /api/v1/credentials/{name}/revoke", self.revoke)
        route("POST /api/v1/credentials/{name}/rollback", self.rollback)
        route("POST /api/v1/credentials/{name}/activate", self.activate)
        route("POST /api/v1/credentials/{name}/deactivate", self.deactivate)
        route("POST /api/v1/credentials/{name}/adopt", self.adopt)
        route("POST /api/v1/credentials/{name}/put", self.put)
        route("POST /api/v1/credentials/{name}/forget", self.forget)
        route("GET /api/v1/orders/{order_id}", self.receipt, "wait")
        route("POST /api/v1/reload", self.reload)
        route("GET /healthz", self.alive)
        route("GET /readyz", self.ready)
        return routes

    # What is.

    async def credentials(self) -> Response:
        """Every credential, as `keyman status --json` shows it."""
        daemon = {"running": True, "since": time_text(self._since)}
        every = await run_in_threadpool(self._desk.statuses)
        return answer({"daemon": daemon, "credentials": every})

    async def credential(self, name: asked.Name) -> Response:
        """One credential, as `keyman status NAME --json` shows it."""
        return answer(await run_in_threadpool(self._desk.status, name))

    async def receipt(self, request: Request, order_id: str, wait: asked.Wait = None) -> Response:
        """What has become of an order; with `wait`, as soon as it is done or failed."""
        said = await run_in_threadpool(self._desk.receipt, order_id)

        async def look() -> Json | None:
            nonlocal said
            said = await run_in_threadpool(self._desk.receipt, order_id)
            return None if said["state"] in OPEN else said

        if wait and said["state"] in OPEN:
            left = asked.seconds(wait)
            await self.waiting.until(request, said["name"], look, left, every=LOOK_AGAIN)
        return answer(said)

    # What is wished.

    async def rotate(
        self,
        name: asked.Name,
        by: asked.Peer,
        key: asked.Key = None,
        body: asked.Rotate | None = None,
    ) -> Response:
        """Order a rotation; the receipt says how it goes."""
        return await self._order(name, (body or asked.Rotate()).wish(by), key)

    async def revoke(
        self,
        name: asked.Name,
        by: asked.Peer,
        key: asked.Key = None,
        body: asked.Revoke | None = None,
    ) -> Response:
        """Say that a version leaked: it is replaced, then destroyed at the provider."""
        return await self._order(name, (body or asked.Revoke()).wish(by), key)

    async def rollback(
        self,
        name: asked.Name,
        by: asked.Peer,
        key: asked.Key = None,
        body: asked.Rollback | None = None,
    ) -> Response:
        """Order a new version that carries the previous secret."""
        return await self._order(name, (body or asked.Rollback()).wish(by), key)

    async def activate(
        self, name: asked.Name, by: asked.Peer, body: asked.Switch, key: asked.Key = None
    ) -> Response:
        """Order a slot to be switched on at the provider."""
        return await self._order(name, body.wish(OrderKind.ACTIVATE, by), key)

    async def deactivate(
        self, name: asked.Name, by: asked.Peer, body: asked.Switch, key: asked.Key = None
    ) -> Response:
        """Order a slot to be switched off; refused while lookups depend on it."""
        return await self._order(name, body.wish(OrderKind.DEACTIVATE, by), key)

    async def _order(self, name: str, wish: Wish, key: str | None) -> Response:
        return answer(await run_in_threadpool(self._desk.order, name, wish, key=key), 202)

    async def adopt(self, name: asked.Name, by: asked.Peer, body: asked.Adopt) -> Response:
        """Take the slot or key in use under management; answers with the credential's status."""
        return answer(await run_in_threadpool(self._desk.adopt, name, body.entrusted(), by))

    async def put(self, name: asked.Name, by: asked.Peer, body: asked.Put) -> Response:
        """Take a secret that comes by hand; answers with the credential's status."""
        done = await run_in_threadpool(self._desk.put, name, body.secret, body.expires_at, by)
        return answer(done)

    async def forget(
        self, name: asked.Name, by: asked.Peer, body: asked.Forget | None = None
    ) -> Response:
        """Drop what is known of a credential that left the configuration."""
        revoke = (body or asked.Forget()).revoke
        return answer(await run_in_threadpool(self._desk.forget, name, by, revoke=revoke))

    async def reload(self) -> Response:
        """Take up a changed configuration."""
        return answer(await run_in_threadpool(self._reload))

    # How the agent is.

    async def alive(self) -> Response:
        """Whether anybody answers."""
        return answer({"status": "ok"})

    async def ready(self) -> Response:
        """Whether journal, stores and snapshot are in order."""
        try:
            missing = await run_in_threadpool(self._missing)
        except errors.Error as error:
            return refusal(error, 503)
        if missing:
            return refusal(errors.NotRunning("not every name has an answer yet", hint="wait"))
        return answer({"status": "ok"})

    def _missing(self) -> list[str]:
        self._desk.ready()
        return [name for name in self._desk.names() if not self.snapshot.knows(name)]
