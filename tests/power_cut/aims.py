"""When to kill: at any time, while starting, or aimed at one call or one record.

Each aim waits for its moment, at most so long, and says what it was; the caller kills at once. An
aim that provokes a call does what would lead to it: it orders a rotation or brings a secret.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.power_cut.case import Case
from tests.power_cut.evidence import now
from tests.power_cut.outside import Keyman
from tests.vaults.gate import Gate

Moment = Callable[["Scene"], str]
PATIENCE = 7.0  # seconds
MORE_PATIENCE = 11.0  # an overlap may have to end first
SOON = 2.0  # seconds
A_WHILE = 0.7  # seconds
SERVED = 8.0  # seconds, of which a start that is well needs one


@dataclass(frozen=True, slots=True)
class Scene:
    """What an aim may look at and do."""

    keyman: Keyman
    case: Case
    dice: random.Random
    provoke: Callable[[str], None]  # do what will lead to such a call
    rules: list[dict[str, object]]  # the weather; an aimed fault goes first
    gates: Sequence[Gate] = ()  # of the stores


class Deck:
    """Aims for one case, dealt so that even a short life meets different ones."""

    def __init__(self, dice: random.Random, case: Case, *, gates: int = 0) -> None:
        self._dice, self._there, self._gates = dice, case.targets, gates
        self._left: list[Moment] = []
        self._last: Moment | None = None

    def draw(self) -> Moment:
        """One that this cloud's calls allow for."""
        if self._last is long_before_the_effect:
            self._last = after_a_while
            return after_a_while
        if not self._left:
            self._left = [moment for often, moment in self._moments() for _ in range(often)]
            self._dice.shuffle(self._left)
        self._last = self._left.pop()
        return self._last

    def _moments(self) -> list[tuple[int, Moment]]:
        there = self._there
        return [
            (2, at_any_time),
            (1, while_starting),
            (1, at_a_record),
            (2 if there.calls else 0, after_a_call),
            (1 if there.changes else 0, before_the_effect),
            (1 if there.changes else 0, long_before_the_effect),
            (1 if there.calls else 0, before_the_answer),
            (1 if there.probe else 0, while_probing),
            (2 if there.endings else 0, after_a_lost_answer),
            (2 if there.fleeting else 0, once_served),
            (1 if there.fleeting else 0, after_the_end),
            (4 if self._gates and not there.fleeting else 0, at_a_store_call),
        ]


def while_starting(scene: Scene) -> str:
    pause = scene.dice.uniform(0.0, 1.5)
    time.sleep(pause)
    return "while starting"


def at_any_time(scene: Scene) -> str:
    scene.keyman.answers_within()
    time.sleep(scene.dice.uniform(0.0, 6.0))
    return "at any time"


def once_served(scene: Scene) -> str:
    """In fair weather there is something to hand out soon after a start."""
    scene.case.cloud.suffer([])
    if scene.keyman.answers_within():
        began = now()
        if not _served_since(scene, began):
            what = f"L: nothing to hand out {SERVED:.0f} s after {began:%H:%M:%S}"
            scene.case.evidence.said.append(what)
    return "once there was something to hand out"


def after_the_end(scene: Scene) -> str:
    """Nobody hands out another one until what is held has ended, and for a moment longer."""
    case, fault = scene.case, {"effect": "lost_before", "operation": scene.case.targets.fleeting}
    scene.keyman.answers_within()
    served = _served_since(scene, now())
    case.cloud.suffer([dict(fault)])

    def ended() -> bool:
        end = case.evidence.handed[-1].expires_at
        return end is not None and (now() - end).total_seconds() > A_WHILE

    over = served and _wait(ended, MORE_PATIENCE)
    return "after the end of what was held" if over else "before any end"


def _served_since(scene: Scene, began: datetime) -> bool:
    handed = scene.case.evidence.handed
    return _wait(lambda: any(one.asked > began for one in handed[-9:]), SERVED)


def after_a_call(scene: Scene) -> str:
    operation = scene.dice.choice(scene.case.targets.calls)
    scene.keyman.answers_within()
    seen = len(scene.case.cloud.log(operation))
    scene.provoke(operation)
    came = _wait(lambda: len(scene.case.cloud.log(operation)) > seen)
    time.sleep(scene.dice.choice((0.0, 0.0, 0.005, 0.02, 0.05)))
    return f"right after {operation}" if came else f"no {operation} came"


def before_the_effect(scene: Scene) -> str:
    """The call hangs at the cloud when power goes, and is carried out a little later."""
    return _hanging(scene, "seconds", _change(scene), scene.dice.uniform(0.5, 2.0))


def long_before_the_effect(scene: Scene) -> str:
    """The call is carried out when the next owner is at work; it is given the time to be."""
    return _hanging(scene, "seconds", _change(scene), scene.dice.uniform(2.4, 3.1))


def before_the_answer(scene: Scene) -> str:
    """The call is carried out; its answer is under way when power goes."""
    operation = scene.dice.choice(scene.case.targets.calls)
    return _hanging(scene, "seconds_after", operation, scene.dice.uniform(0.5, 2.0))


def while_probing(scene: Scene) -> str:
    """A probe of a new secret hangs."""
    assert scene.case.targets.probe
    operation, containing = scene.case.targets.probe
    return _hanging(scene, "seconds", operation, scene.dice.uniform(0.5, 2.0), containing)


def after_a_while(scene: Scene) -> str:
    """Not before what the last owner sent has long been carried out."""
    scene.keyman.answers_within()
    time.sleep(scene.dice.uniform(3.0, 6.0))
    return "after a while"


def after_a_lost_answer(scene: Scene) -> str:
    """The answer to what was to end a secret is lost; killed at what the journal says of that.

    Nothing was ended where the call itself was lost: whoever takes the loss for success has that
    in the journal at this moment, before the next turn could hide it.
    """
    case, (operation, containing) = scene.case, scene.dice.choice(scene.case.targets.endings)
    effect = scene.dice.choice(("lost_before", "lost_before", "lost_after"))
    fault: dict[str, object] = {"effect": effect, "operation": operation, "count": 1}
    scene.keyman.answers_within()
    case.cloud.suffer([{**fault, "containing": containing}])
    scene.provoke(containing or operation)
    over = _ended(scene)

    def lost() -> bool:
        nonlocal over
        if case.cloud.ask("GET", "faults")[0]["fired"]:
            return True
        over = _ended(scene)
        return False

    if not _wait(lost, MORE_PATIENCE):
        return f"no {operation} came"
    _wait(lambda: _ended(scene) != over, SOON)
    return f"after the {effect} answer of {operation}"


def at_a_record(scene: Scene) -> str:
    """As soon as the journal says something new: between that and whatever follows."""
    scene.keyman.answers_within()
    before = scene.keyman.stages(scene.case.name)
    scene.provoke("")
    fresh: set[tuple[int, str]] = set()
    wanted = scene.dice.randint(1, 4)

    def changed() -> bool:
        fresh.update(scene.keyman.stages(scene.case.name) - before)
        return len(fresh) >= wanted

    _wait(changed)
    return f"at the record of {sorted(fresh)}"


def at_a_store_call(scene: Scene) -> str:
    """A call to the store, or to a mirror, hangs when power goes, before its effect or after.

    Some that hung before it have it in a while, when the next owner is at work.
    """
    gate, after = scene.dice.choice(scene.gates), scene.dice.random() < 0.5
    scene.keyman.answers_within()
    hold = gate.hold(scene.dice.randint(1, 25), after=after, late=scene.dice.random() < 0.5)
    scene.provoke("")
    if not hold.met.wait(PATIENCE):
        return "so many calls to the store did not come"
    return f"{'after' if after else 'before'} the effect of {hold.operation} at the store"


def _change(scene: Scene) -> str:
    return scene.dice.choice(scene.case.targets.changes)


def _ended(scene: Scene) -> set[tuple[int, str]]:
    stages = scene.keyman.stages(scene.case.name)
    return {one for one in stages if one[1] in ("retired", "revoked")}


def _hanging(scene: Scene, when: str, operation: str, seconds: float, containing: str = "") -> str:
    fault: dict[str, object] = {"effect": "delay", "operation": operation, "count": 1}
    cloud = scene.case.cloud
    scene.keyman.answers_within()
    cloud.suffer([{**fault, "containing": containing, when: seconds}, *scene.rules])
    scene.provoke(operation)
    came = _wait(lambda: bool(cloud.ask("GET", "faults")[0]["fired"]))
    # A call that is to outlive its sender by long is left alone with it for a moment only.
    spent = 0.1 if seconds > SOON else 0.9
    time.sleep(seconds * scene.dice.uniform(0.0, spent) if came else 0.0)
    moment = "effect" if when == "seconds" else "answer"
    return f"before the {moment} of {operation}" if came else f"no {operation} came"


def _wait(until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if until():
            return True
        time.sleep(0.004)
    return False
