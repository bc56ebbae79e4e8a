"""A sandbox with the vendor's own SDK pointed at it, for the tests of this folder."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import oci
from oci.generative_ai import GenerativeAiClient, models

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_genai import COMPARTMENT, TENANCY, USER, OciGenaiSandbox
from keyman.sandbox.profiles import new_key, private_pem, public_pem
from keyman.sandbox.signing import fingerprint_of

__all__ = [
    "COMPARTMENT",
    "GOOD_CALL",
    "HOUR",
    "TENANCY",
    "World",
    "client_of",
    "details",
    "in_days",
    "signer_of",
    "slot_of",
]
HOUR = 3600.0
GOOD_CALL = {"model": "meta.llama-3.3-70b-instruct", "messages": [{"role": "user", "content": "?"}]}


@cache
def signer_of(number: int) -> Any:
    """A user's signer; made once, since RSA keys take a while to make and to load."""
    pem = private_pem(new_key()).decode()
    fingerprint = fingerprint_of(oci.signer.load_private_key(pem, None).public_key())
    return oci.signer.Signer(TENANCY, f"{USER}{number}", fingerprint, None, None, pem)


def client_of(url: str, signer: Any, config: dict[str, Any] | None = None) -> Any:
    # The SDK takes signer=None for "don't sign", so it is left out when the config has the key.
    signed_by = {} if signer is None else {"signer": signer}
    return GenerativeAiClient(
        {} if config is None else config,
        **signed_by,
        service_endpoint=url,
        timeout=(5, 20),
        retry_strategy=oci.retry.NoneRetryStrategy(),
        circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
        enable_strict_url_encoding=True,
    )


def in_days(days: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


def details(slot: str, expires: datetime | None = None) -> Any:
    return models.KeyDetails(key_name=slot, time_expiry=expires or in_days(60))


def slot_of(key: Any, name: str) -> Any:
    return next(item for item in key.keys if item.key_name == name)


class World:
    """The sandbox, a client that is let in, and one word for each call."""

    def __init__(self, behaviour: Behaviour | None = None, **options: Any) -> None:
        self.sandbox = OciGenaiSandbox(behaviour=behaviour, **{"seed": 1, **options})
        self.url = self.sandbox.start()
        self.client = self.client_for(1)

    def client_for(self, number: int, *, known: bool = True) -> Any:
        signer = signer_of(number)
        _, user, fingerprint = signer.api_key.split("/")
        if known:
            pem = public_pem(signer.private_key.public_key())
            assert self.sandbox.register_user(TENANCY, user, pem) == fingerprint
        config = {
            "user": user,
            "tenancy": TENANCY,
            "fingerprint": fingerprint,
            "region": "us-chicago-1",
            "key_content": "unused, because a signer is given",
        }
        return client_of(self.url, signer, config)

    def create(
        self, name: str = "prod", slots: tuple[str, ...] = ("key-one", "key-two"), **more: Any
    ) -> Any:
        expires = more.pop("expires", None)
        wanted = models.CreateApiKeyDetails(
            display_name=name,
            compartment_id=COMPARTMENT,
            key_details=[details(slot, expires) for slot in slots],
            freeform_tags=more.pop("tags", None),
        )
        return self.client.create_api_key(wanted, **more).data

    def renew(self, key: Any, slot: str, expires: datetime | None = None, **more: Any) -> Any:
        wanted = models.RenewApiKeyDetails(details=details(slot, expires))
        return self.client.renew_api_key(key.id, wanted, **more).data

    def set_state(self, key: Any, slot: str, state: str, **more: Any) -> Any:
        wanted = models.SetApiKeyStateDetails(key_name=slot, state=state)
        return self.client.set_api_key_state(key.id, wanted, **more).data

    def get(self, key: Any) -> Any:
        return self.client.get_api_key(key.id).data

    def state(self, key: Any, slot: str) -> str:
        return str(slot_of(self.get(key), slot).state)

    def break_next(self, effect: Any, operation: str = "*", **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, count=1, **more))

    def wait(self, seconds: float) -> None:
        """Let time pass in the sandbox, not here."""
        self.sandbox.time_shift += timedelta(seconds=seconds)

    def ask(self, secret: str, body: object = GOOD_CALL) -> int:
        """One inference call; the status of its answer."""
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
        path = urlsplit(f"{self.sandbox.base_url}/chat/completions").path
        return self.http("POST", path, body, headers)[0]

    def http(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, headers or {})
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data else None
        finally:
            connection.close()

    def close(self) -> None:
        self.sandbox.stop()
        self.client.base_client.session.close()
