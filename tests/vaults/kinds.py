"""The kinds of store, each as a run needs it: served, named by a configuration, read by strangers.

Strangers look into the imitation itself and share no code with keyman's stores. What they get is a
secret's characters, or None where the vault holds only keyman's words for `nothing yet`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox
from keyman.sandbox.oci_vault import TENANCY, USER, OciVaultSandbox
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.server import Reply, Request, json_reply
from keyman.stores.oci_vault_changes import NOTHING_YET
from tests.contract.places.oci_vault import options_of, signing_profile
from tests.contract.places.vault import POLICY
from tests.vaults.gate import Gate

Section = dict[str, Any]


class Place:
    """A store of one run. `gate` is None where no call can be seen; `shows` strangers a secret."""

    shows = False

    def __init__(self, folder: Path) -> None:
        """`folder` is the run's own; nothing is written elsewhere."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.gate: Gate | None = None

    def served(self) -> AbstractContextManager[object]:
        """Serve it from this process."""
        return nullcontext()

    def section(self) -> Section:
        """What the configuration says of it, once it is served."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What a process that opens it needs in its environment."""
        return {}

    def shown(self, name: str) -> str | None:
        """What a stranger gets who asks for the current secret."""
        raise NotImplementedError

    def empty(self) -> None:
        """Let there be nothing in it. Nobody has it open."""
        raise NotImplementedError

    def a_day_passes(self) -> None:
        """For what it destroys in its own time only: a run rotates oftener than anybody does."""


class SealedFile(Place):
    def section(self) -> Section:
        return {"kind": "sealed-file", "path": str(self.folder / "secrets.db")}

    def empty(self) -> None:
        for path in self.folder.glob("secrets.db*"):
            path.unlink()


class Memory(Place):
    def section(self) -> Section:
        return {"kind": "memory"}

    def empty(self) -> None:
        """It forgets by itself."""


class Keyring(Place):
    """A Secret Service of the run's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._environment: dict[str, str] = {}

    @contextmanager
    def served(self) -> Iterator[object]:
        from tests.servers import secret_service

        with (
            TemporaryDirectory(prefix="keyman-ring-") as short,  # a socket's path must be
            secret_service(Path(short)) as environment,
        ):
            self._environment = {
                name: value
                for name, value in environment.items()
                if name.startswith(("DBUS", "XDG"))
            }
            yield self

    def section(self) -> Section:
        return {"kind": "keyring", "backend": "secret-service"}

    def environment(self) -> Mapping[str, str]:
        return self._environment


class Vault(Place):
    shows = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate: Gate = Gate()
        self.sandbox = _GatedVault(self.gate)
        self._url = self._token = ""

    @contextmanager
    def served(self) -> Iterator[object]:
        with self.sandbox.serve() as self._url:
            yield self

    def section(self) -> Section:
        token = self.folder / "vault-token"
        if not self._token:
            self._token = self.sandbox.token(POLICY)
            token.write_text(f"{self._token}\n")
            token.chmod(0o600)
        auth = {"kind": "token", "token_file": str(token)}
        return {"kind": "vault", "address": self._url, "prefix": "keyman", "auth": auth}

    def shown(self, name: str) -> str | None:
        with self.sandbox.lock:
            found, there = self.sandbox.engines["", "secret"].read(f"keyman/{name}/current")
        return found["data"]["value"] if found and there else None

    def empty(self) -> None:
        with self.sandbox.lock:
            self.sandbox.engines["", "secret"].keys.clear()


class _GatedVault(HashicorpVaultSandbox):
    def __init__(self, gate: Gate) -> None:
        super().__init__(seed=7)
        self._gate = gate

    def answer(self, request: Request) -> Reply:
        return self._gate.through(
            self.operation(request),
            lambda: super(_GatedVault, self).answer(request),
            lambda status: json_reply(status, {"errors": ["not now"]}),
        )


class OciVault(Place):
    shows = True

    def __init__(self, folder: Path, behaviour: VaultBehaviour | None = None) -> None:
        super().__init__(folder)
        self.gate: Gate = Gate()
        self.sandbox = _GatedOciVault(self.gate, behaviour)
        self.sandbox.verifier.register_user(TENANCY, USER, signing_profile().public_key)

    def served(self) -> AbstractContextManager[object]:
        return self.sandbox.serve()

    def section(self) -> Section:
        told = options_of(self.sandbox)
        auth = {name: str(value) for name, value in told["auth"].items()}
        return {"kind": "oci-vault", **told, "auth": auth}

    def shown(self, name: str) -> str | None:
        with self.sandbox.lock:
            if f"keyman-{name}" not in self.sandbox.truth():
                return None
            versions = self.sandbox.secret(f"keyman-{name}").versions
            contents = [each.content for each in versions if "CURRENT" in each.stages]
        value = base64.b64decode(contents[0]).decode()
        return None if value == NOTHING_YET else value

    def empty(self) -> None:
        with self.sandbox.lock:
            self.sandbox._api.secrets.clear()

    def a_day_passes(self) -> None:
        with self.sandbox.lock:
            for secret in self.sandbox._api.secrets.values():
                secret.versions = [each for each in secret.versions if each.goes is None]


REFUSALS = {403: "NotAuthorized", 429: "TooManyRequests"}


class _GatedOciVault(OciVaultSandbox):
    def __init__(self, gate: Gate, behaviour: VaultBehaviour | None) -> None:
        super().__init__(seed=1, behaviour=behaviour)
        self._gate = gate

    def answer(self, request: Request) -> Reply:
        return self._gate.through(
            self.operation(request),
            lambda: super(_GatedOciVault, self).answer(request),
            lambda status: json_reply(status, {"code": REFUSALS[status], "message": ""}),
        )


PLACES = {
    "sealed-file": "tests.vaults.kinds:SealedFile",
    "keyring": "tests.vaults.kinds:Keyring",
    "memory": "tests.vaults.kinds:Memory",
    "vault": "tests.vaults.kinds:Vault",
    "oci-vault": "tests.vaults.kinds:OciVault",
    "aws-secrets-manager": "tests.vaults.aws:AwsSecretsManager",
}
REMOTE = ("vault", "oci-vault", "aws-secrets-manager")


def place_of(kind: str, folder: Path) -> Place:
    """Moto takes seconds to import: only who needs it waits for that."""
    module, _, name = PLACES[kind].partition(":")
    made: Place = getattr(import_module(module), name)(folder)
    return made
