"""An imitation of OCI Generative AI: API keys, their two slots, and inference behind them.

    sandbox = OciGenaiSandbox(seed=7, behaviour=Behaviour.from_seed(7))
    config = sandbox.make_profile(folder)          # like ~/.oci/config, with a key that is let in
    with sandbox.serve() as url:
        ...                                        # service_endpoint=url, base_url=sandbox.base_url

Control plane and inference answer on one address. Paths under /sandbox/ are doors for tests
(`admin.py`) and no imitation of anything. Durations pass on `now`, which a test may compress;
signatures are checked against `signed_now`, because clients stamp their calls with real time.
"""

from __future__ import annotations

import random
import secrets
import string
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keyman.sandbox import control_plane, inference
from keyman.sandbox.admin import Admin
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.cloud import Cloud
from keyman.sandbox.console import Console
from keyman.sandbox.control_plane import Asked, ControlPlane
from keyman.sandbox.faults import Fault, FaultPlan, suffer
from keyman.sandbox.inference import Inference
from keyman.sandbox.profiles import write_profile
from keyman.sandbox.replays import Replays
from keyman.sandbox.rules import not_found
from keyman.sandbox.server import Json, RefusedError, Reply, Request, Service
from keyman.sandbox.signing import Verifier
from keyman.sandbox.witness import Call, CallLog, Tally, truth

TENANCY = "ocid1.tenancy.oc1..sandbox"
USER = "ocid1.user.oc1..sandbox"
COMPARTMENT = "ocid1.compartment.oc1..sandbox"
_ALPHABET = string.ascii_letters + string.digits


def system_now() -> datetime:
    return datetime.now(UTC)


class OciGenaiSandbox(Service):
    """One region of one cloud, answering over HTTP."""

    def __init__(  # noqa: PLR0913 (by keyword, and each has a default)
        self,
        *,
        behaviour: Behaviour | None = None,
        seed: int | None = None,
        now: Callable[[], datetime] = system_now,
        signed_now: Callable[[], datetime] = system_now,
        secret_prefix: str = "sk-sandbox",  # noqa: S107 (what a scan for leaked secrets looks for)
        key_limit: int = 100,
        region: str = "us-chicago-1",
        tenancy: str = TENANCY,
        policy_missing: bool = False,
    ) -> None:
        self.time_shift = timedelta(0)
        super().__init__(lambda: now() + self.time_shift)
        self.region, self.tenancy, self.compartment = region, tenancy, COMPARTMENT
        self._dice = random.Random(seed)
        self._seeded = seed is not None
        self._prefix = secret_prefix
        self.lock = threading.Lock()
        self.cloud = Cloud(
            behaviour or Behaviour(),
            self.now,
            self._new_secret,
            self._dice,
            region=region,
            key_limit=key_limit,
            policy_present=not policy_missing,
        )
        self.faults = FaultPlan(seed or 0)
        self.verifier = Verifier(signed_now)
        self.log = CallLog(self.now)
        self.tally = Tally()
        self.console = Console(self.cloud, self.log, self.lock, tenancy)
        self._control = ControlPlane(self.cloud, Replays(self.now))
        self._inference = Inference(self.cloud, self.tally, random.Random(seed))
        self._admin = Admin(self)

    @property
    def base_url(self) -> str:
        """Where OpenAI clients go."""
        return f"{self.url}{inference.BASES[0]}"

    @property
    def behaviour(self) -> Behaviour:
        return self.cloud.behaviour

    @behaviour.setter
    def behaviour(self, answers: Behaviour) -> None:
        self.cloud.behaviour = answers

    def register_user(self, tenancy: str, user: str, public_key_pem: str | bytes) -> str:
        """Let a user's signing key in; returns its fingerprint."""
        return self.verifier.register_user(tenancy, user, public_key_pem)

    def make_profile(self, folder: Path | str, name: str = "DEFAULT") -> Path:
        """Write a config file like ~/.oci/config with a fresh signing key that is let in."""
        profile = write_profile(Path(folder), name, self.tenancy, USER, self.region)
        self.register_user(self.tenancy, USER, profile.public_key)
        return profile.config

    def set_policy(self, *, present: bool) -> None:
        """Add or remove the IAM policy that lets API keys call models."""
        with self.lock:
            self.cloud.policy_present = present

    def counts(self) -> Json:
        """Accepted and rejected inference calls, in all and by SHA-256 of the secret."""
        with self.lock:
            return self.tally.to_json()

    def calls(self, operation: str | None = None) -> list[Call]:
        """The control-plane calls so far, in order of effect."""
        with self.lock:
            return [c for c in self.log.calls if operation in {None, c.operation}]

    def truth(self) -> Json:
        """What only the cloud knows; for tests."""
        with self.lock:
            return truth(self.cloud, self._inference.settled)

    def answer(self, request: Request) -> Reply:
        """Route one request through the doors for tests, or through faults to the service."""
        if request.path.startswith("/sandbox/"):
            return self._admin.answer(request)
        reply = self._answer_as_oci(request)
        asked_id = request.headers.get("opc-request-id", "")
        headers = {"opc-request-id": f"{asked_id}/{secrets.token_hex(16).upper()}"}
        return Reply(reply.status, reply.body, {**headers, **reply.headers}, reply.cut)

    def _answer_as_oci(self, request: Request) -> Reply:
        named = control_plane.route(request)
        if named is not None:
            operation, key_id = named
            return self._control_call(operation, key_id, request)
        called = inference.route(request)
        if called is not None:
            return self._infer_under_faults(called, request)
        return control_plane.render_refusal(not_found(), self.cloud)

    def _control_call(self, operation: str, key_id: str, request: Request) -> Reply:
        fault = self.faults.draw(operation, request)
        if fault is None:
            return self._control_act(operation, key_id, request, None)
        if not fault.carried_out:
            with self.lock:
                self._note(operation, key_id, request, fault)
        return suffer(fault, lambda: self._control_act(operation, key_id, request, fault))

    def _control_act(
        self, operation: str, key_id: str, request: Request, fault: Fault | None
    ) -> Reply:
        with self.lock:
            call = self._note(operation, key_id, request, fault)
            try:
                caller = self.verifier.verify(request)
                call.actor = caller.name
                asked = Asked(operation, key_id, caller.tenancy, request, call)
                reply = self._control.answer(asked)
            except RefusedError as error:
                call.code = error.code
                reply = control_plane.render_refusal(error, self.cloud)
            call.status = reply.status
        return reply

    def _note(self, operation: str, key_id: str, request: Request, fault: Fault | None) -> Call:
        call = self.log.open(operation, fault.effect if fault else None)
        call.key_id = key_id or None
        call.retry_token = request.headers.get("opc-retry-token")
        call.if_match = request.headers.get("if-match")
        try:
            body = request.json() if request.body else {}
        except RefusedError:
            body = {}
        details = body.get("details")
        renewed = details.get("keyName") if isinstance(details, dict) else None
        call.slot, call.wanted = renewed or body.get("keyName"), body.get("state")
        return call

    def _infer_under_faults(self, operation: str, request: Request) -> Reply:
        fault = self.faults.draw(operation, request)
        if fault is None:
            return self._infer(operation, request)
        return suffer(fault, lambda: self._infer(operation, request))

    def _infer(self, operation: str, request: Request) -> Reply:
        with self.lock:
            try:
                return self._inference.answer(operation, request)
            except RefusedError as error:
                return inference.render_refusal(error)

    def _new_secret(self) -> str:
        choose = self._dice.choice if self._seeded else secrets.choice
        return f"{self._prefix}-{''.join(choose(_ALPHABET) for _ in range(48))}"
