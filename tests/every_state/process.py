"""What the process that drives the credential does: one step after another, by the real rules, the
real transitions and the real performer.

Loading, saving and taking over are as rotator.py does them, on values instead of a database: a wish
is saved before the call that grants it, and a record says that a secret is there once that was
stored and read back.
"""

from __future__ import annotations

from dataclasses import replace

from keyman import errors
from keyman.core.model import Credential, Observed, Stage, Version
from keyman.core.steps import Issue, Request, Step
from tests.every_state.code import Code
from tests.every_state.hands import Hands, PowerCut, kept
from tests.every_state.world import HERE, SPEC, Held, World


class Process:
    """Takes steps in a world, by the code it is given."""

    def __init__(self, code: Code, hands: Hands, *, intends: bool = True) -> None:
        self.code = code
        self.hands = hands
        self.intends = intends  # False: a wish is saved only together with what came of it
        self.performer = code.performer.Performer(hands, hands.new_id, HERE)
        self.managed = code.performer.Managed(SPEC, hands, hands)

    def next_step(self, world: World) -> Step:
        step: Step = self.code.next_step(world.loaded, world.seen, world.now)
        return step

    def take(self, world: World, step: Step, fault: str = "") -> World:
        """The world after one step."""
        self.hands.begin(world, fault)
        try:
            after, seen = self._done(world.loaded, world.seen, step)
            if isinstance(step, Request) and not self.intends:
                after, seen = self._asked_at_once(after, seen)
        except PowerCut:
            return self.restarted(self.hands.world)
        return self._saved(self.hands.world, after, seen)

    def _asked_at_once(
        self, wished: Credential, seen: Observed | None
    ) -> tuple[Credential, Observed | None]:
        """No wish is written down before the call that grants it."""
        step = self.code.next_step(wished, seen, self.hands.now())
        return self._done(wished, seen, step) if isinstance(step, Issue) else (wished, seen)

    def stop_in(self, world: World, step: Step, *, called: bool) -> World | None:
        """It stops before its call, or after it with what was answered in memory only."""
        record, seen = world.loaded, world.seen
        held = Held(step, record, seen, world.fence, world.now)
        if not called:
            return world._replace(held=held)
        self.hands.begin(world, "", holds_back=True)
        after, looked = self._done(record, seen, step)
        if not self.hands.called:
            return None
        held = held._replace(after=after, looked=looked, puts=tuple(self.hands.puts))
        return self.hands.world._replace(held=held)

    def go_on(self, world: World, fault: str = "") -> World:
        """It goes on with the step it stopped in. Its record lands only on the one it loaded."""
        held = world.held
        assert held
        world = world._replace(held=None)
        self.hands.begin(kept(world, held.puts), fault)
        after, seen = held.after, held.looked
        if after is None:
            try:
                after, seen = self._done(held.record, held.seen, held.step)
            except PowerCut:
                world = self.hands.world
                return world if held.fence != world.fence else self.restarted(world)
        world = self.hands.world
        if held.fence != world.fence:
            return world
        if held.record.revision == world.record.revision:
            return self._saved(world, after, seen)
        if after.unanswered_at != held.record.unanswered_at:
            world = world._replace(unanswered=after.unanswered_at)
        return world

    def _done(
        self, record: Credential, seen: Observed | None, step: Step
    ) -> tuple[Credential, Observed | None]:
        try:
            after, looked = self.performer.perform(self.managed, record, seen, step)
        except (errors.ProviderFailed, errors.StoreFailed) as error:
            after, looked = self.performer.failed(record, step, error), seen
        return self.settled(after, looked), looked

    def settled(self, record: Credential, seen: Observed | None) -> Credential:
        """As it is saved: orders brought up to date, and what is over forgotten."""
        record = self.code.orders.settled(record, seen, self.hands.now())
        return forget(self.code, record, self.hands.world)

    def _saved(self, world: World, after: Credential, seen: Observed | None) -> World:
        saved = replace(
            after,
            revision=world.record.revision + 1,
            orders=tuple(order for order in after.orders if order.open),
        )
        return world._replace(record=saved, seen=seen, unanswered=None)

    def restarted(self, world: World, *, clean: bool = False) -> World:
        """The process that drove it is gone; another one begins."""
        held = world.held if world.held and world.held.fence != world.fence else None
        return self.taken_over(world._replace(held=held), clean=clean)

    def taken_over(self, world: World, *, clean: bool = False) -> World:
        """Another process drives it from now on."""
        fence, owners = world.fence + 1, world.owners + 1
        world = world._replace(fence=fence, owners=owners, unanswered=None)
        self.hands.begin(world, "")
        after = self.code.transitions.taken_over(
            world.record, fence, f"owner {owners}", world.now, clean=clean
        )
        for v in after.all_at(Stage.CURRENT, Stage.PREVIOUS, Stage.RETIRED):
            found = self.performer.kept(self.managed, after, v) is not None
            if v.stored and not found:
                after = self.code.transitions.lost(after, v)
            elif found and not v.stored and v.stage is not Stage.RETIRED:
                after = self.code.transitions.found_again(after, v)
        return self._saved(self.hands.world, after, world.seen)


def forget(code: Code, c: Credential, world: World) -> Credential:
    """What pruning forgets after a year or twenty versions is forgotten at once, by its own rule:
    nothing asks for it. Of versions that came to nothing the last three stay.
    """
    if len(c.versions) < 3:
        return c
    promoted = max((v.number for v in c.versions if v.promoted_at), default=0)
    failed = [v.number for v in c.versions if v.given_up and v.number > promoted][:-3]
    last = c.next_number - 1
    gone = {
        v.number
        for v in c.versions
        if (v.number < promoted or v.number in failed)
        and v.number != last
        and code.pruning._over(c, v)
        and not _may_be_seen(v, world)
    }
    if not gone:
        return c
    return replace(c, versions=tuple(v for v in c.versions if v.number not in gone))


def _may_be_seen(v: Version, world: World) -> bool:
    """Did its call never answer, and does a slot hold what it may have brought?"""
    if v.issued_at or v.expires_at is None:
        return False
    wished = [f.call.expires_at for f in world.flying]
    return v.expires_at in [*wished, *(s.expires_at for s in world.key.slots)]
