"""A slice of the tampering; all of it: `python -m tests.tampering`."""

from __future__ import annotations

import hashlib
from contextlib import closing
from types import ModuleType

import pytest

from keyman.core.model import Secret
from tests.sim.planting import _module, source
from tests.tampering import house, stores
from tests.tampering.__main__ import PARTS, SLICES, Task, run

EVERY = {"journal": 12, "bytes of the sealed file": 20, "backup": 10}


@pytest.mark.parametrize("part", PARTS)
def test_what_was_changed_is_not_believed(part: str) -> None:
    _, tried, found = run(Task(part, 3 % SLICES, EVERY.get(part, 1)))
    assert found == []
    assert tried > 5


def planted(name: str, *changes: tuple[str, str]) -> ModuleType:
    text = source(name)
    for passage, instead in changes:
        assert text.count(passage) == 1
        text = text.replace(passage, instead)
    return _module(f"planted_{hashlib.sha256(text.encode()).hexdigest()[:8]}", name, text)


@pytest.mark.parametrize(
    "change",
    [
        (
            "        return (*self._house(), name.encode(), str(number).encode(), place)\n",
            "        return self._house()\n",
        ),
        (
            '            except InvalidTag:\n                what = f"the secret',
            '            except ZeroDivisionError:\n                what = f"the secret',
        ),
    ],
    ids=["not bound to its place", "damage is no error of ours"],
)
def test_a_planted_bug_is_caught(change: tuple[str, str]) -> None:
    bad = planted("keyman.stores.sealed_file", change).SealedFile
    with house.folder() as here:
        path, key = here / "made.db", bytes(32)
        with closing(bad(path, key, house.INSTALLATION)) as store:
            for (name, number), text in house.SECRETS.items():
                store.put(name, number, Secret(text), slot=house.SLOTS[number])
        whole = house.Sealed(path.read_bytes(), house.written(key))
        opening = lambda path, key: bad(path, key, house.INSTALLATION, read_only=True)  # noqa: E731
        wrong = [
            what
            for said, file in stores.swaps(here, whole)
            if "alpha', 1" in said
            for what in stores.looked_up(here, file, whole.key, opening)
        ]
    assert wrong
