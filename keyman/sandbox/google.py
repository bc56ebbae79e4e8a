"""An imitation of Google, as far as access tokens are concerned, and of Vertex AI behind them.

    sandbox = GoogleSandbox(seed=7, behaviour=GoogleBehaviour.from_seed(7), token_seconds=20)
    with sandbox.serve() as url:
        file = sandbox.files.service_account(folder / "key.json")   # token_uri points here
        ...                                                         # base_url=sandbox.base_url

All of Google's hosts answer on one address; a client that names the host it meant in X-Orig-Host
gets what that host has, and nothing else. Paths under /sandbox/ are doors for tests (`doors.py`):
besides those, POST drift (the methods of `google_person.Person`), POST credentials (writes files)
and POST token_seconds. Lives of tokens pass on `now`, which a test may compress; assertions are
checked against `signed_now`, because clients stamp them with real time.

Operations, as faults and the log name them: AssertionToken, RefreshToken, ExchangeToken,
GenerateAccessToken, MetadataToken (all of them: *Token), TokenInfo, Revoke, MetadataPing,
MetadataRead, ChatCompletions, NoSuchPath.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from keyman.sandbox import google_iam, google_metadata, google_oauth2, google_vertex, sandboxed
from keyman.sandbox.doors import Doors, drift_door
from keyman.sandbox.google_accounts import Accounts
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_errors import oauth_refusal, rpc_refusal
from keyman.sandbox.google_files import SERVICE, TARGET, CredentialFiles
from keyman.sandbox.google_issuing import Issuing
from keyman.sandbox.google_person import ACTIONS, Person
from keyman.sandbox.google_tokens import HOUR, Tokens
from keyman.sandbox.sandboxed import Call, Sandboxed, system_now
from keyman.sandbox.server import Json, RefusedError, Reply, Request

PROJECT = "sandbox-project"
LOCATION = "us-central1"
TOKEN_REQUESTS = frozenset(
    {"AssertionToken", "RefreshToken", "ExchangeToken", "GenerateAccessToken", "MetadataToken"}
)
_FIXED = {
    ("POST", "/v1/token"): "ExchangeToken",
    ("GET", "/tokeninfo"): "TokenInfo",
    ("POST", "/revoke"): "Revoke",
    ("GET", "/"): "MetadataPing",
}
# Which of Google's hosts has what; asked only if a client says which host it meant.
_HOSTS = {
    "oauth2.": {"AssertionToken", "RefreshToken", "TokenInfo", "Revoke"},
    "sts.": {"ExchangeToken"},
    "iamcredentials.": {"GenerateAccessToken"},
    "metadata.": {"MetadataPing", "MetadataRead", "MetadataToken"},
    "169.254.169.254": {"MetadataPing", "MetadataRead", "MetadataToken"},
}


class GoogleSandbox(Sandboxed):
    """Token endpoint, STS, iamcredentials, a metadata server and Vertex, over HTTP."""

    unlogged: ClassVar[frozenset[str]] = frozenset({"ChatCompletions"})

    def __init__(  # noqa: PLR0913 (by keyword, and each has a default)
        self,
        *,
        behaviour: GoogleBehaviour | None = None,
        seed: int | None = None,
        now: Callable[[], datetime] = system_now,
        signed_now: Callable[[], datetime] = system_now,
        token_seconds: float = HOUR,
        mark: str = "sandbox",
        project: str = PROJECT,
        location: str = LOCATION,
        metadata_account: str | None = SERVICE,
    ) -> None:
        super().__init__(now, seed)
        self.behaviour = behaviour or GoogleBehaviour()
        self.signed_shift = timedelta(0)
        self.project, self.location = project, location
        self.accounts = Accounts()
        self._mark = mark
        rules, new_text = lambda: self.behaviour, self._new_text
        stamped = lambda: signed_now() + self.signed_shift  # noqa: E731 (as the line above)
        self.tokens = Tokens(self.now, new_text)
        self._issuing = Issuing(self.tokens, self.now, new_text, rules, token_seconds)
        self.files = CredentialFiles(self.accounts, project, lambda: self.url, stamped, new_text)
        self.person = Person(self.accounts, self._issuing, self.lock)
        self.metadata = google_metadata.Metadata(
            self.accounts, self._issuing, rules, project, metadata_account
        )
        oauth2 = google_oauth2.OAuth2(self.accounts, self._issuing, stamped, rules)
        iam = google_iam.Iam(self.accounts, self._issuing, stamped)
        vertex = google_vertex.Vertex(
            self.accounts, self.tokens, self.tally, stamped, rules, project
        )
        self._operations: dict[str, Callable[[Request, Call], Reply]] = {
            "AssertionToken": oauth2.token,
            "RefreshToken": oauth2.token,
            "TokenInfo": oauth2.token_info,
            "Revoke": oauth2.revoke,
            "ExchangeToken": iam.exchange,
            "GenerateAccessToken": iam.generate,
            "MetadataPing": self.metadata.answer,
            "MetadataRead": self.metadata.answer,
            "MetadataToken": self.metadata.answer,
            "ChatCompletions": vertex.chat,
        }
        own = {
            ("POST", "drift"): drift_door(self.person, ACTIONS),
            ("POST", "credentials"): self._write_credentials,
            ("POST", "token_seconds"): self._set_token_seconds,
        }
        self.open_doors(Doors(self, own))

    @property
    def token_seconds(self) -> float:
        """How long an hourly token lives here; every other duration is scaled alike."""
        return self._issuing.token_seconds

    @token_seconds.setter
    def token_seconds(self, seconds: float) -> None:
        self._issuing.token_seconds = seconds

    @property
    def base_url(self) -> str:
        """Where OpenAI clients go."""
        where = f"projects/{self.project}/locations/{self.location}"
        return f"{self.url}/v1/{where}/endpoints/openapi"

    @property
    def metadata_host(self) -> str:
        """For GCE_METADATA_HOST and GCE_METADATA_IP."""
        return self.url.removeprefix("http://")

    def token_requests(self, principal: str | None = None) -> list[float]:
        """When tokens were asked for, in seconds since the epoch on the sandbox's clock; also the
        requests that were refused. Those lost before anybody read them are under "".
        """
        with self.lock:
            return self.meter.of(set(TOKEN_REQUESTS), principal)

    def peak_requests(self, seconds: float = 1.0) -> int:
        """The most token requests within any stretch of that many seconds."""
        return sandboxed.peak(self.token_requests(), seconds)

    def write_credentials(self, folder: Path) -> dict[str, Path]:
        """One file of each kind in a folder, by name."""
        return {
            "service-account": self.files.service_account(folder / "service-account.json"),
            "authorized-user": self.files.authorized_user(folder / "authorized-user.json"),
            "external-account": self.files.external_account(
                folder / "external-account.json", target=TARGET
            ),
            "impersonated": self.files.impersonated(folder / "impersonated.json"),
        }

    def truth(self) -> Json:
        """What only Google knows; for tests."""
        with self.lock:
            alive = [t for t in self.tokens.all() if self.tokens.alive(t)]
            return {
                "accounts": {
                    each.email: {"disabled": each.disabled, "long_lived": each.long_lived}
                    for each in self.accounts.services.values()
                },
                "people": {
                    each.email: {"revoked": each.revoked, "needs_reauth": each.needs_reauth}
                    for each in self.accounts.people.values()
                },
                "tokens": [
                    {"sha256": t.sha256, "principal": t.principal, "expires": t.expires}
                    for t in alive
                ],
                "token_requests": len(self.token_requests()),
                "peak_requests": self.peak_requests(),
            }

    def operation(self, request: Request) -> str:
        operation = self._named(request)
        meant = request.headers.get("x-orig-host", "")
        for host, there in _HOSTS.items():
            if meant.startswith(host) and operation not in there:
                return "NoSuchPath"
        return operation

    def _named(self, request: Request) -> str:
        path, posted = request.path, request.method == "POST"
        if posted and path == "/token":
            # By a glance at the body: a fault may be meant for one grant only.
            refresh = b"grant_type=refresh_token" in request.body
            return "RefreshToken" if refresh else "AssertionToken"
        if path.startswith(google_metadata.ROOT) and request.method == "GET":
            return "MetadataToken" if path.endswith("/token") else "MetadataRead"
        if posted and google_iam.GENERATE.fullmatch(path):
            return "GenerateAccessToken"
        if posted and google_vertex.CHAT.fullmatch(path):
            return "ChatCompletions"
        return _FIXED.get((request.method, path), "NoSuchPath")

    def act(self, request: Request, call: Call) -> Reply:
        if call.operation == "NoSuchPath":
            return Reply(404, b"<html><title>Error 404 (Not Found)!!1</title></html>")
        return self._operations[call.operation](request, call)

    def render(self, operation: str, error: RefusedError) -> Reply:
        if operation.startswith("Metadata"):
            return google_metadata.render_refusal(error)
        if operation == "GenerateAccessToken":
            method = "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken"
            return rpc_refusal(error, "iamcredentials.googleapis.com", method)
        if operation == "ChatCompletions":
            in_array = self.behaviour.vertex_errors_in_array
            return rpc_refusal(
                error, google_vertex.SERVICE, google_vertex.METHOD, in_array=in_array
            )
        return oauth_refusal(error)

    def _new_text(self) -> str:
        return f"{self._mark}-{self.random_text(90)}"

    def _write_credentials(self, request: Request) -> Json:
        written = self.write_credentials(Path(request.json()["folder"]))
        return {name: str(path) for name, path in written.items()}

    def _set_token_seconds(self, request: Request) -> Json:
        self.token_seconds = float(request.json()["seconds"])
        return {"seconds": self.token_seconds}
