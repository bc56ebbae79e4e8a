"""What every vendor is told of the network."""

from __future__ import annotations

from os import PathLike
from typing import Protocol


class Network(Protocol):
    """`network:` of the configuration."""

    @property
    def proxy(self) -> str | None: ...
    @property
    def ca_bundle(self) -> str | PathLike[str] | None: ...
