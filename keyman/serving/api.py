"""The agent's HTTP API: the table of its routes, and the half of it that asks the desk.

Lookups (lookups.py) touch neither journal nor store. What may block runs in a worker thread;
waiting for news holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from keyman import errors
from keyman.core.model import OrderKind, OrderState
from keyman.core.news import News
from keyman.desk import Wish
from keyman.meter import Meter
from keyman.serving import answers, events, metrics
from keyman.serving import requests as asked
from keyman.serving.answers import LOOKED_UP, ORDERED, REPORTED, Gives
from keyman.serving.clients import ClientCalls, Register
from keyman.serving.desk import Desk
from keyman.serving.events import Events
from keyman.serving.lookups import Lookups, answer
from keyman.serving.metrics import Metrics
from keyman.serving.refusals import Shell, refusal, speak_our_shape
from keyman.serving.snapshot import Snapshot
from keyman.serving.watchers import Watchers
from keyman.views import Json, time_text

LOOK_AGAIN = 2.0  # seconds: an order's progress is normally told, not looked for
OPEN = (OrderState.WAITING, OrderState.RUNNING)


class Api:
    """`app` is the ASGI application; `waiting.close()` ends every wait. `meter` is what was
    counted elsewhere. `ordered_reload`, once it is set, is told who orders one, before it is done.
    """

    def __init__(
        self,
        desk: Desk,
        snapshot: Snapshot,
        *,
        reload: Callable[[], Json],
        since: datetime,
        clients: Register | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._desk = desk
        self._reload = reload
        self.ordered_reload: Callable[[str], None] = lambda _: None
        self._since = since
        self.snapshot = snapshot
        self.clients = clients
        self.waiting = Watchers()
        snapshot.subscribe(self.waiting.published)
        self.events = Events(desk, snapshot, self.waiting)
        self.metrics = Metrics(meter or Meter(), snapshot, desk.names)
        framework = FastAPI(
            title="keyman agent",
            openapi_url="/api/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        framework.include_router(self._routes())
        speak_our_shape(framework)
        self.app = Shell(framework, snapshot.knows)

    def heard(self, _: Sequence[News]) -> None:
        """Something happened that the journal tells of by now. From any thread."""
        self.events.happened()

    def _routes(self) -> APIRouter:
        lookups = Lookups(self._desk, self.snapshot, self.waiting)
        routes = APIRouter(default_response_class=Response)

        def route(call: str, do: Callable[..., Any], gives: Gives, *queries: str) -> None:
            method, path = call.split()
            checks = [asked.only(*queries)]
            routes.add_api_route(
                path,
                do,
                methods=[method],
                dependencies=checks,
                status_code=gives.status,
                responses=gives.responses(),
            )
            if method == "GET":  # the same without its body, which the server leaves out
                routes.add_api_route(
                    path, do, methods=["HEAD"], dependencies=checks, include_in_schema=False
                )

        route("GET /api/v1/secrets/{name}", lookups.secret, LOOKED_UP, "stage", "after", "wait")
        route("POST /api/v1/secrets/{name}/rejected", lookups.rejected, REPORTED)
        route("GET /api/v1/credentials", self.credentials, Gives(answers.Statuses))
        route("GET /api/v1/credentials/{name}", self.credential, Gives(answers.Status))
        route("POST /api/v1/credentials/{name}/rotate", self.rotate, ORDERED)
        route("POST /api/v1/credentials/{name}/revoke", self.revoke, ORDERED)
        route("POST /api/v1/credentials/{name}/rollback", self.rollback, ORDERED)
        route("POST /api/v1/credentials/{name}/activate", self.activate, ORDERED)
        route("POST /api/v1/credentials/{name}/deactivate", self.deactivate, ORDERED)
        route("POST /api/v1/credentials/{name}/adopt", self.adopt, Gives(answers.Status))
        route("POST /api/v1/credentials/{name}/put", self.put, Gives(answers.Status))
        route("POST /api/v1/credentials/{name}/forget", self.forget, Gives(answers.Forgotten))
        route("GET /api/v1/orders/{order_id}", self.receipt, Gives(answers.Receipt), "wait")
        route("GET /api/v1/events", self.events.listen, events.GIVES, "credential")
        route("POST /api/v1/reload", self.reload, Gives(answers.Names))
        if self.clients is not None:
            clients = ClientCalls(self.clients)
            client = Gives(answers.NetworkClient)
            route("GET /api/v1/clients", clients.every, Gives(answers.NetworkClients))
            route("POST /api/v1/clients", clients.add, client)
            route("POST /api/v1/clients/{name}/revoke", clients.revoke, client)
        route("GET /metrics", self.metrics.scrape, metrics.GIVES)
        route("GET /healthz", self.alive, Gives(answers.Well))
        route("GET /readyz", self.ready, Gives(answers.Well))
        return routes

    # What is.

    async def credentials(self, caller: asked.Asking) -> Response:
        """Every credential that the caller may see, as `keyman status --json` shows it."""
        daemon = {"running": True, "since": time_text(self._since)}
        every = await run_in_threadpool(self._desk.statuses)
        every = [self._with_clients(one) for one in every if caller.sees(one["name"])]
        told = await run_in_threadpool(self._desk.notified)
        return answer({"daemon": daemon, "credentials": every, "notify": told})

    async def credential(self, name: asked.Name) -> Response:
        """One credential, as `keyman status NAME --json` shows it."""
        return answer(self._with_clients(await run_in_threadpool(self._desk.status, name)))

    def _with_clients(self, status: Json) -> Json:
        """How many took it over connections that they still have, and how many an older one."""
        door, current = self.metrics.door, status.get("current")
        taken = door.taken(status["name"]) if door else []
        behind = sum(version < current["version"] for version in taken) if current else 0
        return status | {"clients": {"connected": len(taken), "behind": behind}}

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

    async def reload(self, by: asked.Peer) -> Response:
        """Take up a changed configuration."""
        await run_in_threadpool(self.ordered_reload, by)
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
