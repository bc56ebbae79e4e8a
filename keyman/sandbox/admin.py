"""Doors for tests, under /sandbox/: script faults, act as a person in the console, ask for truth.

Another process reaches the same things here that a test in the same process reaches on the
sandbox object. None of it imitates the vendor. The listener is on the loopback address only.

    GET    /sandbox/truth       keys, slots, and which secrets are accepted now (as SHA-256)
    GET    /sandbox/log         control-plane calls in order of effect; ?operation= picks
    GET    /sandbox/counts      inference calls accepted and rejected, by SHA-256 of the secret
    GET    /sandbox/faults      the rules in force
    POST   /sandbox/faults      one rule or a list of them; the fields of `Fault`
    DELETE /sandbox/faults      no more faults
    POST   /sandbox/drift       {"action": renew|activate|deactivate|revoke|tag|delete,
                                 "key_id": …, "slot": …, "expires": …, "tags": {…}}
    POST   /sandbox/keys        {"name": …, "compartment": …, "slots": […], "expires": …, "tags": …}
    POST   /sandbox/users       {"tenancy": …, "user": …, "public_key": PEM}
    POST   /sandbox/policy      {"present": true|false}
    POST   /sandbox/clock       {"shift_seconds": …} moves the sandbox's clock forward
    GET    /sandbox/behaviour   the answers in force
    POST   /sandbox/behaviour   {field: answer, …} changes some of them
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from keyman.sandbox.faults import Fault
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

if TYPE_CHECKING:
    from keyman.sandbox.oci_genai import OciGenaiSandbox

_STATES = {"activate": "ACTIVE", "deactivate": "INACTIVE", "revoke": "REVOKED"}


class Admin:
    """Answers requests under /sandbox/."""

    def __init__(self, sandbox: OciGenaiSandbox) -> None:
        self._sandbox = sandbox
        self._doors: dict[tuple[str, str], Callable[[Request], object]] = {
            ("GET", "truth"): lambda _: sandbox.truth(),
            ("GET", "log"): self._log,
            ("GET", "counts"): lambda _: sandbox.counts(),
            ("GET", "faults"): lambda _: sandbox.faults.to_json(),
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): lambda _: sandbox.faults.clear(),
            ("POST", "drift"): self._drift,
            ("POST", "keys"): self._create,
            ("POST", "users"): self._register,
            ("POST", "policy"): self._policy,
            ("POST", "clock"): self._clock,
            ("GET", "behaviour"): lambda _: asdict(sandbox.behaviour),
            ("POST", "behaviour"): self._behave,
        }

    def answer(self, request: Request) -> Reply:
        door = self._doors.get((request.method, request.path.removeprefix("/sandbox/")))
        if door is None:
            return json_reply(
                404, {"error": "no such door", "doors": sorted(map(str, self._doors))}
            )
        try:
            return json_reply(200, door(request))
        except (RefusedError, KeyError, TypeError, ValueError) as error:
            return json_reply(400, {"error": f"{type(error).__name__}: {error}"})

    def _log(self, request: Request) -> list[Json]:
        wanted = request.query.get("operation")
        return [asdict(call) for call in self._sandbox.calls(wanted)]

    def _add_faults(self, request: Request) -> Json:
        # A list is as good as a single rule, so several can be put in force in one go.
        given = request.json_value()
        rules = [Fault.from_json(each) for each in (given if isinstance(given, list) else [given])]
        return {"numbers": [self._sandbox.faults.add(rule) for rule in rules]}

    def _drift(self, request: Request) -> Json:
        body, console = request.json(), self._sandbox.console
        action, key_id = body["action"], body["key_id"]
        if action == "renew":
            return {"key": console.renew(key_id, body["slot"], _time(body.get("expires")))}
        if action == "tag":
            console.update(key_id, {}, {"freeformTags": body["tags"]})
        elif action == "delete":
            console.delete(key_id)
        else:
            console.set_state(key_id, body["slot"], _STATES[action])
        return {}

    def _create(self, request: Request) -> Json:
        body = request.json()
        key_id, secrets = self._sandbox.console.create(
            body["name"],
            body.get("compartment", self._sandbox.compartment),
            body.get("slots", ["key-one", "key-two"]),
            _time(body.get("expires")),
            body.get("tags"),
        )
        return {"id": key_id, "keys": secrets}

    def _register(self, request: Request) -> Json:
        body = request.json()
        tenancy = body.get("tenancy", self._sandbox.tenancy)
        shown = self._sandbox.register_user(tenancy, body["user"], body["public_key"])
        return {"fingerprint": shown}

    def _policy(self, request: Request) -> Json:
        self._sandbox.set_policy(present=bool(request.json()["present"]))
        return {}

    def _clock(self, request: Request) -> Json:
        self._sandbox.time_shift += timedelta(seconds=float(request.json()["shift_seconds"]))
        return {"now": self._sandbox.now().isoformat()}

    def _behave(self, request: Request) -> Json:
        given: Json = {n: tuple(v) if isinstance(v, list) else v for n, v in request.json().items()}
        self._sandbox.behaviour = replace(self._sandbox.behaviour, **given)
        return asdict(self._sandbox.behaviour)


def _time(given: object) -> datetime | None:
    if given is None:
        return None
    time = datetime.fromisoformat(str(given))
    return time if time.tzinfo else time.replace(tzinfo=UTC)
