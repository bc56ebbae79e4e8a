"""What `keyman check` finds: one thing that is wrong or worth knowing, and the next move."""

from __future__ import annotations

from dataclasses import dataclass

from keyman import errors
from keyman.views import Json


@dataclass(frozen=True, slots=True)
class Finding:
    severity: str  #: error | warning | info
    code: str
    message: str
    hint: str = ""
    credential: str | None = None
    slot: str | None = None

    def as_json(self) -> Json:
        return {
            "severity": self.severity,
            "credential": self.credential,
            "slot": self.slot,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


def failed(error: errors.Error, name: str, code: str = "provider_failed") -> Finding:
    """A party that could not be asked, or that refused."""
    return Finding("error", code, error.message, error.hint, name)
