"""An imitation of OpenAI: the Admin API that makes and deletes keys, and inference behind them.

    sandbox = OpenAISandbox(seed=7, behaviour=OpenAIBehaviour.from_seed(7))
    with sandbox.serve():
        client = OpenAI(admin_api_key=sandbox.admin_key, base_url=sandbox.base_url)
        client.admin.organization.projects.service_accounts.create(sandbox.project, name="apps")

There is one organisation with one project, and an admin key to start with. Paths under /sandbox/
are doors for tests (`doors.py`); besides those, POST drift (the methods of
`openai_person.Dashboard`).

Operations, as faults and the log name them: CreateServiceAccount, ListServiceAccounts,
GetServiceAccount, UpdateServiceAccount, DeleteServiceAccount, CreateApiKey, ListApiKeys, GetApiKey,
UpdateApiKey, DeleteApiKey, CreateAdminApiKey, ListAdminApiKeys, GetAdminApiKey, DeleteAdminApiKey;
ListModels, GetModel, ChatCompletions, Responses (these four are counted, not logged); NoSuchPath.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from keyman.sandbox import openai_admin, openai_errors, openai_inference
from keyman.sandbox.doors import Doors, drift_door
from keyman.sandbox.openai_admin import AdminApi
from keyman.sandbox.openai_behaviour import OpenAIBehaviour
from keyman.sandbox.openai_inference import Inference
from keyman.sandbox.openai_org import ADMIN, Organization
from keyman.sandbox.openai_person import ACTIONS, Dashboard
from keyman.sandbox.profiles import write_private
from keyman.sandbox.sandboxed import Call, Sandboxed, system_now
from keyman.sandbox.server import Json, RefusedError, Reply, Request

ORG = "org-sandbox"
PROJECT = "proj_sandbox"


class OpenAISandbox(Sandboxed):
    """One organisation with one project, over HTTP."""

    unlogged: ClassVar[frozenset[str]] = frozenset(
        {"ListModels", "GetModel", "ChatCompletions", "Responses"}
    )

    def __init__(
        self,
        *,
        behaviour: OpenAIBehaviour | None = None,
        seed: int | None = None,
        now: Callable[[], datetime] = system_now,
        mark: str = "sandbox",
        org: str = ORG,
        project: str = PROJECT,
    ) -> None:
        super().__init__(now, seed)
        self.behaviour = behaviour or OpenAIBehaviour()
        self.org_id, self.project = org, project
        rules = lambda: self.behaviour  # noqa: E731 (it is what its name says)
        self.org = Organization(self.now, self.random_text, rules, mark)
        self.org.projects[project] = "sandbox"
        self.admin_key, self.admin_key_id = self._first_admin_key()
        self.dashboard = Dashboard(self.org, project, self._acting)
        self._admin = AdminApi(self.org, rules)
        self._inference = Inference(self.org, self.tally, self.dice, rules, org)
        self.open_doors(Doors(self, {("POST", "drift"): drift_door(self.dashboard, ACTIONS)}))

    @property
    def base_url(self) -> str:
        """Where OpenAI clients go."""
        return f"{self.url}/v1"

    def write_credentials(self, folder: Path) -> dict[str, Path]:
        """The admin key and the ids around it, as files."""
        told = {"base_url": self.base_url, "organization": self.org_id, "project": self.project}
        return {
            "admin-key": write_private(folder / "admin-key", self.admin_key),
            "openai": write_private(folder / "openai.json", json.dumps(told, indent=2)),
        }

    def truth(self) -> Json:
        """What only OpenAI knows: every key ever made, and whether inference takes it now."""
        with self.lock:
            return {
                "keys": [
                    {
                        "id": key.id,
                        "name": key.name,
                        "owner": key.owner.id,
                        "admin": key.project == ADMIN,
                        "sha256": key.sha256,
                        "expires_at": key.expires,
                        "deleted": key.deleted is not None,
                        "accepted": self._inference.settled(key),
                    }
                    for key in self.org.keys.values()
                ],
            }

    def operation(self, request: Request) -> str:
        found = openai_admin.route(request)
        return found[0] if found else openai_inference.route(request) or "NoSuchPath"

    def act(self, request: Request, call: Call) -> Reply:
        if call.operation == "NoSuchPath":
            text = f"Invalid URL ({request.method} {request.path})"
            raise openai_errors.OpenAIRefusedError(404, "", text)
        answers = self._inference if call.operation in self.unlogged else self._admin
        reply = answers.answer(request, call)
        named = {"openai-organization": self.org_id, "openai-version": "2020-10-01"}
        return replace(reply, headers={**named, **reply.headers})

    def answer(self, request: Request) -> Reply:
        reply = super().answer(request)
        tagged = {"x-request-id": f"req_{self.random_text(12)}", **reply.headers}
        return replace(reply, headers=tagged)

    def render(self, operation: str, error: RefusedError) -> Reply:
        return openai_errors.render_refusal(error)

    def _first_admin_key(self) -> tuple[str, str]:
        owner = self.org.add_owner(ADMIN, "user", "owner", "owner")
        value, key = self.org.make_key(ADMIN, owner, "first", None)
        # It was there long before this sandbox, so nobody waits for it.
        key.acceptance.decide(accepted=True, now=self.now(), delay=0.0)
        return value, key.id

    def _acting(self, operation: str) -> Iterator[Call]:
        """A line of the log for what a person does; the lock is held meanwhile."""
        with self.lock:
            call = self.note(operation)
            call.actor, call.status = "dashboard", 200
            try:
                yield call
            except RefusedError as error:
                call.status, call.code = error.status, error.code
                raise
