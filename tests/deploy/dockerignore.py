"""Which files an engine gets to see: .dockerignore, as far as ours goes."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


def context(root: Path) -> list[str]:
    """The files that it lets through, named from the top."""
    rules = [line.strip() for line in (root / ".dockerignore").read_text().splitlines()]
    kept = [line for line in rules if line and not line.startswith("#")]
    named = {rule[1:].partition("/")[0] for rule in kept if rule.startswith("!")}
    every = [path for top in sorted(named) for path in files(root / top)]
    return [name for path in every if seen(name := str(path.relative_to(root)), kept)]


def files(top: Path) -> list[Path]:
    return sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]


def seen(name: str, rules: list[str]) -> bool:
    """The last rule that fits decides; one that fits a folder fits all that is in it."""
    parts = name.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    let_in = True
    for rule in rules:
        if any(pattern(rule.removeprefix("!")).fullmatch(each) for each in above):
            let_in = rule.startswith("!")
    return let_in


@cache
def pattern(rule: str) -> re.Pattern[str]:
    """`*` ends at a slash, `**/` is any number of folders."""
    every = {"**/": "(?:.*/)?", "*": "[^/]*"}
    found = re.split(r"(\*\*/|\*)", rule)
    return re.compile("".join(every.get(piece, re.escape(piece)) for piece in found))
