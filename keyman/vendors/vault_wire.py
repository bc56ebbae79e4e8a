"""HTTP on the way to Vault: one call, answered within its time or not at all.

Follows no redirect, no proxy variable and no other variable of the environment. Which failure of
the HTTP library means what is decided here, and nothing of a call is kept in what is raised.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import requests
import urllib3

from keyman.clock import Clock
from keyman.vendors.deadline import within
from keyman.vendors.vault_outcomes import Answer, NoAnswerError

BODY_BYTES = 1_048_576
IDLE_SECONDS = 20.0
REACH = "is it running, and is `address` right? `network.proxy` applies to it as well"
NO_TLS = "does that port speak TLS? `address` may name the wrong one, or http:// on this machine"
UNTRUSTED = "name the authority that signed the vault's certificate: `ca_bundle`"
NO_BUNDLE = "`ca_bundle` must be a file of certificates (PEM)"
OTHER_NAME = (
    "let `address` name the vault as its certificate does, or have one issued for that name"
    " (`subjectAltName`); another `ca_bundle` changes nothing"
)
OTHER_TIME = "have another certificate issued for the vault; look at this machine's clock"
_OTHER_NAME, _OTHER_TIME = {62, 64}, {9, 10}  # OpenSSL's X509_V_ERR_…


@dataclass(frozen=True, slots=True)
class Reach:
    """How the vault is reached."""

    namespace: str | None = None
    ca_bundle: str | PathLike[str] | None = None  #: None: the system's
    proxy: str | None = None
    timeout: float = 10.0  #: seconds, of a call as a whole


class Session(requests.Session):
    """Takes a new connection after a pause: load balancers forget idle ones without a word, and a
    call over such a one is never answered.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock, self._used = clock, clock.boot()

    def request(self, *args: Any, **more: Any) -> requests.Response:
        now = self._clock.boot()
        if now - self._used > IDLE_SECONDS:
            self.close()
        self._used = now
        return super().request(*args, **more)


def session(reach: Reach, clock: Clock) -> requests.Session:
    """How calls are sent; the bundle is read when they are."""
    made = Session(clock)
    made.trust_env = False
    made.proxies = {"http": reach.proxy, "https": reach.proxy} if reach.proxy else {}
    system = ssl.get_default_verify_paths()
    made.verify = str(reach.ca_bundle or system.cafile or system.capath or "") or True
    made.headers["accept-encoding"] = "identity"
    return made


def received(send: Callable[[], requests.Response], seconds: float) -> Answer:
    """What comes back when that is sent. Raises NoAnswerError."""
    outcome = within(seconds, lambda: _answer(send, seconds))
    if outcome is None:
        raise _late(seconds)
    if isinstance(outcome, NoAnswerError):
        raise outcome
    return outcome


def _answer(send: Callable[[], requests.Response], seconds: float) -> Answer | NoAnswerError:
    try:
        with send() as response:
            body = response.raw.read(BODY_BYTES + 1, decode_content=True)
            return Answer(response.status_code, _object(body))
    except Exception as error:  # noqa: BLE001 (in a thread of its own, whatever it was must come out)
        return _meaning(error, seconds)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body) if len(body) <= BODY_BYTES else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _meaning(error: Exception, seconds: float) -> NoAnswerError:
    name = type(error).__name__
    if isinstance(error, requests.exceptions.SSLError):
        detail, hint = _untrusted(error)
        return NoAnswerError(detail, hint=hint, lost=False)
    if isinstance(error, requests.exceptions.ProxyError):
        return NoAnswerError("nothing: the proxy failed", hint=REACH, lost=False)
    if isinstance(error, requests.exceptions.ConnectTimeout) or _unreached(error):
        return NoAnswerError("nothing: nobody took the call", hint=REACH, lost=False)
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return _late(seconds)
    if isinstance(error, requests.ConnectionError | urllib3.exceptions.HTTPError):
        return NoAnswerError(f"nothing: the line broke ({name})", hint=REACH, lost=True)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        detail = f"nothing: a call cannot be made ({name})"
        return NoAnswerError(detail, hint=NO_BUNDLE, lost=False)
    return NoAnswerError(f"nothing: a call cannot be made ({name})", hint=REACH, lost=True)


def _untrusted(error: Exception) -> tuple[str, str]:
    """What TLS came to, and the next move."""
    code, words = _beneath(error), str(error).upper()
    if code in _OTHER_NAME:
        return "nothing: its certificate is for other names than that", OTHER_NAME
    if code in _OTHER_TIME:
        return "nothing: its certificate has ended, or has not begun", OTHER_TIME
    if "NO_CERTIFICATE_OR_CRL_FOUND" in words or "PEM LIB" in words:
        return "nothing: no certificate can be read in `ca_bundle`", NO_BUNDLE
    if "CERTIFICATE" in words:
        return "nothing: its certificate is not trusted", UNTRUSTED
    return "nothing that is TLS", NO_TLS


def _beneath(error: object) -> int:
    """OpenSSL's own code for a certificate, below what the libraries put around it; else 0."""
    while isinstance(error, Exception) and not isinstance(error, ssl.SSLCertVerificationError):
        error = getattr(error, "reason", None) or next(iter(error.args), None)
    return error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0


def _unreached(error: Exception) -> bool:
    """No connection came about: the port is shut, or nobody knows the host."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _late(seconds: float) -> NoAnswerError:
    return NoAnswerError(f"nothing within {seconds:g} s", hint=REACH, lost=True)
