"""What every vendor is told of the network."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Protocol


class Network(Protocol):
    """`network:` of the configuration."""

    @property
    def proxy(self) -> str | None: ...
    @property
    def ca_bundle(self) -> str | PathLike[str] | None: ...


@dataclass(frozen=True, slots=True)
class Direct:
    """Nothing was said: no proxy, and the system's own certificates."""

    proxy: str | None = None
    ca_bundle: str | None = None
