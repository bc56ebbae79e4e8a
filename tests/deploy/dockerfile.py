"""A Dockerfile taken apart, as far as ours goes."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR"),
}


@dataclass
class Stage:
    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)  #: instruction, and what follows it

    def given(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]

    @property
    def environment(self) -> dict[str, str]:
        """What the last process finds, besides what the base image has."""
        every = " ".join(self.given("ENV"))
        return dict(word.split("=", 1) for word in shlex.split(every))

    @property
    def command(self) -> list[str]:
        """What is started where nobody says otherwise."""
        [begins], [ends] = self.given("ENTRYPOINT"), self.given("CMD")
        return [*json.loads(begins), *json.loads(ends)]

    @property
    def health(self) -> list[str]:
        [check] = self.given("HEALTHCHECK")
        return list(json.loads(check[check.index("CMD") + 3 :]))


def stages(file: Path) -> list[Stage]:
    """Raises ValueError for what a Dockerfile of ours must not have."""
    found: list[Stage] = []
    for line in logical_lines(file.read_text()):
        word, _, rest = line.partition(" ")
        if word not in INSTRUCTIONS:
            raise ValueError(f"{word} is no instruction that ours needs")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].steps.append((word, rest.strip()))
    return found


def logical_lines(text: str) -> list[str]:
    """Without remarks, each instruction on one line."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in re.sub(r"\\\n\s*", "", kept).splitlines() if line.strip()]
