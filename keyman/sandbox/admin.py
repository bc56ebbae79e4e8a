"""The doors for tests of the OCI sandbox, beside those that every sandbox has (`doors.py`).

Another process reaches the same things here that a test in the same process reaches on the
sandbox object.

    POST   /sandbox/drift       {"action": renew|activate|deactivate|revoke|tag|delete,
                                 "key_id": …, "slot": …, "expires": …, "tags": {…}}
    POST   /sandbox/keys        {"name": …, "compartment": …, "slots": […], "expires": …, "tags": …}
    POST   /sandbox/users       {"tenancy": …, "user": …, "public_key": PEM}
    POST   /sandbox/policy      {"present": true|false}

The truth is keys, slots, and which secrets are accepted now (as SHA-256); the log holds
control-plane calls, the counts inference calls.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from keyman.sandbox.doors import Doors
from keyman.sandbox.server import Json, Request

if TYPE_CHECKING:
    from keyman.sandbox.oci_genai import OciGenaiSandbox

_STATES = {"activate": "ACTIVE", "deactivate": "INACTIVE", "revoke": "REVOKED"}


class Admin(Doors):
    """Answers requests under /sandbox/."""

    def __init__(self, sandbox: OciGenaiSandbox) -> None:
        self._oci = sandbox
        own = {
            ("POST", "drift"): self._drift,
            ("POST", "keys"): self._create,
            ("POST", "users"): self._register,
            ("POST", "policy"): self._policy,
        }
        super().__init__(sandbox, own)

    def _drift(self, request: Request) -> Json:
        body, console = request.json(), self._oci.console
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
        key_id, secrets = self._oci.console.create(
            body["name"],
            body.get("compartment", self._oci.compartment),
            body.get("slots", ["key-one", "key-two"]),
            _time(body.get("expires")),
            body.get("tags"),
        )
        return {"id": key_id, "keys": secrets}

    def _register(self, request: Request) -> Json:
        body = request.json()
        tenancy = body.get("tenancy", self._oci.tenancy)
        shown = self._oci.register_user(tenancy, body["user"], body["public_key"])
        return {"fingerprint": shown}

    def _policy(self, request: Request) -> Json:
        self._oci.set_policy(present=bool(request.json()["present"]))
        return {}


def _time(given: object) -> datetime | None:
    if given is None:
        return None
    time = datetime.fromisoformat(str(given))
    return time if time.tzinfo else time.replace(tzinfo=UTC)
