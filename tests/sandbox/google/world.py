"""A Google sandbox and google-auth pointed at it, for the tests of this folder.

Addresses that google-auth has built in are led to the sandbox by the transport, which says in
X-Orig-Host which host was meant: so credentials are used exactly as they are in production.
"""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import google.auth.exceptions
from google.oauth2 import credentials as people
from google.oauth2 import service_account

from keyman.sandbox.faults import Fault
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.google_accounts import CLOUD
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_oauth2 import ASSERTION

_transport_error: Any = google.auth.exceptions.TransportError
FORM = {"content-type": "application/x-www-form-urlencoded"}
GOOD_CALL = {"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "?"}]}


class Answer:
    """What google-auth wants to get from a transport."""

    def __init__(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data


class World:
    """The sandbox, a transport that leads to it, and one word for each call."""

    def __init__(self, behaviour: GoogleBehaviour | None = None, **options: Any) -> None:
        self.sandbox = GoogleSandbox(behaviour=behaviour, **{"seed": 1, **options})
        self.url = self.sandbox.start()
        self.person = self.sandbox.person
        self.files = self.sandbox.files

    def transport(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        asked = urlsplit(url)
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=timeout or 10)
        sent = dict(headers or {})
        if asked.netloc != urlsplit(self.url).netloc:
            sent["X-Orig-Host"] = asked.netloc
        try:
            connection.request(method, asked._replace(scheme="", netloc="").geturl(), body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise _transport_error(error) from error
        finally:
            connection.close()

    def service_account(self, folder: Path, *scopes: str, **options: Any) -> Any:
        file = self.files.service_account(folder / "key.json", **options)
        load: Any = service_account.Credentials.from_service_account_file
        return load(str(file), scopes=list(scopes or (CLOUD,)))

    def person_from(self, file: Path) -> Any:
        load: Any = people.Credentials.from_authorized_user_file
        return load(str(file))

    def refreshed(self, credentials: Any) -> str:
        """A token, fetched now."""
        credentials.refresh(self.transport)
        return str(credentials.token)

    def ask(
        self, token: str, body: object = GOOD_CALL, base: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """One chat completion; status and body of its answer."""
        path = urlsplit(base or self.sandbox.base_url).path
        sent = {"authorization": f"Bearer {token}", **headers} if token else dict(headers)
        return self.http("POST", f"{path}/chat/completions", body, sent)

    def form(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, Any]:
        """Post a form."""
        answer = self.transport(self.url + path, "POST", urlencode(fields), {**FORM, **headers})
        return answer.status, json.loads(answer.data)

    def assertion(self, assertion: str, **more: str) -> tuple[int, Any]:
        return self.form("/token", {"grant_type": ASSERTION, "assertion": assertion, **more})

    def http(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        text = None if body is None else json.dumps(body)
        answer = self.transport(self.url + path, method, text, headers)
        told = answer.headers.get("content-type", "")
        return answer.status, json.loads(answer.data) if "json" in told else answer.data.decode()

    def break_next(self, effect: Any, operation: str = "*", **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, **{"count": 1, **more}))

    def wait(self, seconds: float) -> None:
        """Let time pass in the sandbox, not here."""
        self.sandbox.time_shift += timedelta(seconds=seconds)

    def close(self) -> None:
        self.sandbox.stop()
