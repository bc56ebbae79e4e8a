"""A vault of OCI for the store's tests: the sandbox, which notes what direct readers would get; the
store, with a clock that goes along; and the hands of people who don't know keyman.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import oci

from keyman.clock import SystemClock, new_id
from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_vault import TENANCY, USER, VAULT, OciVaultSandbox
from keyman.stores import _ARGUMENTS
from keyman.stores.oci_vault import OciVault
from keyman.stores.oci_vault_changes import NOTHING_YET
from tests.contract.places.oci_vault import options_of, signing_profile

WRITES = ["CreateSecret", "UpdateSecret", "ScheduleSecretVersionDeletion"]
READS = ["ListSecrets", "GetSecret", "ListSecretVersions", "GetSecretBundle"]


class Watched(OciVaultSandbox):
    """Notes what a direct reader would get after each call."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.shown: list[str] = []
        self.headers: list[tuple[str, dict[str, str]]] = []
        self.meanwhile: Callable[[], None] | None = None

    def act(self, request: Any, call: Any) -> Any:
        self.headers.append((call.operation, dict(request.headers)))
        if call.operation == "UpdateSecret" and self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        try:
            return super().act(request, call)
        finally:
            for secret in self._api.secrets.values():
                current = next(v for v in secret.versions if "CURRENT" in v.stages)
                self.shown.append(base64.b64decode(current.content).decode())


class Ahead(SystemClock):
    """A clock that goes with the sandbox's."""

    def __init__(self, sandbox: OciVaultSandbox) -> None:
        self._sandbox = sandbox

    def now(self) -> datetime:
        return super().now() + self._sandbox.time_shift


@dataclass
class World:
    sandbox: Watched
    options: dict[str, Any]
    opened: list[OciVault] = field(default_factory=list)

    def open(self, **more: Any) -> OciVault:
        arguments = _ARGUMENTS["oci-vault"]({**self.options, **more})
        self.opened.append(OciVault(**arguments, clock=Ahead(self.sandbox)))
        return self.opened[-1]

    @property
    def secret(self) -> dict[str, Any]:
        """The vault secret of the credential genai."""
        told: dict[str, Any] = self.sandbox.truth()["keyman-genai"]
        return told

    def break_on(self, effect: Any, operation: str, **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, **more))

    def operations(self, since: int = 0) -> list[str]:
        return [call.operation for call in self.sandbox.calls()[since:]]

    def by_hand(self, client: type[Any]) -> Any:
        """One of the SDK's own clients, for somebody who doesn't know keyman."""
        config = oci.config.from_file(str(signing_profile().config))
        return client(
            config, service_endpoint=self.sandbox.url, retry_strategy=oci.retry.NoneRetryStrategy()
        )

    def upload_by_hand(self, content: bytes, name: str, stage: str = "PENDING") -> None:
        details = {
            "contentType": "BASE64",
            "content": base64.b64encode(content).decode(),
            "name": name,
            "stage": stage,
        }
        client = self.by_hand(oci.vault.VaultsClient)
        with closing(client.base_client.session):
            client.update_secret(self.sandbox.secret("keyman-genai").id, {"secretContent": details})

    def as_a_direct_reader(self, **which: Any) -> str:
        client = self.by_hand(oci.secrets.SecretsClient)
        with closing(client.base_client.session):
            found = client.get_secret_bundle_by_name("keyman-genai", VAULT, **which).data
            return base64.b64decode(found.secret_bundle_content.content).decode()


@contextmanager
def opened_in(folder: Path) -> Iterator[World]:
    sandbox = Watched(seed=1)
    sandbox.verifier.register_user(TENANCY, USER, signing_profile().public_key)
    with sandbox.serve():
        given = {"installation": new_id(), "home": folder, "timeout": timedelta(seconds=6)}
        made = World(sandbox, given | options_of(sandbox))
        yield made
        for opened in made.opened:
            opened.close()


def lived(kind: OciVault) -> None:
    """Some rotations, each step repeated until it is done."""
    steps: list[Callable[[], object]] = []
    for number in (1, 2, 3):
        steps += [
            partial(kind.put, "genai", number, Secret(f"secret {number}")),
            partial(kind.point, "genai", number),
            partial(kind.drop, "genai", number - 1),
        ]
    for step in steps:
        for last in (*([False] * 30), True):
            try:
                step()
                break
            except StoreFailed:
                if last:
                    raise


def well_lived(world: World, kind: OciVault) -> None:
    world.sandbox.faults.clear()
    assert kind.list() == [("genai", 3)]
    assert (kind.get("genai", 3), kind.pointed("genai")) == (Secret("secret 3"), 3)
    shown = list(dict.fromkeys(world.sandbox.shown))
    assert shown == [NOTHING_YET, "secret 1", "secret 2", "secret 3"]
    kind.put("genai", 4, Secret("x"))  # and whatever was left behind is destroyed by now
    kind.point("genai", 4)
    assert len(world.secret["stages"]) <= 4
