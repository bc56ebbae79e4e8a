"""Clients of TCP, over the API and for owners: who there is, letting one in, ending a token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from keyman.serving import requests as asked
from keyman.serving.doors import Known
from keyman.serving.lookups import answer
from keyman.views import Json


class Register(Protocol):
    """Where clients are recorded. Each call may block, and raises what errors.py names."""

    def subscribe(self, told: Callable[[Iterable[Known]], None]) -> None:
        """Have `told` called with those who may ask, now and at each change."""

    def every(self) -> list[Json]: ...

    def add(self, name: str, digest: str, grants: Collection[str], by: str) -> Json:
        """Raises Conflict if there is one of that name."""

    def revoke(self, name: str, by: str) -> Json:
        """Raises NotFound."""

    def used(self, digests: Collection[str]) -> None: ...


class ClientCalls:
    def __init__(self, register: Register) -> None:
        self._register = register

    async def every(self) -> Response:
        """Who may look up over TCP, who may no more, and when each asked last."""
        return answer({"clients": await run_in_threadpool(self._register.every)})

    async def add(self, by: asked.Peer, body: asked.NewClient) -> Response:
        """Let a client in, by the digest of the token that it will show."""
        add = self._register.add
        return answer(await run_in_threadpool(add, body.name, body.digest, body.grants, by))

    async def revoke(self, name: asked.Name, by: asked.Peer) -> Response:
        """End a client's token, and whatever it is asking at the moment."""
        return answer(await run_in_threadpool(self._register.revoke, name, by))
