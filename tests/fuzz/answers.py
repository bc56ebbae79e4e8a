"""What providers answer, made hostile: JSON with strange parts, JSON that is none, odd headers.

The readers of each vendor's answers either make plain values of them or fail in one of the ways
that their callers expect; what becomes an error for people holds no secret of the answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from keyman import errors
from keyman.core.model import Place, Secret, Stage, Version
from keyman.providers import oci_genai
from keyman.vendors import google_outcomes, oci_keys, oci_outcomes, openai_keys, openai_outcomes
from keyman.vendors.google_refusals import Asked as GoogleAsked
from keyman.vendors.google_refusals import Hop
from tests.fuzz.mutate import mutated, strange
from tests.fuzz.parser import SECRET, Parser, Try, must, silent_about

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = "ocid1.generativeaiapikey.oc1.us-chicago-1.amaaaaaac90bef545dada"
UNREADABLE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
WISH = Version(1, Stage.REQUESTED, "0" * 32, NOW, NOW + timedelta(days=60), "key-one", KEY)
STATUSES = (200, 200, 200, 204, 302, 400, 401, 403, 404, 408, 409, 412, 429, 500, 503, 511, 599)
DATES = (
    "Sat, 21 Nov 2026 10:00:00 GMT",
    "",
    "yesterday",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "9" * 40,
)
WAITS = ("", "1", "99999999999999", "-1", "1.5", "٣", "Sat, 21 Nov 2026 10:05:00 GMT", "nan")

_SLOT = {
    "keyName": "key-one",
    "state": "ACTIVE",
    "key": f"sk-{SECRET}",
    "keyMask": "sk-c…f",
    "timeExpiry": "2027-01-20T00:00:00.000Z",
    "timeLastUsed": None,
}
_OCI = (
    {
        "id": KEY,
        "displayName": "keyman_genai",
        "lifecycleState": "ACTIVE",
        "compartmentId": "ocid1.compartment.oc1..x",
        "timeCreated": "2026-11-20T10:00:00+00:00",
        "freeformTags": {"keyman-owner": "here:7", "keyman-op": "0" * 32},
        "definedTags": {},
        "keys": [_SLOT, {**_SLOT, "keyName": "key-two", "state": "INACTIVE", "key": None}],
    },
    {"code": "IncorrectState", "message": f"the key {SECRET} is busy"},
)
_OPENAI_KEY = {
    "object": "organization.project.api_key",
    "id": "key_abc",
    "name": "keyman/0/genai/1",
    "value": f"sk-svcacct-{SECRET}",
    "redacted_value": "sk-…f",
    "created_at": 1700000000,
    "expires_at": 1800000000,
    "last_used_at": None,
    "deleted": True,
    "role": "member",
    "owner": {"type": "service_account", "service_account": {"id": "svc_acct_x"}},
}
_OPENAI = (
    _OPENAI_KEY,
    {"object": "list", "data": [_OPENAI_KEY], "has_more": False, "last_id": "key_abc"},
    {
        "error": {
            "message": f"Incorrect API key {SECRET} provided. Missing scopes: api.model.read",
            "type": "invalid_request_error",
            "param": "after",
            "code": "invalid_api_key",
        }
    },
)
_GOOGLE = (
    {"access_token": f"ya29.{SECRET}", "expires_in": 3599, "token_type": "Bearer"},
    {"accessToken": f"ya29.{SECRET}", "expireTime": "2026-11-21T11:00:00Z"},
    {"error": "invalid_grant", "error_description": f"Bad {SECRET}", "error_subtype": "x"},
    {
        "error": {
            "code": 403,
            "status": "PERMISSION_DENIED",
            "message": f"no {SECRET}",
            "details": [{"@type": "t", "reason": "IAM_PERMISSION_DENIED", "metadata": {"p": "q"}}],
        }
    },
)


def hostile(examples: tuple[Any, ...]) -> Callable[[random.Random], bytes]:
    """A status, two headers, and a body, one after another in lines."""
    texts = tuple(json.dumps(one).encode() for one in examples)

    def draw(dice: random.Random) -> bytes:
        said = f"{dice.choice(STATUSES)}\n{dice.choice(WAITS)}\n{dice.choice(DATES)}\n".encode()
        if dice.random() < 0.3:
            return said + mutated(dice, texts, (b'"keys":', b"[]", b"null", b"1e400"))
        # Integers beyond 4,300 digits are refused by json itself: those come as bytes above.
        return said + json.dumps(strange(dice, dice.choice(examples))).encode()

    return draw


def taken_apart(data: bytes) -> tuple[int, Mapping[str, str], Any, bytes]:
    status, wait, date, body = data.split(b"\n", 3)
    headers = {"retry-after": wait.decode(), "date": date.decode()}
    try:
        return int(status), headers, json.loads(body), body
    except (ValueError, RecursionError):
        return int(status), headers, None, body


def read(*readers: Callable[[], object], also: tuple[type[Exception], ...] = ()) -> list[Any]:
    """What each makes of it, as far as it can."""
    made = []
    for reader in readers:
        try:
            made.append(reader())
        except errors.Error as error:
            silent_about(SECRET, error, error.hint)
        except (*UNREADABLE, *also):
            continue
    return made


def is_ours(error: object) -> None:
    must(isinstance(error, errors.ProviderFailed), "that is no error of a provider")
    assert isinstance(error, errors.ProviderFailed)
    silent_about(SECRET, error, error.hint, error.as_json())
    must("\n" not in f"{error}{error.hint}" and len(f"{error}") < 2000, "an error is two lines")
    wait = getattr(error, "retry_after", None)
    must(wait is None or 0 <= wait <= 86_400, "an error asks to wait for ever")


def is_a_secret(secret: Secret) -> None:
    text = secret.reveal()
    must(text.isascii() and text.isprintable() and bool(text), "a secret that no header carries")


@contextmanager
def oci() -> Iterator[Try]:
    asked = oci_outcomes.Asked("renew key-one", changes=True, permission="Allow group x")

    def attempt(data: bytes) -> None:
        status, headers, body, _ = taken_apart(data)
        if status < 300:
            place = Place(KEY, "key-one")
            for one in read(
                lambda: oci_keys.picture(oci_keys.about(body, KEY), "etag"),
                lambda: oci_keys.listed(body),
                lambda: oci_genai._created(body, WISH, "key-one").issued,
                lambda: oci_genai._issued(oci_keys.about(body, KEY), WISH, place),
            ):
                silent_about(SECRET, repr(one)) if "Issued" in type(one).__name__ else None
                if hasattr(one, "secret"):
                    is_a_secret(one.secret)
            return
        body = body if isinstance(body, dict) else {}
        code, said = body.get("code"), body.get("message")
        code = None if code is None else str(code)
        said = said if isinstance(said, str) else None
        is_ours(oci_outcomes.meaning(asked, oci_outcomes.Answer(status, code, said, headers), NOW))

    yield attempt


@contextmanager
def openai() -> Iterator[Try]:
    asked = openai_outcomes.Asked("make a key", changes=True, credential="genai", by_admin_key=True)

    def attempt(data: bytes) -> None:
        status, headers, body, _ = taken_apart(data)
        if status < 300:
            for one in read(
                lambda: openai_keys.page(body),
                lambda: openai_keys.about(body, "key_abc"),
                lambda: openai_keys.deleted(body, "key_abc"),
                lambda: openai_keys.role(body, "svc_acct_x"),
                lambda: openai_keys.made(body),
                also=(OSError,),
            ):
                if isinstance(one, openai_keys.Made):
                    is_a_secret(one.secret)
                    silent_about(SECRET, repr(one.secret))
            return
        is_ours(openai_outcomes.meaning(asked, openai_outcomes.Answer(status, headers, body)))

    yield attempt


@contextmanager
def google() -> Iterator[Try]:
    def attempt(data: bytes) -> None:
        status, headers, _, body = taken_apart(data)
        hop = tuple(Hop)[len(body) % len(Hop)]
        asked = GoogleAsked(hop, "service-account", "key.json")
        flavoured = {**headers, "metadata-flavor": "Google"}
        answer = google_outcomes.Answer(status, flavoured, body, NOW)
        if status != 200:
            is_ours(google_outcomes.meaning(asked, answer))
            return
        made = google_outcomes.told(asked, answer)
        if isinstance(made, errors.Error):
            is_ours(made)
            return
        is_a_secret(made.secret)
        must(made.expires_at > NOW, "a token that is over")
        silent_about(SECRET, repr(made))

    yield attempt


PARSERS = (
    Parser("answers of OCI", (), oci, draw=hostile(_OCI)),
    Parser("answers of OpenAI", (), openai, draw=hostile(_OPENAI)),
    Parser("answers of Google", (), google, draw=hostile(_GOOGLE)),
)
