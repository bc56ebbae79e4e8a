"""A vault for the tests of its store: the sandbox, stores over it, who reads without keyman."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import hvac
import pytest

from keyman.clock import SystemClock
from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.sandbox.faults import Effect, Fault
from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox
from keyman.sandbox.sandboxed import Call
from keyman.sandbox.server import HangUpError, Reply, Request
from keyman.stores.hashicorp_vault import HashicorpVault
from keyman.vendors.vault_outcomes import Place
from keyman.vendors.vault_sign_in import Auth
from keyman.vendors.vault_wire import Reach
from tests.contract.places.vault import POLICY

VALUE = Secret("sk-canary-7f3a91")
OTHER = Secret("sk-rival-55c0de")


def failure(act: Callable[[], object]) -> StoreFailed:
    """What it fails with; it must."""
    with pytest.raises(StoreFailed) as failed:
        act()
    return failed.value


class SetClock(SystemClock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def boot(self) -> float:
        return self.seconds


class VaultWorld:
    def __init__(self, folder: Path, sandbox: HashicorpVaultSandbox | None = None) -> None:
        self.sandbox = sandbox or HashicorpVaultSandbox(seed=7)
        self.url = self.sandbox.start()
        self.clock = SetClock()
        self.folder = folder
        self._open = ExitStack()
        self._open.callback(self.sandbox.stop)

    def close(self) -> None:
        self._open.close()

    def store(
        self,
        auth: Auth | None = None,
        *,
        installation: str = "ours",
        prefix: str = "keyman",
        address: str | None = None,
        mount: str = "secret",
        **reach: Any,
    ) -> HashicorpVault:
        """One that signs in with a token of its own, unless told otherwise."""
        auth = auth or Auth("token", token=Secret(self.sandbox.token(POLICY)))
        place = Place(address or self.url, mount, prefix)
        opened = HashicorpVault(
            place, auth, installation, reach=Reach(**{"timeout": 5.0, **reach}), clock=self.clock
        )
        self._open.callback(opened.close)
        return opened

    @property
    def kv(self) -> Any:
        """The engine, for whoever may do everything and does not know keyman."""
        return hvac.Client(self.url, self.sandbox.root_token).secrets.kv.v2

    def direct(self, name: str) -> Any:
        """What stands at the documented path; None if nothing does."""
        try:
            told = self.kv.read_secret_version(
                f"keyman/{name}/current", raise_on_deleted_version=True
            )
        except hvac.exceptions.InvalidPath:
            return None
        return told["data"]["data"]

    def breaks(self, effect: Effect, operation: str = "*", **more: Any) -> None:
        self.sandbox.faults.add(Fault(effect, operation, **more))

    def passes(self, seconds: float) -> None:
        """Time, here and there."""
        self.clock.seconds += seconds
        self.sandbox.time_shift += timedelta(seconds=seconds)

    def asked(self, *operations: str) -> int:
        """How many such calls there were; without names, of all kinds."""
        calls = self.sandbox.calls()
        return sum(not operations or call.operation in operations for call in calls)

    def holds(self, secret: Secret) -> bool:
        """Whether it is anywhere in the vault, however old."""
        return sha256(secret.reveal().encode()).hexdigest() in repr(self.sandbox.truth())


class Overheard(HashicorpVaultSandbox):
    """Remembers what its callers said of themselves."""

    def __init__(self) -> None:
        super().__init__(seed=7)
        self.heard: set[str] = set()

    def answer(self, request: Request) -> Reply:
        self.heard |= {value for name, value in request.headers.items() if "vault" in name}
        return super().answer(request)


class Forgetful(HashicorpVaultSandbox):
    """Behind a load balancer that forgets idle connections, and answers nothing on them then."""

    def __init__(self) -> None:
        super().__init__(seed=7)
        self._known: set[threading.Thread] = set()  # one for each connection
        self._forgotten: set[threading.Thread] = set()

    def forget(self) -> None:
        self._forgotten |= self._known

    def answer(self, request: Request) -> Reply:
        connection = threading.current_thread()
        self._known.add(connection)
        if connection in self._forgotten:
            threading.Event().wait(5)
            raise HangUpError
        return super().answer(request)


class Standby(HashicorpVaultSandbox):
    """A node that sends whoever asks it to another one."""

    def __init__(self, active: str) -> None:
        super().__init__(seed=7)
        self._active = active

    def answer(self, request: Request) -> Reply:
        return Reply(307, headers={"location": f"{self._active}{request.target}"})


class Rival(HashicorpVaultSandbox):
    """A vault in which somebody else is always a moment faster."""

    def __init__(self, write: Callable[[HashicorpVaultSandbox], None], times: int) -> None:
        super().__init__(seed=7)
        self._write, self._times = write, times

    def act(self, request: Request, call: Call) -> Reply:
        if call.operation == "WriteSecret" and self._times:
            self._times -= 1
            self._write(self)
        return super().act(request, call)
