"""An OpenAI sandbox and OpenAI's own client pointed at it, for the tests of this folder."""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import openai

from keyman.sandbox.faults import Fault
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour

ASK: Any = [{"role": "user", "content": "?"}]


class World:
    """The sandbox, a client with the admin key, and one word for each call."""

    def __init__(self, behaviour: OpenAIBehaviour | None = None, **options: Any) -> None:
        self.sandbox = OpenAISandbox(behaviour=behaviour, **{"seed": 1, **options})
        self.url = self.sandbox.start()
        self.project = self.sandbox.project
        self.dashboard = self.sandbox.dashboard
        self._clients: list[openai.OpenAI] = []
        self.client = self.admin_of(self.sandbox.admin_key)
        self.account = self.dashboard.create_account("apps")["id"]

    def admin_of(self, key: str, retries: int = 0) -> openai.OpenAI:
        base = self.sandbox.base_url
        client = openai.OpenAI(admin_api_key=key, base_url=base, max_retries=retries, timeout=10)
        self._clients.append(client)
        return client

    def user_of(self, key: str, **more: Any) -> openai.OpenAI:
        base = self.sandbox.base_url
        client = openai.OpenAI(api_key=key, base_url=base, max_retries=0, timeout=10, **more)
        self._clients.append(client)
        return client

    @property
    def accounts(self) -> Any:
        return self.client.admin.organization.projects.service_accounts

    @property
    def keys(self) -> Any:
        return self.client.admin.organization.projects.api_keys

    @property
    def admin_keys(self) -> Any:
        return self.client.admin.organization.admin_api_keys

    def create(self, name: str = "keyman/apps/1", **more: Any) -> Any:
        """A further key of the account."""
        return self.accounts.api_keys.create(
            self.account, project_id=self.project, name=name, **more
        )

    def listed(self, **more: Any) -> list[str]:
        found = self.keys.list(self.project, **{"owner_project_access": "any", **more})
        return [key.id for key in found]

    def get(self, key: Any) -> Any:
        return self.keys.retrieve(key.id, project_id=self.project)

    def delete(self, key: Any) -> Any:
        return self.keys.delete(key.id, project_id=self.project)

    def ask(self, value: str, **headers: str) -> int:
        """One chat completion; the status of its answer."""
        return self.ask_for(value, "ChatCompletions", **headers)[0]

    def ask_for(self, value: str, operation: str, **headers: str) -> tuple[int, Any]:
        sent = {"authorization": f"Bearer {value}", **headers} if value else dict(headers)
        if operation == "ListModels":
            return self.http("GET", "/v1/models", None, sent)
        body = {"model": "gpt-5", "messages": ASK, "input": "?"}
        path = "/v1/chat/completions" if operation == "ChatCompletions" else "/v1/responses"
        return self.http("POST", path, body, sent)

    def http(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers or {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def break_next(self, effect: Any, operation: str = "*", **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, **{"count": 1, **more}))

    def wait(self, seconds: float) -> None:
        """Let time pass in the sandbox, not here."""
        self.sandbox.time_shift += timedelta(seconds=seconds)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.sandbox.stop()
