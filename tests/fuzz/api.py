"""The API by its own document: python -m tests.fuzz.api [--requests 20000] [--seed S]
[--workers N] [--replay N]

Requests are made from the agent's /api/openapi.json: every call with parameters and bodies that fit
the document, that nearly fit it, and that do not, over the unix socket as the owner, and over TCP
with a client's token, with a wrong one and with none. Behind the agent is the real desk, with a
journal and two credentials; nobody takes turns, so orders are recorded and stay.

Judged: no server error (500, or a 502 or 503 without its own code); nobody without a token gets
anything, and a client with one changes nothing; every answer is one that the document describes,
status, kind of content and body; no answer but a lookup holds a secret.

Not tried: long waits, the stream of events beyond its head, many at once (tests/serving).
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from openapi_schema_validator import OAS31Validator

from tests.fuzz.api_requests import Asked, Maker
from tests.fuzz.api_world import CANARY, CLIENT, NOBODY, WRONG, World, world
from tests.proof.report import conclude

CHUNK = 2_000  # requests to one world, whose credentials are revoked sooner or later
REFUSALS = {502: {"provider_failed"}, 503: {"no_usable_secret", "not_adopted", "not_running"}}
A_CLIENT_MAY = {"/api/v1/secrets/{name}/rejected"}  # with POST


@dataclass(frozen=True)
class Answer:
    status: int
    kind: str
    body: bytes


class Judge:
    """What is wrong with an answer; nothing, mostly."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._schemas: dict[str, OAS31Validator] = {}

    def wrong(self, asked: Asked, answer: Answer) -> Iterator[str]:
        ok = 200 <= answer.status < 400
        if answer.status >= 500 and not self._a_refusal(answer):
            yield f"a server error: {answer.status} {answer.body[:200]!r}"
        if asked.door in (WRONG, NOBODY) and ok:
            yield f"{asked.door}, and it answers {answer.status}"
        changes = asked.method != "GET" and asked.path not in A_CLIENT_MAY
        if asked.door == CLIENT and changes and ok and asked.method != "HEAD":
            yield f"a client orders, and it answers {answer.status}"
        if CANARY.encode() in answer.body and not asked.path.startswith("/api/v1/secrets/"):
            yield "a secret in an answer that is none of a lookup"
        if asked.path and asked.method != "HEAD":
            yield from self._misfit(asked, answer)

    def _a_refusal(self, answer: Answer) -> bool:
        try:
            code = json.loads(answer.body)["error"]["code"]
        except (ValueError, LookupError, TypeError):
            return False
        return code in REFUSALS.get(answer.status, ())

    def _misfit(self, asked: Asked, answer: Answer) -> Iterator[str]:
        """Where the answer is none that the document describes."""
        described = self._document["paths"][asked.path][asked.method.lower()]["responses"]
        said = described.get(str(answer.status)) or (
            described["default"] if answer.status >= 400 else None
        )
        if said is None:
            yield f"{answer.status} is not in the document"
            return
        kind = answer.kind.partition(";")[0]
        content = said.get("content", {})
        if kind not in content:
            if content or answer.body:
                yield f"{answer.status} {kind!r} is not in the document"
            return
        if kind != "application/json":
            return
        for error in self._validator(content[kind]["schema"]).iter_errors(json.loads(answer.body)):
            yield f"{answer.status}: {error.message[:200]}"

    def _validator(self, schema: dict[str, Any]) -> OAS31Validator:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._schemas:
            whole = {**schema, "components": self._document["components"]}
            self._schemas[key] = OAS31Validator(whole)
        return self._schemas[key]


class Asking:
    """Connections that stay, one a door."""

    def __init__(self, there: World) -> None:
        self._there = there
        self._lines: dict[str, http.client.HTTPConnection] = {}

    def close(self) -> None:
        for line in self._lines.values():
            line.close()

    def ask(self, asked: Asked) -> Answer:
        headers = dict(asked.headers)
        if asked.door == CLIENT:
            headers["Authorization"] = f"Bearer {self._there.token}"
        elif asked.door == WRONG:
            headers["Authorization"] = f"Bearer {self._there.token[:-1]}~"
        line = self._lines.pop(asked.door, None) or self._there.line(asked.door)
        try:
            line.request(asked.method, asked.target, asked.body, headers)
            reply = line.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            line.close()
            line = self._there.line(asked.door)
            line.request(asked.method, asked.target, asked.body, headers)
            reply = line.getresponse()
        kind = reply.headers.get("content-type", "")
        stream = kind.startswith("text/event-stream")
        answer = Answer(reply.status, kind, b"" if stream else reply.read())
        if stream or reply.will_close:
            line.close()
        else:
            self._lines[asked.door] = line
        return answer


def attempt(there: World, seed: int, numbers: range, broken: list[str]) -> Counter[str]:
    """These requests, one after another; counts of what was answered."""
    maker, judge, asking = Maker(there.document, seed), Judge(there.document), Asking(there)
    counts = Counter[str]()
    for number in numbers:
        asked = maker.make(number)
        try:
            answer = asking.ask(asked)
        except (OSError, http.client.HTTPException) as error:
            wrong = [f"no answer: {type(error).__name__}: {error}"]
        else:
            counts[f"{asked.door}: {answer.status}"] += 1
            wrong = list(judge.wrong(asked, answer))
        said = f"{asked.door}: {asked.method} {asked.target}"
        broken += [f"{said}: {what}\n   request {number}" for what in wrong]
    asking.close()
    return counts


def one_world(seed: int, numbers: range) -> tuple[Counter[str], list[str]]:
    """How often it answered what to these requests, and what was wrong."""
    broken: list[str] = []
    with world() as there:
        return attempt(there, seed, numbers, broken), broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--replay", type=int, metavar="NUMBER", help="its world, up to this request"
    )
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    began, broken, counts = time.monotonic(), list[str](), Counter[str]()
    chunks = [range(at, min(at + CHUNK, asked.requests)) for at in range(0, asked.requests, CHUNK)]
    if asked.replay is not None:
        chunks = [range(asked.replay // CHUNK * CHUNK, asked.replay + 1)]
    with multiprocessing.Pool(asked.workers, logging.disable) as pool:
        for answered, wrong in pool.imap(partial(one_world, asked.seed), chunks):
            counts += answered
            broken += wrong
    for what in broken[:20]:
        number = what.rpartition(" ")[2]
        print(f"BROKEN {what}")
        print(f"   PYTHONPATH=. python -m tests.fuzz.api --seed {asked.seed} --replay {number}")
    for answer, often in sorted(counts.items()):
        print(f"{often:7,} {answer}")
    return conclude({"API requests": counts.total()}, len(broken), began)


if __name__ == "__main__":
    sys.exit(main())
