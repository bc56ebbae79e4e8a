"""Stores of this machine. They know each other's keys: which kind it is changes easily, by one
variable of the environment for example, and the rest may stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from keyman.config import values
from keyman.config.places import Anchor
from keyman.config.schema import (
    Contradiction,
    SecretText,
    Section,
    StoreSection,
    Text,
    Variable,
    scalar,
)
from keyman.config.store_settings import Keyring, Memory, SealedFile, StoreKey, StorePlace

Backend = Literal["secret-service", "macos", "windows", "kwallet"]


class StoreKeySection(Section):
    kind: Literal["file", "keyring", "passphrase", "systemd-credential", "env"] = "file"
    path: Text = "{home}/store.key"
    passphrase: SecretText | None = None
    name: Annotated[str, scalar(values.credential)] | None = None
    variable: Variable | None = None
    backend: Backend | None = None
    service: Text | None = None

    def key(self, anchor: Anchor) -> StoreKey:
        return StoreKey(
            self.kind,
            anchor.path(self.path),
            passphrase=self.passphrase,
            name=self.name,
            variable=self.variable,
            backend=self.backend,
            service=self.service,
        )


class LocalSection(StoreSection):
    kind: Literal["sealed-file", "keyring", "memory"] = "sealed-file"
    path: Text = "{home}/secrets.db"
    backend: Backend | None = None
    service: Text | None = None
    key: StoreKeySection = StoreKeySection()

    def place(self, anchor: Anchor) -> StorePlace:
        if self.kind == "memory":
            return Memory()
        if self.kind == "keyring":
            return Keyring(self.backend, self.service)
        return SealedFile(anchor.path(self.path), self.key.key(anchor))

    def contradictions(self) -> Iterator[Contradiction]:
        if self.key.kind == "passphrase" and self.key.passphrase is None:
            text = "passphrase is required (best as !file or !env)"
            yield Contradiction(("key",), text, at=("key",))
