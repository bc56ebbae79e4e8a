"""Mechanisms taken away, one at a time: each must be missed, or nothing is known of its worth.

Most are a passage of the real source replaced, as tests/sim plants its bugs; what is no passage of
the core is a switch of the process.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.every_state.search import Switches
from tests.sim.planting import Bug, Change

ROTATION, SITUATION = "keyman.core.rotation", "keyman.core.situation"
TRANSITIONS = "keyman.core.transitions"

PICTURE = (
    "    picture = _as_the_provider_shows_it(s, v)\n    if picture is not None:\n"
    "        return picture\n"
)
UNPROBED: tuple[Change, ...] = (
    (ROTATION, "    if proven or verify.successes == 0:\n", "    if True:\n"),
    (ROTATION, PICTURE, ""),
)


NONE_OFF = Switches()


@dataclass(frozen=True, slots=True)
class Ablation:
    name: str
    setup: str  #: where it is missed
    breaks: tuple[str, ...]  #: what may be found broken
    changes: tuple[Change, ...] = ()
    switches: Switches = NONE_OFF

    @property
    def bug(self) -> Bug:
        return Bug(f"every state: {self.name}", "", self.changes)


ABLATIONS = (
    Ablation(
        "no if-match",
        "late calls",
        ("S1", "S5"),
        switches=Switches(matching=False),
    ),
    Ablation(
        "no if-match, two processes",
        "a second process",
        ("S1", "S5"),
        switches=Switches(matching=False),
    ),
    Ablation(
        "a late call counts as refused",
        "late calls, no if-match",
        ("S1", "S5"),
        (
            (
                SITUATION,
                "        if self.c.unanswered_at is None or self.c.fenced or",
                "        if True or",
            ),
        ),
    ),
    Ablation(
        "no wish before the call",
        "due, late calls, no if-match",
        ("S1",),
        switches=Switches(intends=False),
    ),
    Ablation("no probe", "console", ("S1",), UNPROBED),
    Ablation(
        "no overlap",
        "use is not shown",
        ("S5",),
        (
            (
                SITUATION,
                "v.replaced_at + (self.c.policy.overlap if v.overlap is None else v.overlap)",
                "v.replaced_at",
            ),
        ),
    ),
    Ablation(
        "no evidence",
        "a client that lags",
        ("S5",),
        (
            (
                SITUATION,
                "        if self.still_taken(v):\n            return False\n",
                "        return True\n",
            ),
        ),
    ),
    Ablation(
        "no recheck",
        "console, revoked slots are gone for good",
        (),  # what is dead is probed and replaced before anything else is switched off
        (
            (
                ROTATION,
                "        if s.current_is_sound and (_seen_unused(s, v) or",
                "        if (_seen_unused(s, v) or",
            ),
        ),
    ),
    Ablation(
        "no foreign protection",
        "console",
        ("S5",),
        (
            (
                SITUATION,
                "        quiet = self._strangers_quiet_at(place)\n        return quiet",
                "        quiet = None\n        return quiet",
            ),
            (
                SITUATION,
                "        return not ours and seen.last_used_at > v.requested_at\n",
                "        return False\n",
            ),
        ),
    ),
    Ablation(
        "no detection of a restored backup",
        "backups",
        ("S1", "S5", "L"),
        ((TRANSITIONS, "    if latest <= c.epoch or c.claimed:\n", "    if True:\n"),),
    ),
)
