"""What is judged of each move of keyman's, and what must be so once nothing goes wrong any more.

Told from the world's own truth: which secrets the provider accepts, what lookups hand out, what the
client holds. What a person, the clock or a backup did is never blamed on keyman.
"""

from __future__ import annotations

from keyman.core.model import Stage, State
from tests.every_state.code import Code
from tests.every_state.provider import Ways, state
from tests.every_state.world import POLICY, World


class Judge:
    def __init__(self, code: Code, ways: Ways) -> None:
        self.code = code
        self.ways = ways

    def handed(self, w: World) -> int | None:
        """The secret that lookups hand out."""
        v = w.record.current
        if v is None or not self.code.health.usable(v, w.now):
            return None
        return w.secret(v)

    def broken(self, before: World, after: World, *, calls: bool) -> str | None:
        """What a move of keyman's broke, if it did.

        `calls`: it changed something at the provider. A record that was saved on a picture from
        before somebody else's change is that one's fault.
        """
        if len(after.record.all_at(Stage.REQUESTED, Stage.PENDING)) > 1:
            return "I4: two rotations are in flight"
        informed = calls or _informed(before)
        handed, works = self.handed(before), after.key.accepts
        was = handed if before.key.accepts(handed, before.at) else None
        if was is not None and informed and was not in before.leaked:
            gets = self.handed(after)
            if not works(gets, after.at):
                return f"S1 (I1, I2): lookups got {was}, which works, and get {gets} now"
        if calls and _on(before) and not _on(after):
            return "S2 (I2): the last slot that was on is off"
        held = before.client.value
        if before.key.accepts(held, before.at) and not works(held, after.at):
            cut = self._cut_off(before, handed)
            if cut:
                return f"S5 (I5): the client holds {held}, which was {cut}"
        return self._leaked(before, after)

    def _cut_off(self, w: World, handed: int | None) -> str | None:
        """Why the client's secret should have been left alone; None if it need not have been."""
        client = w.client
        if client.value in w.leaked:
            return None
        if client.value == handed:
            return "what lookups hand out"
        if client.left_at is None:
            return "in use by somebody's word"
        if w.clock_was_set:
            return None
        if w.at < client.left_at + POLICY.overlap:
            return "replaced less than an overlap ago"
        assert POLICY.max_overlap is not None
        waits = self.ways.shows_use and w.at < client.left_at + POLICY.max_overlap
        return "in use still" if waits else None

    def _leaked(self, before: World, after: World) -> str | None:
        for value in before.leaked:
            if after.key.accepts(value, after.at) and not before.key.accepts(value, before.at):
                return f"S6 (I6): {value} leaked, and is switched on again"
        gets = self.handed(after)
        if gets in before.leaked and self.handed(before) != gets:
            return f"S6 (I6): {gets} leaked, and is handed out again"
        return None

    # At rest.

    def missing(self, w: World) -> list[str]:
        """What is not as it should be, once nothing more is to be done."""
        gets, said = self.handed(w), []
        if not w.key.accepts(gets, w.at):
            said.append("what lookups get works")
        if w.client.value != gets:
            said.append("the client moves on")
        if w.record.open_version:
            said.append("a rotation comes to its end")
        said += [f"the order to {order.kind} is done" for order in w.record.orders]
        said += [f"{value}, leaked, is dead" for value in w.leaked if w.key.lives(value, w.at)]
        if not said and w.record.current and self._due(w):
            said.append("the rotation that is due begins")
        return said

    def _due(self, w: World) -> bool:
        assert w.record.current
        due = w.record.due_at(w.record.current)
        return due is not None and w.now >= due

    def active_for_nobody(self, w: World) -> bool:
        """Is a slot on that nobody needs, and that no person switched?"""
        gets = self.handed(w)
        return any(
            state(s, w.at) == State.ACTIVE and s.value != gets and not s.touched for s in w.key.live
        )

    def says_so(self, w: World) -> bool:
        """Is there nothing that keyman could do, and does it say so?"""
        word = self.code.health.health(w.record, w.seen, w.now)
        return word in ("failing", "at-risk", "down") and self._hopeless(w)

    def _hopeless(self, w: World) -> bool:
        """Deleted, or shut for good, or in use by somebody else all the time."""
        if w.key.gone:
            return True
        shut = any(state(s, w.at) in ("REVOKED", "EXPIRED") for s in w.key.slots)
        if shut and not self.ways.refills:
            return True
        ours = {w.secret(v) for v in w.record.versions}
        return w.key.accepts(w.client.value, w.at) and w.client.value not in ours


def _on(w: World) -> bool:
    """Is a slot on, with a secret that did not leak?"""
    return any(state(s, w.at) == State.ACTIVE and s.value not in w.leaked for s in w.key.live)


def _informed(w: World) -> bool:
    seen = w.seen.keys[0] if w.seen and w.seen.keys else None
    return seen is not None and seen.etag == str(w.key.etag)
