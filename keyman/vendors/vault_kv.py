"""Documents in an engine of KV version 2: read, set over what was seen, erased, listed.

Every write is check-and-set, so that a call that lands late changes nothing that came after it; a
call without an answer is followed by a look. Nothing is sent twice but what was refused for its
token, and there is another one. It knows no credential, and the vendor's client only as what makes
calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keyman.errors import StoreFailed
from keyman.vendors.vault_outcomes import Answer, Asked, Lost, Place, asking, meaning
from keyman.vendors.vault_sign_in import SignIn

Document = Mapping[str, Any]
WRITES = 4  # of one document, while others write there too


@dataclass(frozen=True, slots=True)
class Found:
    """What a path holds: no document if there never was one, or if it was deleted."""

    document: Document | None = field(default=None, repr=False)
    revision: int = 0  #: Vault's own count of the writes, which check-and-set compares
    made: str = ""  #: when that one was, by Vault's clock, to the nanosecond


class Kv:
    def __init__(self, client: Any, sign_in: SignIn, place: Place) -> None:
        self._kv, self._sign_in, self._place = client.secrets.kv.v2, sign_in, place

    def read(self, path: str, asked: Asked) -> Found:
        answer = self.ask(
            asked,
            lambda: self._kv.read_secret_version(
                path, mount_point=self._place.mount, raise_on_deleted_version=True
            ),
        )
        document, told = answer.member("data", "data"), answer.member("data", "metadata", "version")
        revision = told if isinstance(told, int) else 0
        if answer.absent:
            return Found(None, revision)
        if answer.status != 200 or not isinstance(document, dict) or revision < 1:
            raise meaning(asked, self._place, answer)
        return Found(document, revision, str(answer.member("data", "metadata", "created_time")))

    def write(
        self,
        path: str,
        document: Document,
        asked: Asked,
        may_replace: Callable[[Found], object],
        after: Found | None = None,
    ) -> None:
        """Set it over `after`, or else over what turns out to be there; `may_replace` raises if
        that must stay.
        """
        found = after or Found()
        for _ in range(WRITES):
            may_replace(found)
            failure = self._set(path, document, asked, found.revision)
            if failure is None:
                return
            before, found = found, self.read(path, asked)
            if found.document == document:
                return
            if found.revision == before.revision:
                raise failure
        raise StoreFailed(
            f"could not {asked.what}: somebody else keeps writing there",
            hint="give each installation its own `prefix`",
        )

    def _set(
        self, path: str, document: Document, asked: Asked, revision: int
    ) -> StoreFailed | None:
        """One write. An error is returned if there is something to look at: whether it was done,
        or what else is there. Any other one is raised.
        """
        try:
            answer = self.ask(
                asked,
                lambda: self._kv.create_or_update_secret(
                    path, document, cas=revision, mount_point=self._place.mount
                ),
            )
        except Lost as lost:
            return lost
        if answer.status == 200 and isinstance(answer.member("data", "version"), int):
            return None
        failure = meaning(asked, self._place, answer)
        if answer.status == 400 or isinstance(failure, Lost):
            return failure
        raise failure

    def keep_no_history(self, path: str, asked: Asked) -> None:
        """Have each write to the path destroy what it replaces."""
        answer = self.ask(
            asked,
            lambda: self._kv.update_metadata(path, max_versions=1, mount_point=self._place.mount),
        )
        if answer.status not in (200, 204):
            raise meaning(asked, self._place, answer)

    def erase(self, path: str, asked: Asked) -> None:
        """Destroy the path with its history."""
        try:
            answer = self.ask(
                asked,
                lambda: self._kv.delete_metadata_and_all_versions(
                    path, mount_point=self._place.mount
                ),
            )
            if answer.status not in (200, 204) and not answer.absent:
                raise meaning(asked, self._place, answer)
        except Lost:
            if self.read(path, asked).revision:
                raise

    def keys(self, path: str, asked: Asked) -> list[str]:
        """What lies directly under the path; folders end with a slash."""
        answer = self.ask(asked, lambda: self._kv.list_secrets(path, mount_point=self._place.mount))
        if answer.absent:
            return []
        keys = answer.member("data", "keys")
        if answer.status != 200 or not isinstance(keys, list):
            raise meaning(asked, self._place, answer)
        return [key for key in keys if isinstance(key, str)]

    def check_engine(self, asked: Asked) -> None:
        """Whether it is of version 2 and keeps what it is given, if we may know that."""
        answer = self.ask(asked, lambda: self._kv.read_configuration(self._place.mount))
        if answer.status == 403:
            return
        if answer.status != 200 or answer.member("data", "max_versions") is None:
            raise meaning(asked, self._place, answer)
        if answer.member("data", "delete_version_after") not in (None, "", "0s", 0):
            raise StoreFailed(
                f"could not {asked.what}: the engine deletes by itself what it is given",
                hint=f"`vault write {self._place.mount}/config delete_version_after=0s`, or"
                " another `mount`",
            )

    def ask(self, asked: Asked, act: Callable[[], Answer]) -> Answer:
        """One call; a second one if the token had ended and there is another one."""
        token = self._sign_in.enter()
        answer = asking(asked, self._place, act)
        if answer.status == 403 and self._sign_in.again(token, answer):
            answer = asking(asked, self._place, act)
        return answer
