"""The daemon, asked over its socket: each question of a command is a request to the agent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from keyman import client
from keyman.clock import SystemClock
from keyman.core.model import Secret
from keyman.desk import Entrusted, Wish
from keyman.errors import NotRunning
from keyman.views import Json, final, time_text

CLOCK = SystemClock()


class Remote:
    """The daemon, over this socket."""

    running = True

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    def answers(self, within: float) -> bool:
        """Whether anybody does in so many seconds. Raises NotAllowed if this user may not ask."""
        try:
            status, said = self._call("GET", "/healthz", timeout=within)
        except NotRunning:
            return False
        client.checked(status, said)
        return True

    def _call(
        self, method: str, path: str, body: Json | None = None, *, timeout: float = 30
    ) -> tuple[int, Any]:
        return client.call(method, path, body, timeout=timeout, path_to_socket=self._socket)

    def _ask(
        self, method: str, path: str, body: Json | None = None, *, timeout: float = 30
    ) -> Json:
        answer: Json = client.checked(*self._call(method, path, body, timeout=timeout))
        return answer

    def status(self, name: str) -> Json:
        return self._ask("GET", _of(name))

    def every(self) -> Json:
        return self._ask("GET", "/api/v1/credentials")

    def lookup(self, name: str, *, previous: bool) -> Json:
        stage = "?stage=previous" if previous else ""
        return self._ask("GET", f"/api/v1/secrets/{quote(name, safe='')}{stage}")

    def rejected(self, name: str, version: int, within: float) -> None:
        """Tell it that the provider refuses this version; what follows need not be awaited."""
        path = f"/api/v1/secrets/{quote(name, safe='')}/rejected"
        with suppress(NotRunning):
            self._call("POST", path, {"version": version}, timeout=within)

    def order(self, name: str, wish: Wish) -> Json:
        body: Json = {"reason": wish.reason}
        if wish.overlap is not None:
            body["overlap"] = f"{wish.overlap.total_seconds()}s"
        body |= {"version": wish.version, "slot": wish.slot}
        body |= {"all": wish.everything, "now": wish.first, "new_key": wish.kind == "new-key"}
        verb = "rotate" if wish.kind == "new-key" else str(wish.kind)
        with _maybe_recorded():
            return self._ask("POST", _of(name, verb), {k: v for k, v in body.items() if v})

    def wait(self, order: str, seconds: float) -> Json:
        deadline = CLOCK.monotonic() + seconds
        while True:
            left = deadline - CLOCK.monotonic()
            path = f"/api/v1/orders/{order}?wait={max(0, min(left, 25)):.3f}s"
            with _maybe_recorded():
                receipt = self._ask("GET", path)
            if final(receipt) or left <= 0:
                return receipt

    def adopt(self, name: str, key: Entrusted) -> Json:
        body: Json = {"secret": key.secret.reveal(), "take_over": key.take_over}
        body |= {k: v for k, v in (("slot", key.slot), ("key_id", key.key_id)) if v is not None}
        return self._ask("POST", _of(name, "adopt"), body, timeout=60)

    def put(self, name: str, secret: Secret, expires_at: datetime | None) -> Json:
        body: Json = {"secret": secret.reveal()}
        body |= {"expires_at": time_text(expires_at)} if expires_at else {}
        return self._ask("POST", _of(name, "put"), body, timeout=60)

    def forget(self, name: str, *, revoke: bool) -> Json:
        body = {"revoke": True} if revoke else {}
        return self._ask("POST", _of(name, "forget"), body, timeout=120)

    def clients(self) -> Json:
        return self._ask("GET", "/api/v1/clients")

    def add_client(self, name: str, digest: str, grants: Sequence[str]) -> Json:
        body: Json = {"name": name, "digest": digest, "grants": list(grants)}
        return self._ask("POST", "/api/v1/clients", body)

    def revoke_client(self, name: str) -> Json:
        return self._ask("POST", f"/api/v1/clients/{quote(name, safe='')}/revoke", {})

    def reload(self) -> Json:
        return self._ask("POST", "/api/v1/reload", {})


def _of(name: str, verb: str = "") -> str:
    path = f"/api/v1/credentials/{quote(name, safe='')}"
    return f"{path}/{verb}" if verb else path


@contextmanager
def _maybe_recorded() -> Iterator[None]:
    """The daemon may end between an order and its answer: the order doesn't."""
    try:
        yield
    except NotRunning as error:
        raise NotRunning(
            error.message,
            hint="the order may be recorded: `keyman status` tells, "
            "and `keyman daemon` goes on with it",
        ) from None
