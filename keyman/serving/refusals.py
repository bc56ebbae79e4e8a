"""How errors leave the agent: one shape, the status of the one table, never a traceback.

What nobody foresaw is logged by its kind and place only, since an exception's text may quote
what it was handling.
"""

from __future__ import annotations

import logging
import math
import re
import traceback
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from keyman.errors import STATUSES, Error, NotAllowed, NotFound, UsageError
from keyman.serving.doors import Caller, Client
from keyman.serving.mistakes import mistakes
from keyman.serving.requests import NO_SUCH_NAME
from keyman.serving.snapshot import ASK_AGAIN

log = logging.getLogger("keyman.serving")

# None of our paths ever needs percent-encoding: decoding could only turn one name into another.
PLAIN_PATH = re.compile(rb"/[A-Za-z0-9/._-]*")

# All that who is not an owner may ask for. What is added to the API is not, unless it is written
# here as well.
LOOKING = re.compile(
    rb"(GET|HEAD) /(healthz|readyz|api/openapi\.json)"
    rb"|(GET|HEAD) /api/v1/(secrets/[^/]+|credentials(/[^/]+)?|events)"
    rb"|POST /api/v1/secrets/[^/]+/rejected"
)
# What speaks of every name at once: for those who may see them all.
OF_ALL = re.compile(rb"(GET|HEAD) /metrics")
NAMED = re.compile(rb"/api/v1/(?:secrets|credentials)/([^/]+)")


def refusal(error: Error, status: int | None = None) -> JSONResponse:
    """The answer that says this error."""
    status = status or STATUSES[error.code][1]
    headers = {"cache-control": "no-store"}
    if status == 503:
        wait = getattr(error, "retry_after", None) or ASK_AGAIN
        headers["retry-after"] = str(max(1, math.ceil(wait)))
    return JSONResponse(error.as_json(), status, headers)


def unforeseen(error: BaseException) -> Error:
    """What is said of an exception that should not have happened; its place goes to the log."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    log.error("unforeseen %s at %s", type(error).__name__, where)
    return Error("something went wrong inside keyman", hint="the daemon's log says where")


def speak_our_shape(app: FastAPI) -> None:
    """Have every refusal that the framework makes by itself look like ours."""

    async def ours(request: Request, error: Any) -> JSONResponse:
        caller: Caller = request.scope["state"]["caller"]
        if isinstance(error, NotFound) and not caller.owner:
            return refusal(NotFound(error.message))  # a hint may list what there is
        return refusal(error)

    async def invalid(_: Request, error: Any) -> JSONResponse:
        return refusal(mistakes(error))

    async def of_the_framework(_: Request, error: Any) -> JSONResponse:
        if error.status_code == 404:
            return refusal(NotFound("no such path", hint="see /api/openapi.json"))
        said = "this path does not take that method" if error.status_code == 405 else "unreadable"
        answer = refusal(UsageError(said, hint="see /api/openapi.json"), error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    async def surprise(_: Request, error: Exception) -> JSONResponse:
        return refusal(unforeseen(error))

    app.add_exception_handler(Error, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_the_framework)
    app.add_exception_handler(Exception, surprise)


def _json(scope: Scope) -> Scope:
    """The request, its body declared as what every body here is: `curl -d` calls it a form."""
    others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*others, (b"content-type", b"application/json")]}


def _only_looking(caller: Caller) -> NotAllowed:
    who = "a client" if isinstance(caller, Client) else "this user"
    return NotAllowed(
        f"{who} may look up secrets and their status, and nothing else",
        hint="ask as the user who runs keyman, or as root",
    )


class Shell:
    """Round the framework: refuses odd paths, and whatever its sender may not ask, before
    anything more of a request is read; keeps exceptions inside. `knows` says which names there
    are: those that the sender may not see are answered as those that nobody has.
    """

    def __init__(self, app: ASGIApp, knows: Callable[[str], bool]) -> None:
        self._app = app
        self._knows = knows

    def _wrong(self, scope: Scope) -> Error | None:
        caller: Caller = scope["state"]["caller"]
        path: bytes = scope["raw_path"]
        if not PLAIN_PATH.fullmatch(path):
            return NotFound(NO_SUCH_NAME)
        if caller.owner:
            return None
        call = b"%s %s" % (scope["method"].encode(), path)
        if not LOOKING.fullmatch(call) and not (caller.sees_all and OF_ALL.fullmatch(call)):
            return _only_looking(caller)
        named = NAMED.match(path)
        name = named[1].decode() if named else None
        if name is not None and not (self._knows(name) and caller.sees(name)):
            return NotFound(NO_SUCH_NAME)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = self._wrong(scope)
        if wrong is not None:
            await refusal(wrong)(scope, receive, send)
            return
        try:
            await self._app(_json(scope), receive, send)
        except Exception:  # noqa: BLE001 answered and logged by `surprise`; the framework raises it again
            log.debug("the answer was sent by the handler of surprises")
