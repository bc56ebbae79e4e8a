"""Waiting for a change without holding a thread: long-polls and orders' receipts.

Publishing happens in any thread; those who wait live on the agent's loop. A waiter registers
before it looks, so that nothing published in between is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from starlette.requests import Request

Found = TypeVar("Found")


class Watchers:
    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closed = False

    def published(self, name: str) -> None:
        """Wake whoever waits for the name. From any thread."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._wake, name)

    def close(self) -> None:
        """End every wait now, and each later one at once. On the loop."""
        self._closed = True
        for name in list(self._waiting):
            self._wake(name)

    def waiting(self, name: str) -> int:
        """How many wait for the name now."""
        return len(self._waiting.get(name, ()))

    @property
    def closed(self) -> bool:
        return self._closed

    def _wake(self, name: str) -> None:
        for event in self._waiting.get(name, ()):
            event.set()

    async def until(
        self,
        request: Request,
        name: str,
        look: Callable[[], Awaitable[Found | None]],
        seconds: float,
        *,
        every: float | None = None,
    ) -> Found | None:
        """What `look` finds as soon as it finds something; None at the end of the wait.

        Looks at each change of the name, and besides after `every` so many seconds.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        with self._registered(loop, name) as changed:
            gone = loop.create_task(_disconnected(request, changed))
            try:
                while True:
                    changed.clear()
                    found = await look()
                    left = end - loop.time()
                    if found is not None or self._closed or gone.done() or left <= 0:
                        return found
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), min(left, every or left))
            finally:
                gone.cancel()

    @contextmanager
    def _registered(self, loop: asyncio.AbstractEventLoop, name: str) -> Iterator[asyncio.Event]:
        self._loop = loop
        changed = asyncio.Event()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(changed)
        try:
            yield changed
        finally:
            waiting.discard(changed)
            if not waiting and self._waiting.get(name) is waiting:
                del self._waiting[name]


async def _disconnected(request: Request, changed: asyncio.Event) -> None:
    """Return, and wake the waiter, once the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    changed.set()
