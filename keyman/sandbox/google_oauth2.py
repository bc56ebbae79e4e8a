"""oauth2.googleapis.com: tokens for assertions of service accounts and for refresh tokens.

Strict where Google is, and stricter in one thing: a form or an assertion may hold exactly the
fields that Google's own libraries send. Besides: /tokeninfo and /revoke.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from urllib.parse import parse_qsl

from keyman.sandbox import jwt
from keyman.sandbox.google_accounts import Accounts, Person
from keyman.sandbox.google_behaviour import GoogleBehaviour
from keyman.sandbox.google_errors import TIMEFRAME
from keyman.sandbox.google_issuing import Issuing
from keyman.sandbox.keys import sha256
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import Json, RefusedError, Reply, Request, json_reply

AUDIENCE = "https://oauth2.googleapis.com/token"
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFRESH = "refresh_token"
_HOUR = 3600
_REMEMBERED = 10_000


def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each of which may be there once."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise RefusedError(400, "invalid_request", "The body is not a form.")
    pairs = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    form = dict(pairs)
    if len(form) != len(pairs):
        raise RefusedError(400, "invalid_request", "A parameter is there twice.")
    return form


def check_fields(form: dict[str, str], needed: set[str], allowed: set[str] | None = None) -> None:
    missing, foreign = needed - set(form), set(form) - needed - (allowed or set())
    if missing:
        raise RefusedError(400, "invalid_request", f"Missing required parameter: {min(missing)}")
    if foreign:
        raise RefusedError(400, "invalid_request", f"Unknown parameter: {min(foreign)}")


class OAuth2:
    """Answers the token endpoint; the caller holds the sandbox's lock."""

    def __init__(
        self,
        accounts: Accounts,
        issuing: Issuing,
        signed_now: Callable[[], datetime],
        behaviour: Callable[[], GoogleBehaviour],
    ) -> None:
        self._accounts = accounts
        self._issuing = issuing
        self._signed_now = signed_now
        self._behaviour = behaviour
        self._seen: deque[str] = deque(maxlen=_REMEMBERED)

    def token(self, request: Request, call: Call) -> Reply:
        """POST /token."""
        form = form_of(request)
        grant = form.get("grant_type")
        if grant == ASSERTION:
            return self._for_assertion(form, call)
        if grant == REFRESH:
            return self._for_refresh_token(form, call)
        raise RefusedError(400, "unsupported_grant_type", f"Invalid grant_type: {grant}")

    def _for_assertion(self, form: dict[str, str], call: Call) -> Reply:
        check_fields(form, {"grant_type", "assertion"})
        try:
            parsed = jwt.parse(form["assertion"])
        except ValueError as error:
            raise _bad_grant("Invalid JWT.") from error
        call.actor = str(parsed.claims.get("iss", ""))
        self._check_known(parsed)
        scopes = self._check_claims(parsed.claims)
        self._check_first_use(form["assertion"])
        return self._issuing.answer(call, "service", call.actor, scopes)

    def _check_known(self, parsed: jwt.Parsed) -> None:
        """Who says so? A signature of a key that is registered for exactly this account."""
        account = self._accounts.services.get(str(parsed.claims.get("iss")))
        if account is None:
            raise _bad_grant("Invalid grant: account not found")
        if account.disabled:
            says = self._behaviour().disabled_account_says
            raise _bad_grant(f"Invalid grant: account {says}")
        head = parsed.head
        key = self._accounts.keys.get(str(head.get("kid")))
        well_formed = set(head) == {"typ", "alg", "kid"} and head["alg"] == "RS256"
        if not well_formed or key is None or key.email != account.email:
            raise _bad_grant("Invalid JWT Signature.")
        if not parsed.signed_by(key.public):
            raise _bad_grant("Invalid JWT Signature.")

    def _check_claims(self, claims: Json) -> tuple[str, ...]:
        if claims.get("aud") != AUDIENCE:
            text = f"Invalid JWT: Failed audience check. The right audience is {AUDIENCE}"
            raise _bad_grant(text)
        self._check_times(claims.get("iat"), claims.get("exp"))
        scopes = tuple(str(claims.get("scope", "")).split())
        if not scopes:
            raise RefusedError(400, "invalid_scope", "Empty or missing scope not allowed.")
        foreign = set(claims) - {"iss", "sub", "aud", "iat", "exp", "scope"}
        if foreign:
            raise _bad_grant(f"Invalid JWT: unexpected claim {min(foreign)}")
        return scopes

    def _check_times(self, begin: object, end: object) -> None:
        if not isinstance(begin, int) or not isinstance(end, int):
            raise _bad_grant(TIMEFRAME)
        now = self._signed_now().timestamp()
        ahead = begin > now + self._behaviour().assertion_ahead_seconds
        if ahead or end <= now or not 0 < end - begin <= _HOUR:
            raise _bad_grant(TIMEFRAME)

    def _check_first_use(self, assertion: str) -> None:
        digest = sha256(assertion)
        if self._behaviour().assertion_single_use and digest in self._seen:
            raise _bad_grant("Invalid JWT: this assertion has been used before.")
        self._seen.append(digest)

    def _for_refresh_token(self, form: dict[str, str], call: Call) -> Reply:
        needed = {"grant_type", "client_id", "client_secret", "refresh_token"}
        check_fields(form, needed, {"scope", "rapt"})
        person = self._check_person(form, call)
        wanted = tuple(form.get("scope", "").split()) or person.scopes
        if not set(wanted) <= set(person.scopes):
            raise RefusedError(400, "invalid_scope", "Some requested scopes were invalid.")
        more: Json = {"scope": " ".join(wanted)}
        if self._behaviour().rotates_refresh_token:
            more["refresh_token"] = self._new_refresh_token(person)
        return self._issuing.answer_person(call, person, wanted, more)

    def _check_person(self, form: dict[str, str], call: Call) -> Person:
        found = self._accounts.holder(form["refresh_token"])
        if found is None:
            raise _bad_grant("Bad Request")
        person, newest = found
        call.actor = person.email
        if form["client_id"] != person.client_id:
            raise RefusedError(401, "invalid_client", "The OAuth client was not found.")
        if sha256(form["client_secret"]) != person.client_secret:
            raise RefusedError(401, "invalid_client", "Unauthorized")
        if person.revoked or not (newest or self._behaviour().old_refresh_token_works):
            raise _bad_grant("Token has been expired or revoked.")
        if person.needs_reauth:
            text = "reauth related error (invalid_rapt)"
            raise RefusedError(400, "invalid_grant:invalid_rapt", text)
        return person

    def _new_refresh_token(self, person: Person) -> str:
        value = f"1//0{self._issuing.new_text()}"
        self._accounts.add_refresh_token(person, value)
        return value

    def token_info(self, request: Request, call: Call) -> Reply:
        """GET /tokeninfo?access_token=…"""
        token = self._issuing.tokens.find(request.query.get("access_token", ""))
        if token is None or not self._issuing.tokens.alive(token):
            raise RefusedError(400, "invalid_token", "Invalid Value")
        call.actor = token.principal
        told = {
            "azp": token.principal,
            "aud": token.principal,
            "scope": " ".join(token.scopes),
            "exp": str(int(token.expires)),
            "expires_in": str(int(token.expires - call.at)),
            "email": token.principal,
            "email_verified": "true",
            "access_type": "offline" if token.kind == "person" else "online",
        }
        return json_reply(200, told)

    def revoke(self, request: Request, call: Call) -> Reply:
        """POST /revoke, for people's tokens; those of service accounts can't be taken back."""
        value = request.query.get("token") or form_of(request).get("token", "")
        token = self._issuing.tokens.find(value)
        found = self._accounts.holder(value)
        person = found[0] if found else None
        if token is not None and token.kind == "person":
            person = self._accounts.people.get(token.principal)
        if person is None:
            raise RefusedError(400, "invalid_token", "Token expired or revoked")
        call.actor = person.email
        person.revoked = True
        self._issuing.revoke(person.email)
        return json_reply(200, {})


def _bad_grant(text: str) -> RefusedError:
    return RefusedError(400, "invalid_grant", text)
