"""Bugs that only a broken disk brings to light: tests.disk.faults must find each of them."""

from __future__ import annotations

from tests.sim.bugs import ROTATOR, SAVE
from tests.sim.planting import Bug

UNHEARD = (
    "        try:\n    " + SAVE + "        except errors.StoreFailed:\n            saved = after\n"
)

PLANTED = (
    Bug(
        "lookups follow a record before it is saved",
        "I",
        ((ROTATOR, SAVE, "        self.changed(after)\n" + SAVE),),
    ),
    Bug(
        "a record that could not be saved is gone on from",
        "I",
        ((ROTATOR, SAVE, UNHEARD),),
    ),
)
