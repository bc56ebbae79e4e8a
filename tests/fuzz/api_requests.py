"""Requests made from the agent's own document: that fit it, that nearly do, and that do not."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzz.api_world import DOORS
from tests.fuzz.mutate import mutated, strange

NAMES = ("partner", "openai-main", "nobody", "..", "%", "A" * 70, "a b", "ü", "\x00", "partner/")
WORDS = (*NAMES, "key-one", "0" * 32, "-1", "7", str(2**53), "1ms", "x", "", "*", "٣", "\ud800x")
WAITS = ("1ms", "0s", "", "x", "-1s", "99999999d", "0.000001s", "1ms1ms")


@dataclass(frozen=True)
class Asked:
    """One request; `path` as the document writes it, or "" for one that it does not know."""

    door: str
    method: str
    path: str
    target: str
    headers: dict[str, str]
    body: bytes | None


class Maker:
    """Requests out of the document, each by its number."""

    def __init__(self, document: dict[str, Any], seed: int) -> None:
        self._document, self._seed = document, seed
        self._calls = [
            (method, path, operation)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        ]

    def make(self, number: int) -> Asked:
        dice = random.Random(f"{self._seed}/{number}")
        method, path, operation = dice.choice(self._calls)
        headers: dict[str, str] = {}
        query: dict[str, str] = {}
        target = path
        for one in operation.get("parameters", ()):
            if one["in"] == "path":
                name = dice.choice(NAMES[:2] if dice.random() < 0.6 else WORDS)
                said = quote(name, safe="", errors="surrogatepass")
                target = target.replace(f"{{{one['name']}}}", said or "x")
            elif dice.random() < 0.4:
                pool = WAITS if one["name"] == "wait" else (*WORDS, "current", "previous")
                where = query if one["in"] == "query" else headers
                where[one["name"]] = dice.choice(pool)
        if dice.random() < 0.05:
            query[dice.choice(("x", "wait[]", "stage", ""))] = dice.choice(WAITS)
        if query:
            target += "?" + urlencode(query, errors="surrogatepass")
        headers = {
            k: v.encode("ascii", "ignore").decode().strip("\x00") for k, v in headers.items()
        }
        if dice.random() < 0.04:
            method, path = dice.choice(("put", "delete", "patch", "trace", "head", "options")), ""
        body = self._body(dice, operation, headers)
        if dice.random() < 0.15:
            headers["Accept"] = dice.choice(("text/plain", "application/xml", "*/*", "a/b;q=x"))
        door = dice.choices(DOORS, (5, 3, 1, 1))[0]
        return Asked(door, method.upper(), path, target, headers, body)

    def _body(
        self, dice: random.Random, operation: dict[str, Any], headers: dict[str, str]
    ) -> bytes | None:
        described = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if described is None and dice.random() < 0.9:
            return None
        fits = self._value(dice, (described or {}).get("schema", {"type": "object"}))
        what = dice.random()
        if what < 0.1:
            return None
        headers["Content-Type"] = "application/json" if what < 0.95 else "text/csv"
        if what < 0.5:
            return json.dumps(fits).encode()
        if what < 0.8:
            return json.dumps(strange(dice, fits)).encode()
        return mutated(dice, (json.dumps(fits).encode(),), (b'"', b"{", b"null", b"\xff"))

    def _value(self, dice: random.Random, schema: dict[str, Any]) -> Any:
        """Something that fits, as far as the schema says."""
        if "$ref" in schema:
            return self._value(
                dice, self._document["components"]["schemas"][schema["$ref"].split("/")[-1]]
            )
        if "anyOf" in schema:
            return self._value(dice, dice.choice(schema["anyOf"]))
        if "enum" in schema:
            return dice.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                wanted = schema.get("required", ())
                known = schema.get("properties", {})
                chosen = [n for n in known if n in wanted or dice.random() < 0.5]
                return {name: self._value(dice, known[name]) for name in chosen}
            case "array":
                return [
                    self._value(dice, schema.get("items", {})) for _ in range(dice.randrange(3))
                ]
            case "integer":
                return dice.choice((1, 2, 7, 2**53))
            case "boolean":
                return dice.random() < 0.5
            case "string":
                return dice.choice((*NAMES[:2], "1h", "key-one", "0" * 64, "2027-01-31T00:00:00Z"))
            case _:
                return None
