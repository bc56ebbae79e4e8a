"""AWS Secrets Manager's calls: how the account is entered, and what its refusals come to.

Entered when it is first asked: credentials are looked for then and not earlier. Each call is tried
once more at most, for what passes by itself, and is over after a time, whatever trickles in. All
that goes wrong is a StoreFailed that names the call, AWS's code for it and the next move. AWS's own
words are looked at and never passed on: they might quote what was sent. Knows nothing of what the
calls are for.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3.session
import botocore.session
from botocore import exceptions
from botocore.config import Config

from keyman.errors import StoreFailed
from keyman.vendors.deadline import within

T = TypeVar("T")
DOCS = "docs/stores/aws.md"
ENTERING_SECONDS = 10.0  # of the first call: to make a client, and to find credentials
PAUSE_SECONDS = 1.0  # botocore's own before it tries again, at most

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_STRANGER = {
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
    *("IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "NotAuthorized"),
    *("InvalidSignatureException", "MissingAuthenticationToken", "OptInRequired"),
    *("SignatureDoesNotMatch", "UnrecognizedClientException"),
}
_LATER = {
    *("InternalFailure", "InternalServiceError", "RequestTimeout", "ServiceUnavailable"),
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"),
}
_NO_CREDENTIALS = (
    exceptions.ConfigNotFound,
    exceptions.ConfigParseError,
    exceptions.CredentialRetrievalError,
    exceptions.InfiniteLoopConfigError,
    exceptions.InvalidConfigError,
    exceptions.MetadataRetrievalError,
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.ProfileNotFound,
    exceptions.RefreshWithMFAUnsupportedError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
    exceptions.UnknownCredentialError,
)
_ODD = re.compile(r"[^A-Za-z0-9._:#-]")


class _SenselessAnswerError(Exception):
    """botocore takes an answer cut short, or a stranger's, for an empty one."""


class _LateError(Exception):
    """It is not over, and nobody waits for it any longer: it may have been done, or be done yet."""


class Absent(StoreFailed):
    """There is no such secret, or no version of it with that label."""


class Exists(StoreFailed):
    """There is one already."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where it is and how it is entered."""

    region: str
    profile: str | None = None  #: None: as boto3 finds credentials
    endpoint: str | None = None  #: None: the region's
    timeout: float = 10.0  #: seconds, for a connection and for each part of an answer
    attempts: int = 2  #: at one call
    proxy: str | None = None
    ca_bundle: str | None = None  #: None: the authorities that botocore trusts

    @property
    def longest(self) -> float:
        """Seconds, of one call with all its attempts; a socket's own timeout comes before that."""
        return self.attempts * (self.timeout + PAUSE_SECONDS)

    def client(self) -> Any:
        """A client for Secrets Manager. Raises what botocore raises."""
        core = botocore.session.get_session()
        core.set_config_variable("ca_bundle", self.ca_bundle)
        # Where there are no instance metadata, their address may not even refuse.
        core.set_config_variable("metadata_service_timeout", 1)
        core.set_config_variable("metadata_service_num_attempts", 1)
        # For the calls that fetch credentials (STS, SSO) as well.
        core.set_default_client_config(
            Config(
                connect_timeout=self.timeout,
                read_timeout=self.timeout,
                retries={"mode": "standard", "total_max_attempts": self.attempts},
                # Not None: botocore would then follow the environment's.
                proxies={"http": self.proxy, "https": self.proxy} if self.proxy else {},
            )
        )
        session = boto3.session.Session(
            botocore_session=core, profile_name=self.profile, region_name=self.region
        )
        return session.client(
            "secretsmanager",
            endpoint_url=self.endpoint,
            verify=self.ca_bundle or True,
            config=Config(ignore_configured_endpoint_urls=True),
        )


class SecretsManager:
    def __init__(self, account: Account, secrets: str) -> None:
        """`secrets` is the pattern of the names it is asked about, for what is said of permissions.
        Asks nobody anything.
        """
        self._account, self._secrets = account, secrets
        self._turn = threading.Lock()
        self._client: Any = None

    def ask(self, operation: str, secret: str, **said: Any) -> dict[str, Any]:
        """The answer to one operation, by boto3's name for it. Raises StoreFailed: Absent, Exists
        if it is that.
        """
        with self._translated(operation, secret):
            return self._ended(
                lambda: _sensible(getattr(self._entered(), operation)(**said), "ARN")
            )

    def pages(self, operation: str, secret: str, **said: Any) -> Iterator[dict[str, Any]]:
        """The same, of an operation that answers in pages."""
        pages: Iterator[dict[str, Any]] | None = None

        def turn() -> dict[str, Any] | None:
            nonlocal pages
            if pages is None:
                pages = iter(self._entered().get_paginator(operation).paginate(**said))
            page = next(pages, None)
            return None if page is None else _sensible(page, "SecretList")

        while True:
            with self._translated(operation, secret):
                page = self._ended(turn)
            if page is None:
                return
            yield page

    def close(self) -> None:
        """Leave; who asks again enters again."""
        with self._turn:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _entered(self) -> Any:
        if (there := self._client) is not None:
            return there
        made = self._account.client()  # whoever hangs in here holds up nobody else
        with self._turn:
            if self._client is None:
                self._client = made
            there = self._client
        if there is not made:
            made.close()
        return there

    def _ended(self, act: Callable[[], T]) -> T:
        """What it returns or raises, if that is within a call's time; else _LateError."""
        entering = 0.0 if self._client else ENTERING_SECONDS
        seconds = self._account.longest + entering
        outcome = within(seconds, lambda: _outcome(act))
        if outcome is None:
            raise _LateError(f"no whole answer within {seconds:g} s")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome[0]

    @contextlib.contextmanager
    def _translated(self, operation: str, secret: str) -> Iterator[None]:
        call = "".join(word.title() for word in operation.split("_"))
        what = f"{call} for {secret} in AWS Secrets Manager ({self._account.region}) failed: "
        try:
            yield
        except exceptions.ClientError as error:
            raise self._refused(what, call, secret, error.response) from None
        except Exception as error:  # noqa: BLE001
            # Whatever else it was: only StoreFailed gets out, and none of the vendor's words.
            if isinstance(error, _NO_CREDENTIALS):
                self.close()  # the next call looks for credentials again
            late = isinstance(error, _LateError)
            what += str(error) if late else type(error).__name__.lstrip("_")
            raise StoreFailed(what, hint=self._unanswered(error)) from None

    def _refused(self, what: str, call: str, secret: str, answer: dict[str, Any]) -> StoreFailed:
        said = answer.get("Error", {})
        code, words = _ODD.sub("?", said.get("Code", ""))[:80], said.get("Message", "").lower()
        about = answer.get("ResponseMetadata", {})
        if request := _ODD.sub("?", about.get("RequestId") or "")[:80]:
            what += f"{code} (request {request})"
        else:
            what += code
        if code in _STRANGER:
            self.close()
        late = code in _LATER or about.get("HTTPStatusCode", 0) in (429, *range(500, 600))
        hint = _LATER_HINT if late else self._hint(code, call, secret, words)
        kind = {"ResourceNotFoundException": Absent, "ResourceExistsException": Exists}
        return kind.get(code, StoreFailed)(what, hint=hint)

    def _hint(self, code: str, call: str, secret: str, words: str) -> str | None:
        if code in _DENIED | {"DecryptionFailure", "EncryptionFailure"} and "kms" in words:
            return _KMS_HINT
        if code in _DENIED:
            actions = ["CreateSecret", "TagResource"] if call == "CreateSecret" else [call]
            named = " and ".join(f"secretsmanager:{action}" for action in actions)
            resource = "*" if call == "ListSecrets" else self._arn()
            return f"allow {named} on {resource} in the IAM policy, which {DOCS} shows whole"
        if code == "InvalidRequestException" and "delet" in words:
            return self.how_to_restore(secret)
        if code in _STRANGER:
            return _STRANGER_HINT
        return _HINTS.get(code)

    def _arn(self) -> str:
        region = self._account.region
        partition = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
        named = next((partition[each] for each in partition if region.startswith(each)), "aws")
        return f"arn:{named}:secretsmanager:{region}:*:secret:{self._secrets}"

    def how_to_restore(self, secret: str) -> str:
        return (
            f"if it is still wanted: aws secretsmanager restore-secret --secret-id {secret} "
            f"--region {self._account.region}; else take the credential out of the configuration"
        )

    def how_to_tag(self, secret: str, tag: str, value: str) -> str:
        return (
            "if no other store of yours has a prefix that begins alike: aws secretsmanager "
            f"tag-resource --secret-id {secret} --region {self._account.region} --tags "
            f"Key={tag},Value={value}"
        )

    def _unanswered(self, error: Exception) -> str | None:
        if isinstance(error, _NO_CREDENTIALS):
            return (
                "boto3 finds no credentials it can use: give the machine or pod a role, set "
                f"AWS_* variables, or name a profile in the configuration ({DOCS})"
            )
        if isinstance(error, _NO_ANSWER):
            return "look at the network: region, endpoint, network.proxy and network.ca_bundle"
        return None


def _outcome(act: Callable[[], T]) -> tuple[T] | Exception:
    try:
        return (act(),)
    except Exception as error:  # noqa: BLE001 (in a thread of its own, whatever it was must come out)
        return error


def _sensible(answer: dict[str, Any], always: str) -> dict[str, Any]:
    if always not in answer:
        raise _SenselessAnswerError
    return answer


_NO_ANSWER = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    _LateError,
    _SenselessAnswerError,
)
_LATER_HINT = "nothing to do: keyman tries again by itself"
_KMS_HINT = "allow kms:Decrypt and kms:GenerateDataKey on the key, which must be enabled"
_STRANGER_HINT = f"AWS does not take these credentials: sign in anew, look at the clock ({DOCS})"
_HINTS = {
    "DecryptionFailure": _KMS_HINT,
    "EncryptionFailure": _KMS_HINT,
    "LimitExceededException": "AWS keeps all versions of the last 24 hours, about 100 at most, "
    "and 20 labels: wait, and rotate less often",
    "ResourceNotFoundException": "look whether somebody deleted it, and whether kms_key_id exists "
    "in that region",
}
