"""The way to any OCI service through Oracle's SDK: how to call, and what went wrong.

`Service` holds one client and sends one call at a time, once, within a deadline. What comes back
are plain values read by the caller's `read` or one of our errors; no object and no exception of
the SDK leaves this file, not even as the context of ours. It never retries, follows no redirect
and no proxy variable, and never switches the SDK's request log on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from keyman import errors
from keyman.clock import Clock
from keyman.vendors.deadline import within
from keyman.vendors.network import Network
from keyman.vendors.oci_identity import Identity, use_network
from keyman.vendors.oci_outcomes import Answer, Asked, ahead, meaning, no_answer

T = TypeVar("T")
CONNECT_SECONDS, READ_SECONDS = 5.0, 20.0
DEADLINE_SECONDS = 60.0  # for a whole call: the read timeout counts anew with every packet
_NEVER_SENT = {
    "NewConnectionError",
    "ConnectTimeout",
    "ConnectTimeoutError",
    "SSLCertVerificationError",
}
_WAY_THERE = "compare `region`, `endpoint`, network.proxy and network.ca_bundle; keyman asks again"
_WORDS = {
    "ProxyError": "the proxy does not lead there",
    "NewConnectionError": "nobody answers there",
    "ConnectTimeout": "nobody answers there",
    "SSLCertVerificationError": "its certificate is not trusted",
    "TooManyRedirects": "it answers with a redirect",
    "ReadTimeoutError": "it did not answer in time",
}


class Service:
    """One service in one region, called by one identity, one call at a time.

    The SDK promises nothing about threads, and our calls are rare: a lock costs nothing.
    """

    def __init__(
        self,
        client_class: Callable[[], Any],
        identity: Identity,
        *,
        endpoint: str | None,
        network: Network,
        clock: Clock,
        permission: str,
        deadline: float = DEADLINE_SECONDS,
    ) -> None:
        self._client_class, self._identity = client_class, identity
        self._endpoint, self._network, self._clock = endpoint, network, clock
        self._permission, self._deadline = permission, deadline
        self._lock = threading.Lock()
        self._client: Any = None
        self.ahead: float | None = None  #: seconds of our clock before OCI's, by its last answer

    def call(
        self,
        what: str,
        send: Callable[[Any], Any],
        read: Callable[[Any, Mapping[str, str]], T],
        *,
        changes: bool,
    ) -> T:
        """Send one call and read its answer. `what` continues "OCI refused to …".

        `read` gets the decoded JSON and the headers; whatever it raises means that the answer
        makes no sense, unless it is one of our errors. Raises Rejected, RetryLater, Unknown.
        """
        asked = Asked(what, changes, self._permission)
        with self._lock:
            outcome = self._once(asked, send, read)
            if _unauthenticated(outcome) and self._identity.stale:
                # Nothing was done, and the profile changed under our hands: once more with it.
                outcome = self._once(asked, send, read)
            if _unauthenticated(outcome):
                self._identity.forget()
        if isinstance(outcome, errors.Error):
            raise outcome
        return outcome[0]

    def close(self) -> None:
        """Let go of the connections; the next call makes new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.base_client.session.close()

    def _once(
        self,
        asked: Asked,
        send: Callable[[Any], Any],
        read: Callable[[Any, Mapping[str, str]], T],
    ) -> tuple[T] | errors.Error:
        def act() -> tuple[Any, tuple[T] | errors.Error]:
            client = self._connected()
            if isinstance(client, errors.Error):
                return None, client
            return client, self._sent(client, asked, send, read)

        # The client is kept only once its call is over: a call that was given up still uses it.
        kept = within(self._deadline, act)
        self._client, outcome = kept or (None, None)
        return outcome or no_answer(f"OCI took too long to {asked.what}", asked)

    def _connected(self) -> Any:
        """The client, or one of our errors if nobody can sign."""
        try:
            if self._client is None or self._identity.stale:
                return self._build(*self._identity.present())
        except errors.Error as error:
            return error
        except Exception as error:  # noqa: BLE001 (files, environment and network are behind it)
            return _cannot_sign(error, self._identity)
        return self._client

    def _build(self, config: dict[str, Any], signer: Any) -> Any:
        from oci.circuit_breaker import NoCircuitBreakerStrategy
        from oci.retry import NoneRetryStrategy

        client = self._client_class()(
            config,
            signer=signer,
            service_endpoint=self._endpoint,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            retry_strategy=NoneRetryStrategy(),
            circuit_breaker_strategy=NoCircuitBreakerStrategy(),
            enable_strict_url_encoding=True,
            # As models, garbage becomes an object full of None, unknown words are replaced, and
            # printing one shows its secret. The plain JSON is honest.
            skip_deserialization=True,
        )
        use_network(client.base_client.session, self._network)
        return client

    def _sent(
        self,
        client: Any,
        asked: Asked,
        send: Callable[[Any], Any],
        read: Callable[[Any, Mapping[str, str]], T],
    ) -> tuple[T] | errors.Error:
        try:
            response = send(client)
        except Exception as error:  # noqa: BLE001 (whatever the SDK raises, a call may be out)
            self._compare_clocks(getattr(error, "headers", None))
            return translate(error, asked, self._clock)
        self._compare_clocks(response.headers)
        try:
            return (read(response.data, response.headers),)
        except errors.Error as error:
            return error.with_traceback(None)  # its frames hold the reply
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return no_answer(f"OCI's answer when asked to {asked.what} makes no sense", asked)

    def _compare_clocks(self, headers: Any) -> None:
        """Answers carry the time of their other side; what is no header says nothing."""
        date = headers.get("date") if isinstance(headers, Mapping) else None
        if isinstance(date, str):
            self.ahead = ahead(date, self._clock.now())


def _unauthenticated(outcome: object) -> bool:
    return getattr(outcome, "status", None) == 401


def translate(error: BaseException, asked: Asked, clock: Clock) -> errors.ProviderFailed:
    """Our error for anything that a call through the SDK can raise."""
    from oci.exceptions import ClientError, ServiceError

    if isinstance(error, ServiceError):
        return meaning(asked, _answer(error), clock.now())
    causes = _causes(error)
    if isinstance(error, ClientError) or "CircuitBreakerError" in causes:
        why = f"OCI was not asked to {asked.what}: the SDK gave up first ({type(error).__name__})"
        return no_answer(why, asked, sent=False)
    if "TooManyRedirects" in causes:
        return meaning(asked, Answer(307, None, None, {}), clock.now())
    if _refused_to_send(error):
        what = f"the SDK would not send the call to {asked.what}"
        return errors.Rejected(what, hint="compare `endpoint` and `region` in the configuration")
    other = "the line broke" if "RequestException" in causes else "it makes no sense"
    why = next((_WORDS[cause] for cause in causes if cause in _WORDS), other)
    sent = not _NEVER_SENT & set(causes)
    what = f"no answer from OCI when asked to {asked.what}: {why}"
    return no_answer(what, asked, sent=sent, hint=None if sent else _WAY_THERE)


def _refused_to_send(error: BaseException) -> bool:
    """An address or argument it can't use; text it can't decode, though, came as an answer."""
    return isinstance(error, ValueError) and not isinstance(error, UnicodeError | OSError)


def _answer(error: Any) -> Answer:
    return Answer(
        int(error.status),
        None if error.code is None else str(error.code),
        error.message if isinstance(error.message, str) else None,
        {str(name).lower(): str(value) for name, value in dict(error.headers or {}).items()},
    )


def _causes(error: BaseException) -> list[str]:
    """Class names of the error and of all that led to it, with their bases.

    By name, because the SDK carries its own copy of requests and another library's urllib3.
    """
    names: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        names += [base.__name__ for base in type(at).__mro__]
        at = at.__cause__ or at.__context__
    return names


def _cannot_sign(error: Exception, identity: Identity) -> errors.ProviderFailed:
    """Nothing was sent yet: who we are could not be settled."""
    causes, status = _causes(error), getattr(error, "status", None)
    what = f"cannot sign as {identity}: {type(error).__name__}"
    if status == 429 or (status or 0) >= 500 or "RequestException" in causes:
        hint = "the service that issues its token does not answer; does keyman run where it should?"
        return errors.RetryLater(what, hint=hint)
    if isinstance(fields := getattr(error, "errors", None), dict):
        wrong = ", ".join(f"{name} is {how}" for name, how in sorted(fields.items()))
        what = f"cannot sign as {identity}: {wrong}"
    return errors.Rejected(what, hint="compare `auth` in the configuration with what is there")
