"""What explained.toml says: mutants that no test notices and need not, each with its reason."""

from __future__ import annotations

import tomllib
from pathlib import Path

_TOLD = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))["explained"]
EXPLAINED: dict[str, list[str]] = {one["why"]: one["mutants"] for one in _TOLD}

_REASONS = {name: why for why, names in EXPLAINED.items() for name in names}


def reason(mutant: str) -> str | None:
    """Why the mutant of that name may survive, if anybody has said."""
    return _REASONS.get(mutant)
