"""What the libraries that applications call with take for the secret.

    httpx2.Client(auth=keyman.auth("genai"))     httpx.AsyncClient(auth=keyman.auth("genai"))
    Credentials(None, refresh_handler=keyman.google_refresh_handler("vertex"))

Imports none of those libraries before it is asked for what they take, and then only those that
are installed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from keyman import errors
from keyman.client import asking
from keyman.client.lookups import secret, secret_aio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence
    from datetime import datetime

    from keyman.client.held import Secret

LIBRARIES = ("httpx2", "httpx")
REPLACED_WITHIN = 6.0  # seconds: the agent waits 5 for a newer version
TOLD_WITHIN = 0.5  # seconds for a report whose answer is of no use


def auth(name: str) -> Any:
    """An object for `auth=` of the clients of httpx and httpx2, async or not.

    Each request carries the current secret. Meets it a 401, the agent is told and the request is
    sent once more if there is another version by then and its body can be sent twice. Raises
    UsageError if neither library is installed.
    """
    return _auth_class()(name)


def google_refresh_handler(name: str) -> Callable[..., tuple[str, datetime]]:
    """For `refresh_handler=` of google.oauth2.credentials.Credentials: the token and its end.

    The handler raises as `keyman.get` does, and UsageError for a secret that has no end.
    """

    def refresh(_: object, scopes: Sequence[str] | None = None) -> tuple[str, datetime]:  # noqa: ARG001 google-auth passes it by name
        found = secret(name)
        if found.expires_at is None:
            raise errors.UsageError(
                f"{name} is not a token: it has no end", hint="name a credential of Google's"
            )
        return found.value, found.expires_at.replace(tzinfo=None)  # google-auth wants naive UTC

    return refresh


class Replaying:
    """The flow of one request, for both libraries: they want no more than a generator."""

    requires_request_body = False
    requires_response_body = False

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"keyman.auth({self._name!r})"

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        used = secret(self._name)
        response = yield _with(request, used)
        if response.status_code == 401:
            newer = _replacement(used, wait=_replayable(request))
            if newer is not None:
                yield _with(request, newer)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        used = await secret_aio(self._name)
        response = yield _with(request, used)
        if response.status_code == 401:
            import asyncio

            newer = await asyncio.to_thread(_replacement, used, wait=_replayable(request))
            if newer is not None:
                yield _with(request, newer)


def _with(request: Any, used: Secret) -> Any:
    request.headers["Authorization"] = f"Bearer {used.value}"
    return request


def _replayable(request: Any) -> bool:
    """Whether the body is at hand. One that came from a stream is used up."""
    try:
        return request.content is not None
    except RuntimeError:  # RequestNotRead of either library
        return False


def _replacement(used: Secret, *, wait: bool) -> Secret | None:
    """Report the version; another one, if there is one and it is waited for.

    Trouble with the agent is none of the application's: it has its 401.
    """
    path = f"/api/v1/secrets/{used.name}/rejected"
    patience = REPLACED_WITHIN if wait else TOLD_WITHIN
    try:
        status, said = asking.call("POST", path, {"version": used.version}, timeout=patience)
        asking.checked(status, said)
        found = secret(used.name)
    except errors.Error:
        return None
    return found if wait and found.version != used.version else None


@cache
def _auth_class() -> type[Replaying]:
    """Both libraries insist on their own base class: whatever is there, this is one of it."""
    bases = [library.Auth for library in map(_imported, LIBRARIES) if library is not None]
    if not bases:
        raise errors.UsageError(
            "neither httpx2 nor httpx is installed", hint="keyman.get(name) gives the secret itself"
        )
    return type("Auth", (Replaying, *bases), {"__module__": "keyman"})


def _imported(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError:
        return None
