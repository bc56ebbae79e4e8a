"""Bugs to plant, and the machine with one of them in it.

A bug is one passage of the real source replaced by another; it must be there exactly once, so
that a bug can't outlive the code it is about. The modules that decide and act are compiled afresh
under names of their own; ours stay as they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import ModuleType

from tests.sim.every import extensions
from tests.sim.runs import Ran, placed, run
from tests.sim.world import Machine

FRESH = (
    "keyman.core.picture",
    "keyman.core.situation",
    "keyman.core.transitions",
    "keyman.core.entrusting",
    "keyman.core.orders",
    "keyman.core.pruning",
    "keyman.core.rotation",
    "keyman.core.health",
    "keyman.core.news",
    "keyman.core.copies",
    "keyman.performer",
    "keyman.rotator",
    "keyman.mirroring.follower",
    "keyman.mirroring.comparing",
    "keyman.mirroring",
)


Change = tuple[str, str, str]  # module, passage, what stands there instead


@dataclass(frozen=True, slots=True)
class Bug:
    name: str
    breaks: str  #: the invariant that is found broken (or the error, where an assertion meets it)
    changes: tuple[Change, ...]
    setup: str = "plain"  #: where it is looked for
    begin: str = ""  #: what has gone wrong already, where it takes two
    since: int = 0  #: the moment from which on it is looked for; shortly before it shows


def real() -> Machine:
    from keyman import mirroring, performer, rotator
    from keyman.core import health

    return Machine(rotator.Rotator, performer.Managed, health, mirroring.Mirroring)


def planted(bug: Bug) -> Machine:
    """The same program with the bug in it."""
    prefix = "planted_" + re.sub(r"[^a-z]+", "_", bug.name)
    modules: dict[str, ModuleType] = {}
    for name in FRESH:
        text = source(name)
        for module, passage, instead in bug.changes:
            if module == name:
                found = text.count(passage)
                assert found == 1, f"{bug.name}: its passage is there {found} times in {name}"
                text = text.replace(passage, instead)
        for other in FRESH:
            text = text.replace(f"from {other} import", f"from {prefix}.{other} import")
        text = text.replace("from keyman.core import", f"from {prefix}.keyman.core import")
        modules[name] = _module(prefix, name, text)
    return Machine(
        modules["keyman.rotator"].Rotator,
        modules["keyman.performer"].Managed,
        modules["keyman.core.health"],
        modules["keyman.mirroring"].Mirroring,
    )


def source(name: str) -> str:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _module(prefix: str, name: str, text: str) -> ModuleType:
    full = f"{prefix}.{name}"
    parts = full.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if package not in sys.modules:
            sys.modules[package] = ModuleType(package)
            sys.modules[package].__path__ = []
    module = ModuleType(full)
    sys.modules[full] = module
    exec(compile(text, f"<{full}>", "exec"), module.__dict__)
    setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
    return module


def hunt(bug: Bug, *, limit: int = 6000) -> tuple[int, Ran | None]:
    """Enumerate histories with the bug in the machine: how many it took, and the one it broke."""
    number = 0
    for number, ran in enumerate(islice(_histories(bug), limit), start=1):
        if ran.broken and bug.breaks in ran.broken.split(":")[0]:
            return number, ran
    return number, None


def _histories(bug: Bug) -> Iterator[Ran]:
    """In which one thing (more) goes wrong."""
    machine = planted(bug)
    begin = placed(machine, bug.setup, bug.begin)
    begun = run(machine, bug.setup, begin)
    yield begun
    for plan in extensions(begin, begun.menus):
        if plan[-1].moment >= bug.since:
            yield run(machine, bug.setup, plan, leaf=True)
