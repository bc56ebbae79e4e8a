"""The invariants that hold for every kind, judged from what clients were handed and met.

Never from what keyman says of itself. A lookup is the proof that a secret was current at some
instant after it was asked; so nothing of ours may end that secret before the overlap, counted from
there, is over. What each kind adds, judged from its cloud's own log, is in the file named after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from tests.power_cut.evidence import Evidence, Handed

A_MOMENT = timedelta(seconds=1)  # what was sent before a person acted may land after it
LONGEST_DELAY = timedelta(seconds=3.2)
OVERLAP = timedelta(seconds=2.5)
# From the time that a promotion's record bears until every lookup is answered by it: far more than
# it takes, for a machine on which three lives at a time, and other work, wait for two cores.
PUBLISHED_WITHIN = timedelta(milliseconds=200)

Fate = tuple[str | None, datetime]


class Judge:
    """One credential's evidence, and from when on a secret may be dead without keyman's fault.

    `fates` come from the cloud: a person's act, its own age. A leak and the expiry that lookups
    tell are added here. `overlap` None: keyman can end nothing, so nothing ever may end early.
    """

    def __init__(
        self, evidence: Evidence, fates: Iterable[Fate], *, overlap: timedelta | None
    ) -> None:
        self.evidence = evidence
        self._overlap = overlap
        self._fates: dict[str, datetime] = {}
        self._asked: dict[str, list[datetime]] = {}
        for one in sorted(evidence.handed, key=lambda one: one.asked):
            self._asked.setdefault(one.secret, []).append(one.asked)
        self.last_asked = {secret: asked[-1] for secret, asked in self._asked.items()}
        told = [(one.secret, one.expires_at) for one in evidence.handed if one.expires_at]
        leaks = [(order.leaked, order.at) for order in evidence.ordered]
        for secret, at in (*fates, *leaks, *told):
            if secret is not None:
                self._fates[secret] = min(at, self._fates.get(secret, at))

    def broken(self) -> list[str]:
        """Every invariant that did not hold, in words."""
        return [
            *self.evidence.said,
            *self._handed_out_dead(),
            *self._handed_out_expired(),
            *self._nothing_to_hand_out(),
            *self._versions_went_back(),
            *self._one_secret_a_version(),
            *self._not_durable(),
            *self._strangers_ahead(),
        ]

    # What excuses keyman.

    def explained(self, secret: str, at: datetime) -> bool:
        return secret in self._fates and self._fates[secret] <= at

    @property
    def explained_refusals(self) -> int:
        return sum(
            call.status == 401 and self.explained(call.secret, call.ended)
            for call in self.evidence.called
        )

    def promised_until(self, secret: str, at: datetime) -> datetime | None:
        """Until when a secret that was handed out by then must work, as far as clients can know.

        What comes later is another promise: a rollback brings back what had its overlap.
        """
        asked = self._asked.get(secret, [])
        before = bisect_right(asked, at)
        if not before:
            return None
        if self._overlap is None:
            return datetime.max.replace(tzinfo=at.tzinfo)
        return asked[before - 1] + self._overlap - PUBLISHED_WITHIN

    # I1 and I5, as clients meet them.

    def _handed_out_dead(self) -> Iterator[str]:
        for call in self.evidence.called:
            if call.status not in (401, 403) or self.explained(call.secret, call.ended):
                continue
            until = self.promised_until(call.secret, call.ended)
            if until is not None and call.ended <= until:
                yield (
                    f"I1/I5: {call.client} was answered {call.status} at"
                    f" {call.ended:%H:%M:%S.%f} with {call.secret[:8]}, good until"
                    f" {until:%H:%M:%S.%f} at least"
                )

    def _handed_out_expired(self) -> Iterator[str]:
        for one in self.evidence.handed:
            if one.expires_at is not None and one.asked > one.expires_at:
                late = (one.asked - one.expires_at).total_seconds()
                yield f"I1: version {one.version} was handed out {late:.2f} s after its end"

    def _nothing_to_hand_out(self) -> Iterator[str]:
        """From the first secret on there is always one, but for what came from outside."""
        answers = sorted(self.evidence.handed, key=lambda one: one.answered)
        done: int = 0
        for one in sorted(self.evidence.nothing, key=lambda one: one.asked):
            while done < len(answers) and answers[done].answered < one.asked:
                done += 1
            last = answers[done - 1] if done else None
            if last is not None and not self._may_be_without(last, one.answered):
                yield f"I1: {one.client} got nothing at {one.answered:%H:%M:%S.%f}: {one.why}"

    def _may_be_without(self, last: Handed, at: datetime) -> bool:
        return (
            self.explained(last.secret, at)
            or self._store_was_away(at)
            or any(
                last.answered < order.at < at and order.leaked not in self._handed_by(order.at)
                for order in self.evidence.ordered
                if order.leaked and order.body.get("now")  # at once, whatever that leaves
            )
        )

    def _store_was_away(self, at: datetime) -> bool:
        """A daemon that could not read it since its start has nothing, and says so."""
        started = max((one for one in self.evidence.started if one <= at), default=at)
        return any(started <= one <= at for one in self.evidence.broke)

    def _handed_by(self, at: datetime) -> set[str]:
        return {one.secret for one in self.evidence.handed if one.answered < at}

    # I8.

    def _versions_went_back(self) -> Iterator[str]:
        """Whoever asks after another one was answered gets that version or a newer one."""
        answers = sorted(self.evidence.handed, key=lambda one: one.answered)
        questions = sorted(self.evidence.handed, key=lambda one: one.asked)
        done, highest = 0, 0
        for one in questions:
            while done < len(answers) and answers[done].answered < one.asked:
                highest = max(highest, answers[done].version)
                done += 1
            if one.version < highest:
                yield f"I8: {one.client} got version {one.version} after {highest}"

    def _one_secret_a_version(self) -> Iterator[str]:
        secrets: dict[int, set[str]] = defaultdict(set)
        for one in self.evidence.handed:
            secrets[one.version].add(one.secret)
        for version, found in secrets.items():
            if len(found) > 1:
                yield f"I8: version {version} was {len(found)} different secrets"

    # I3.

    def _not_durable(self) -> Iterator[str]:
        for found in self.evidence.found:
            if found.open_versions > 1:
                yield f"I4: {found.open_versions} rotations in flight after [{found.kill}]"
            if found.not_kept:
                yield f"I3: the store lacks versions {found.not_kept}, after [{found.kill}]"
            for number, secret in found.still_on.items():
                if not self.switched_on(secret):
                    yield (
                        f"I7: version {number} is recorded as over, and the cloud takes it,"
                        f" after [{found.kill}]"
                    )
            if found.current is None:
                continue
            if found.secret is None:
                yield f"I3: version {found.current} is current, its secret is gone: [{found.kill}]"
            elif not found.accepted and not self.explained(found.secret, found.at):
                yield f"I3: version {found.current} is current and refused, after [{found.kill}]"

    def _strangers_ahead(self) -> Iterator[str]:
        for one in self.evidence.shown:
            if one.secret is not None and not one.promoted:
                yield (
                    f"P: strangers got {one.secret[:8]} from {one.store} at"
                    f" {one.at:%H:%M:%S.%f}, which was not current before"
                )

    def switched_on(self, secret: str) -> bool:
        """Did anybody want it on again?"""
        return False


def rotations(handed: list[Handed]) -> int:
    return max(len({one.version for one in handed}) - 1, 0)
