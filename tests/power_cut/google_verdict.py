"""What must hold of tokens, judged from the log of those who handed them out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

from tests.power_cut.case import Entry
from tests.power_cut.evidence import Evidence, Handed
from tests.power_cut.verdict import A_MOMENT, LONGEST_DELAY, Fate, Judge

# An issuer tells whole seconds, and one less than the truth; they are counted from the asking on,
# and what they end at is written down as a whole second.
ROUNDED = timedelta(seconds=3.25)


class GoogleJudge(Judge):
    """`asks` is the request whose answer is the token; `life` and `lead` are in seconds, until
    peace came and tokens began to live for long.
    """

    def __init__(
        self,
        evidence: Evidence,
        log: list[Entry],
        asks: str,
        *,
        life: float,
        lead: float,
        peace: datetime,
    ) -> None:
        self.log = log
        self.asked = [call for call in log if call.operation == asks]
        self._due_after = timedelta(seconds=life - lead) - ROUNDED
        self._ends = {
            call.secret: call.at + timedelta(seconds=life)
            for call in self.asked
            if call.secret and call.at < peace
        }
        super().__init__(evidence, self._what_people_did(), overlap=None)

    def broken(self) -> list[str]:
        return [*super().broken(), *self._handed_out_ended(), *self._asked_without_need()]

    def _what_people_did(self) -> Iterator[Fate]:
        yield from self._ends.items()
        for at in self.evidence.drifted:
            for call in self.asked:
                if call.secret and call.at < at + A_MOMENT:
                    yield call.secret, at

    def _may_be_without(self, last: Handed, at: datetime) -> bool:
        """A token does not outlive the process that asked for it."""
        born_since = any(last.answered < started < at for started in self.evidence.started)
        return born_since or super()._may_be_without(last, at)

    def _handed_out_ended(self) -> Iterator[str]:
        """By the issuer's clock, whatever keyman says of the end."""
        for one in self.evidence.handed:
            ends = self._ends.get(one.secret)
            if ends is not None and one.asked > ends:
                yield f"I1: version {one.version} was handed out after {ends:%H:%M:%S.%f}, its end"

    def _asked_without_need(self) -> Iterator[str]:
        """After a good answer the next one is asked for when due, or after a start or a wish."""
        evidence, wishes = self.evidence, self.evidence.wishes()
        handed_out: set[str | None] = set()
        for earlier, later in pairwise(self.asked):
            between = [call for call in self.log if earlier.number <= call.number < later.number]
            spoilt = any(call.fault not in (None, "delay") or not call.done for call in between)
            # An issuer may answer with the token of last time: that is no new one.
            spoilt = spoilt or earlier.secret in handed_out
            handed_out.add(earlier.secret)
            # What outlived its sender may land when the next owner has asked already.
            held_back = "delay" in (earlier.fault, later.fault)
            # And a wish may be taken down a second after it was sent, where lives share two cores.
            since = earlier.at - (LONGEST_DELAY if held_back else 2 * A_MOMENT)
            born = any(since < at < later.at for at in evidence.started)
            wished = any(since < at < later.at for at in wishes)
            if not (spoilt or born or wished or later.at - earlier.at >= self._due_after):
                yield f"T: [{later}] asks for a token without need, right after [{earlier}]"
