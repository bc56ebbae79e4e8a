"""One measured figure beside the limit that it is held to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float
    limit: float
    unit: str = "x"
    detail: str = ""

    @property
    def reached(self) -> bool:
        return self.value <= self.limit

    def line(self) -> str:
        verdict = "reached" if self.reached else "MISSED"
        value, limit = f"{self.value:.3g} {self.unit}", f"{self.limit:g} {self.unit}"
        return f"{self.what}: {value} (limit {limit}, {verdict}) {self.detail}"
