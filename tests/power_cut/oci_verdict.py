"""What must hold of an API key with two slots, judged from OCI's own log of it.

Keyman's history counts only where it excuses it for having switched a slot on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.power_cut.evidence import Evidence, Kill
from tests.power_cut.verdict import A_MOMENT, LONGEST_DELAY, OVERLAP, Fate, Judge

CONSOLE = "console"
KILLS = frozenset({"REVOKED", "INACTIVE"})
TOO_OFTEN = 3
OPEN_ORDERS = timedelta(seconds=20)  # how long an order may wait for its turn


@dataclass(frozen=True, slots=True)
class Change:
    """A call that changed something, or would have: a line of the cloud's log."""

    number: int
    at: datetime
    operation: str
    ours: bool
    done: bool
    key: str | None
    slot: str | None
    wanted: str | None
    before: str | None
    after: str | None
    token: str | None
    if_match: str | None
    fault: str | None
    status: int | None

    @classmethod
    def read(cls, line: dict[str, Any]) -> Change:
        status = line["status"]
        return cls(
            number=line["number"],
            at=datetime.fromisoformat(line["at"]),
            operation=line["operation"],
            ours=line["actor"] != CONSOLE,
            done=status is not None and status < 300 and not line["replayed"],
            key=line["key_id"],
            slot=line["slot"],
            wanted=line["wanted"],
            before=line["secret_before"],
            after=line["secret_after"],
            token=line["retry_token"],
            if_match=line["if_match"],
            fault=line["fault"],
            status=status,
        )

    @property
    def ends_a_secret(self) -> bool:
        return self.done and (self.operation == "RenewApiKey" or self.wanted in KILLS)

    @property
    def late(self) -> bool:
        """Did an aimed fault hold it back?"""
        return self.fault == "delay"

    def __str__(self) -> str:
        who = "" if self.ours else " by the console"
        told = " ".join(str(x) for x in (self.slot, self.wanted, self.status, self.fault) if x)
        secrets = f"{(self.before or '')[:8]} -> {(self.after or '')[:8]}"
        return f"{self.at:%H:%M:%S.%f} {self.operation} {told} {secrets}{who}"


class OciJudge(Judge):
    """One life's evidence beside the cloud's log of it."""

    def __init__(
        self, evidence: Evidence, log: list[dict[str, Any]], behaviour: dict[str, Any]
    ) -> None:
        self.changes = [Change.read(line) for line in log]
        self.behaviour = behaviour
        super().__init__(evidence, self._what_people_did(), overlap=OVERLAP)

    def broken(self) -> list[str]:
        return [
            *super().broken(),
            *self._cut_off(),
            *self._two_at_once(),
            *self._dead_owner_landed(),
            *self._switched_on_again(),
        ]

    def _what_people_did(self) -> Iterator[Fate]:
        for change in self.changes:
            if not change.ours and change.operation in ("RenewApiKey", "SetApiKeyState"):
                yield change.before, change.at

    # I2 and I5, as the cloud saw them.

    def _cut_off(self) -> Iterator[str]:
        gone: set[str] = set()
        for change in self.changes:
            secret = change.before
            if secret is None or not change.ends_a_secret:
                continue
            first = secret not in gone
            gone.add(secret)
            if not change.ours or not first or self.explained(secret, change.at):
                continue
            until = self.promised_until(secret, change.at)
            if until is not None and change.at < until:
                yield f"I2/I5: [{change}] ends what was promised until {until:%H:%M:%S.%f}"

    def switched_on(self, secret: str) -> bool:
        """Did anybody want it on again?"""
        return any(
            change.before == secret and change.wanted == "ACTIVE" and self._wished_for(change)
            for change in self.changes
        )

    def _wished_for(self, on: Change) -> bool:
        earliest = on.at - OPEN_ORDERS
        ordered = (o for o in self.evidence.ordered if o.slot == on.slot or o.verb == "rollback")
        return not on.ours or any(earliest < o.at < on.at for o in ordered)

    # I4.

    def _two_at_once(self) -> Iterator[str]:
        """A slot is filled once a rotation: not again and again, with nobody handed the secret.

        Power, a lost answer, an order that lands while the call is under way, or a wish that grew
        too old may each cost a secret or two.
        """
        excuses = [*self.evidence.wishes(), *(kill.at for kill in self.evidence.kills)]
        wasted: dict[tuple[str | None, str | None], int] = defaultdict(int)
        for earlier, later in self._refills():
            place = (later.key, later.slot)
            excused = any(earlier.at - A_MOMENT < at < later.at for at in excuses)
            used = earlier.after in self.last_asked or self.explained(later.before or "", later.at)
            lost = excused or used or earlier.fault or earlier.after != later.before
            wasted[place] = 0 if lost else wasted[place] + 1
            if wasted[place] >= TOO_OFTEN:
                yield f"I4: [{later}] destroys secret {wasted[place]} in a row that nobody got"

    def _refills(self) -> Iterator[tuple[Change, Change]]:
        last: dict[tuple[str | None, str | None], Change] = {}
        for change in self.changes:
            if change.operation != "RenewApiKey" or not change.done:
                continue
            earlier = last.get((change.key, change.slot))
            last[change.key, change.slot] = change
            if earlier and earlier.ours and change.ours:
                yield earlier, change

    def _fences(self) -> bool:
        """Does this cloud refuse a call with the etag from before a claim?"""
        needed = ("if_match_on_actions", "etag_on_get", "etag_changed_by_tags")
        return all(self.behaviour[answer] for answer in needed)

    def _dead_owner_landed(self) -> Iterator[str]:
        """No change that was sent before a kill is carried out after the next owner's claim."""
        claims = [c for c in self.changes if c.ours and c.done and c.operation == "UpdateApiKey"]
        for change in self.changes if self._fences() else ():
            if not (change.late and change.done and change.if_match and change.ours):
                continue
            killed = self._killed_while_under_way(change)
            if killed is None:
                continue
            next_claims = [c for c in claims if killed.at < c.at < change.at and c != change]
            if any(claim.key == change.key and not claim.late for claim in next_claims):
                yield f"I4: [{change}] of a dead owner landed after the next one's claim"

    def _killed_while_under_way(self, change: Change) -> Kill | None:
        sent_after = change.at - LONGEST_DELAY
        kills = [kill for kill in self.evidence.kills if sent_after < kill.at < change.at]
        return kills[-1] if kills else None

    # I10.

    def _switched_on_again(self) -> Iterator[str]:
        """What was switched off stays off, whoever did it, unless it is needed or ordered."""
        last: dict[tuple[str | None, str | None], Change] = {}
        for change in self.changes:
            if not change.done or change.operation not in ("SetApiKeyState", "RenewApiKey"):
                continue
            place = (change.key, change.slot)
            off, last[place] = last.get(place), change
            if off is None or off.wanted != "INACTIVE" or not change.ours:
                continue
            if change.wanted == "ACTIVE" and not self._was_needed(off, change):
                yield f"I10: [{change}] undoes [{off}]"

    def _was_needed(self, off: Change, on: Change) -> bool:
        if on.at - off.at < A_MOMENT or on.late or self._wished_for(on):
            return True
        # Switched on for the moment that it takes to fill or to revoke it.
        after = [c for c in self.changes if c.number > on.number and c.slot == on.slot and c.ours]
        if after and (after[0].operation == "RenewApiKey" or after[0].wanted == "REVOKED"):
            return True
        # An earlier secret that is needed again, and becomes current.
        return self.last_asked.get(on.before or "", off.at) > on.at


def strays(taken: set[str], current: str | None, evidence: Evidence) -> set[str]:
    """Secrets that clients once had, are not current, and that the cloud still takes."""
    handed = {one.secret for one in evidence.handed}
    return (taken & handed) - {current}
