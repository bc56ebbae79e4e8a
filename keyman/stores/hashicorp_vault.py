"""HashiCorp Vault or OpenBao: an engine of KV version 2, through `hvac`.

    {prefix}/{name}/versions/{number}   {"value", "version", "installation"}: one version each
    {prefix}/{name}/current             the same, of the version that direct readers get

Opening it asks nobody. What another installation keeps under the same prefix counts as absent, and
is neither overwritten nor deleted. `current` has no history: what was dropped is found nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import hvac
from hvac.adapters import RawAdapter

from keyman.clock import Clock, SystemClock
from keyman.core.model import Secret
from keyman.errors import SecretDamaged, StoreFailed
from keyman.stores.limits import fitting
from keyman.vendors.vault_kv import Document, Found, Kv
from keyman.vendors.vault_outcomes import NEEDED, Answer, Asked, Place, meaning
from keyman.vendors.vault_sign_in import Auth, SignIn
from keyman.vendors.vault_wire import Reach, received, session

_NAME = re.compile(r"_?[a-z0-9][a-z0-9_-]{0,62}")  # `keyman store check` tries _…
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class HashicorpVault:
    durable = True

    def __init__(
        self,
        place: Place,
        auth: Auth,
        installation: str,
        *,
        reach: Reach | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._place, self._installation = place, installation
        reach, clock = reach or Reach(), clock or SystemClock()
        self._session = session(reach, clock)
        self._client, door = (_client(place, reach, self._session) for _ in range(2))
        sign_in = SignIn(auth, place, self._client, door, clock)
        self._kv = Kv(self._client, sign_in, place)

    def put(self, name: str, number: int, secret: Secret, *, slot: str | None = None) -> None:
        asked = Asked(f"put {name!a}/{number}")
        value = fitting(name, secret)
        document = {"value": value, "version": number, "installation": self._installation}
        self._write(self._version(name, number), document, asked)

    def get(self, name: str, number: int) -> Secret | None:
        kept = self._kept(name, number, Asked(f"get {name!a}/{number}"))
        if kept is None:
            return None
        value = kept.get("value")
        if not isinstance(value, str) or kept.get("version") != number:
            raise SecretDamaged(f"{name}/{number} in the vault was changed by somebody else")
        return Secret(value)

    def drop(self, name: str, number: int) -> None:
        if self.pointed(name) == number:  # forgotten is what direct readers don't get, either
            self.point(name, None)
        self._erase(self._version(name, number), f"drop {name!a}/{number}")

    def list(self, name: str | None = None) -> list[tuple[str, int]]:
        asked = Asked("list what is kept", "metadata")
        folders = [f"{name}/"] if name else self._kv.keys(self._place.prefix, asked)
        names = [key[:-1] for key in folders if key.endswith("/") and _NAME.fullmatch(key[:-1])]
        # The vault's own list also shows what was deleted, and what others have there.
        return sorted(
            (each, number)
            for each in names
            for number in self._numbers(each, asked)
            if self._kept(each, number, Asked(asked.what)) is not None
        )

    def point(self, name: str, number: int | None) -> None:
        path = self._path(name, "current")
        if number is None:
            self._erase(path, f"have {name} point to nothing")
            return
        asked = Asked(f"have {name} point to {number}")
        kept = self._kept(name, number, asked)
        if kept is None:
            raise StoreFailed(
                f"could not {asked.what}: it is not in the vault",
                hint="nothing to do: keyman puts it there first",
            )
        found = self._kv.read(path, asked)
        if found.document == kept:
            return
        if not found.revision:
            self._kv.keep_no_history(path, Asked(asked.what, "metadata"))
        self._write(path, kept, asked, after=found)

    def pointed(self, name: str) -> int | None:
        path, asked = self._path(name, "current"), Asked(f"see what {name} points to")
        document = self._ours(self._kv.read(path, asked))
        number = document.get("version") if document else None
        return number if isinstance(number, int) else None

    def read_current(self, name: str) -> tuple[int, Secret] | None:
        path, asked = self._path(name, "current"), Asked(f"see what {name} points to")
        document = self._ours(self._kv.read(path, asked)) or {}
        number, value = document.get("version"), document.get("value")
        if not isinstance(number, int):
            return None
        return number, Secret(value if isinstance(value, str) else "")

    def place(self, name: str, number: int) -> str | None:
        """By the moment at which it was written: other clusters, mounts and paths have others."""
        asked = Asked(f"see when {name!a}/{number} was written")
        found = self._kv.read(self._version(name, number), asked)
        return f"{found.revision} of {found.made}" if self._ours(found) else None

    def ready(self, name: str) -> None:
        """Raises StoreFailed if a put for that name would surely fail. Changes nothing."""
        asked = Asked(f"take in a secret of {name!a}")
        found = self._kv.read(self._path(name, "current"), asked)
        self._may_replace(found, asked)
        self._kv.check_engine(asked)
        paths = {area: f"{self._place.mount}/{area}/{self._version(name, 1)}" for area in NEEDED}
        answer = self._kv.ask(asked, lambda: self._client.sys.get_capabilities([*paths.values()]))
        if answer.status in (403, 404):
            return  # who may not ask what it may do may do it all the same
        for area, path in paths.items():
            allowed = answer.member("data", path) or answer.member(path)
            if answer.status != 200 or not isinstance(allowed, list):
                raise meaning(asked, self._place, answer)
            self._refuse_without(area, set(allowed), asked)

    def _refuse_without(self, area: str, allowed: set[str], asked: Asked) -> None:
        missing = [each for each in NEEDED[area] if not {each, "root"} & allowed]
        if missing:
            raise StoreFailed(
                f"could not {asked.what}: keyman's token may not {', '.join(missing)} in {area}/",
                hint=f"add to its policy: {self._place.line(area)}",
            )

    def close(self) -> None:
        self._session.close()

    def _version(self, name: str, number: int) -> str:
        return self._path(name, f"versions/{number}")

    def _path(self, name: str, rest: str) -> str:
        if not _NAME.fullmatch(name):
            raise StoreFailed(
                f"{name!a} cannot be the name of a secret in a vault",
                hint="names are small letters, digits, - and _",
            )
        return f"{self._place.prefix}/{name}/{rest}"

    def _kept(self, name: str, number: int, asked: Asked) -> Document | None:
        return self._ours(self._kv.read(self._version(name, number), asked))

    def _ours(self, found: Found) -> Document | None:
        document = found.document
        return document if document and document.get("installation") == self._installation else None

    def _numbers(self, name: str, asked: Asked) -> Iterable[int]:
        keys = self._kv.keys(self._path(name, "versions"), asked)
        return [int(key) for key in keys if _NUMBER.fullmatch(key)]

    def _write(
        self, path: str, document: Document, asked: Asked, *, after: Found | None = None
    ) -> None:
        self._kv.write(path, document, asked, lambda found: self._may_replace(found, asked), after)

    def _may_replace(self, found: Found, asked: Asked) -> None:
        if found.document is not None and self._ours(found) is None:
            raise StoreFailed(
                f"could not {asked.what}: what the vault has there is not of this installation",
                hint=f"delete it, if a person wrote it by hand; two installations need a `prefix`"
                f" each, and this one says {self._place.prefix!r}",
            )

    def _erase(self, path: str, what: str) -> None:
        found = self._kv.read(path, Asked(what))
        stranger = found.document is not None and self._ours(found) is None
        # What was deleted but not destroyed has a revision and no document; nobody knows whose.
        if found.revision and not stranger:
            self._kv.erase(path, Asked(what, "metadata"))


class _Wire(RawAdapter):  # type: ignore[misc]
    """hvac's own adapter makes the request; what comes back is judged by us, whatever it is."""

    def request(
        self,
        method: str,
        url: str,
        headers: Any = None,
        raise_exception: bool = True,  # noqa: FBT001, FBT002 (theirs)
        **more: Any,
    ) -> Answer:
        send = super().request
        return received(
            lambda: send(method, url, headers, raise_exception=False, stream=True, **more),
            self._kwargs["timeout"],
        )


def _client(place: Place, reach: Reach, over: Any) -> Any:
    """A client of hvac's, told all that it would else look up in the environment."""
    return hvac.Client(
        url=place.address,
        token="",
        cert=(),
        verify=over.verify,
        timeout=reach.timeout,
        allow_redirects=False,
        session=over,
        adapter=_Wire,
        namespace=reach.namespace,
    )
