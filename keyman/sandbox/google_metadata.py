"""The metadata server of a Google virtual machine: who am I, and a token for it.

Like the real one it hands out the same token to everybody until that is about to expire, and
answers nobody who doesn't say Metadata-Flavor: Google or who came through a proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from keyman.sandbox.google_accounts import CLOUD, Accounts
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_issuing import Issuing
from keyman.sandbox.google_tokens import Token
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

ROOT = "/computeMetadata/v1/"
FLAVOR = {"metadata-flavor": "Google", "server": "Metadata Server for VM"}
TEXT = {"content-type": "application/text"}


class Metadata:
    """One machine's metadata; the caller holds the sandbox's lock. `email` None: it has no
    service account.
    """

    def __init__(
        self,
        accounts: Accounts,
        issuing: Issuing,
        behaviour: Callable[[], GoogleBehaviour],
        project: str,
        email: str | None,
    ) -> None:
        self._accounts = accounts
        self._issuing = issuing
        self._behaviour = behaviour
        self.project = project
        self.email = email
        self.scopes: tuple[str, ...] = (CLOUD,)
        self._held: dict[tuple[str, ...], tuple[str, Token]] = {}

    def answer(self, request: Request, call: Call) -> Reply:
        """Any path of the metadata server, / included."""
        headers = request.headers
        if headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in headers:
            text = "Your client does not have permission to get this URL."
            raise RefusedError(403, "Forbidden", text)
        reply = self._read(request, request.path.removeprefix(ROOT).rstrip("/"), call)
        return replace(reply, headers={**reply.headers, **FLAVOR})

    def _read(self, request: Request, path: str, call: Call) -> Reply:
        texts = {
            "": "computeMetadata/",
            "project/project-id": self.project,
            "project/numeric-project-id": "123456789012",
            "universe/universe-domain": "googleapis.com",
        }
        if path in texts:
            return Reply(200, texts[path].encode(), TEXT)
        account, _, what = path.removeprefix("instance/service-accounts/").partition("/")
        if self.email is None or account not in {"default", self.email}:
            raise RefusedError(404, "NotFound", "No such metadata.")
        call.actor = self.email
        return self._of_account(request, what, call)

    def _of_account(self, request: Request, what: str, call: Call) -> Reply:
        assert self.email is not None
        if what == "token":
            return self._token(request, call)
        scopes = "\n".join(self.scopes)
        if what == "" and request.query.get("recursive") == "true":
            told: Json = {"aliases": ["default"], "email": self.email, "scopes": [*self.scopes]}
            return json_reply(200, told)
        texts = {"": "aliases\nemail\nidentity\nscopes\ntoken\n", "email": self.email}
        if what in {*texts, "scopes"}:
            return Reply(200, {**texts, "scopes": scopes}[what].encode(), TEXT)
        raise RefusedError(404, "NotFound", "No such metadata.")

    def _token(self, request: Request, call: Call) -> Reply:
        assert self.email is not None
        if self._accounts.disabled(self.email):
            raise RefusedError(403, "Forbidden", "The service account is disabled.")
        wanted = request.query.get("scopes", "")
        scopes = tuple(each for each in wanted.split(",") if each) or self.scopes
        value, token = self._held_or_new(scopes, call)
        call.secret = token.sha256
        return self._issuing.reply(value, token, {})

    def _held_or_new(self, scopes: tuple[str, ...], call: Call) -> tuple[str, Token]:
        margin = self._issuing.scaled(self._behaviour().metadata_keeps_until)
        held = self._held.get(scopes)
        if held is not None and held[1].expires - margin > call.at:
            # Even a token that was taken back: the metadata server doesn't know of that.
            return held
        assert self.email is not None
        self._held[scopes] = self._issuing.mint(call, "metadata", self.email, scopes)
        return self._held[scopes]


def render_refusal(error: RefusedError) -> Reply:
    """The metadata server speaks HTML."""
    page = f"<html><title>Error {error.status}</title><p>{error.message}</p></html>"
    headers = {"content-type": "text/html", **FLAVOR, **error.headers}
    return Reply(error.status, page.encode(), headers)
