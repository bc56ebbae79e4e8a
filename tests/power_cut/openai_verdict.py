"""What must hold of an account's keys, judged from OpenAI's own log and list of them.

An orphan is a key that is alive and whose secret nobody has: its answer was lost, or whoever had it
died first, or it was given up. A key is known as long as it is in the store, or was handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.power_cut.case import Entry
from tests.power_cut.evidence import Evidence
from tests.power_cut.verdict import LONGEST_DELAY, OVERLAP, Fate, Judge

LOSES_THE_ANSWER = frozenset({"lost_after", "truncated", "garbage"})
AT_MOST = 1


def alive(key: dict[str, Any], at: datetime) -> bool:
    """Neither deleted nor past its end, whether or not all of the cloud has heard of it."""
    ended = key["expires_at"] is not None and at.timestamp() >= key["expires_at"]
    return not key["deleted"] and not ended


class OpenaiJudge(Judge):
    """One life's evidence beside the log and the keys that keyman made."""

    def __init__(
        self,
        evidence: Evidence,
        log: list[Entry],
        keys: list[dict[str, Any]],
        strangers: frozenset[str],
    ) -> None:
        self.log = log
        self.keys = keys
        self.strangers = strangers
        self._secrets = {key["id"]: key["sha256"] for key in keys}
        super().__init__(evidence, self._what_people_did(), overlap=OVERLAP)

    def broken(self) -> list[str]:
        return [
            *super().broken(),
            *self._cut_off(),
            *self._touched_strangers(),
            *self._made_elsewhere(),
            *self._too_many_orphans(),
        ]

    def _what_people_did(self) -> Iterator[Fate]:
        for call in self.log:
            if not call.ours and call.operation in ("DeleteApiKey", "UpdateApiKey"):
                yield self._secrets.get(call.target), call.at
        for key in self.keys:
            if key["expires_at"] is not None:
                yield key["sha256"], datetime.fromtimestamp(key["expires_at"], UTC)

    def _deletions(self) -> Iterator[Entry]:
        return (c for c in self.log if c.operation == "DeleteApiKey" and c.done)

    # I2 and I5.

    def _cut_off(self) -> Iterator[str]:
        """No key is deleted while clients may rely on it, but for a leak."""
        for call in self._deletions():
            secret = self._secrets.get(call.target)
            if not call.ours or secret is None or self.explained(secret, call.at):
                continue
            until = self.promised_until(secret, call.at)
            if until is not None and call.at < until:
                yield f"I2/I5: [{call}] ends what was promised until {until:%H:%M:%S.%f}"

    # Other people's keys.

    def _touched_strangers(self) -> Iterator[str]:
        for call in self.log:
            if call.ours and call.target in self.strangers and call.operation == "DeleteApiKey":
                yield f"S: [{call}] touches a key that is none of ours"

    def _made_elsewhere(self) -> Iterator[str]:
        for call in self.log:
            if not (call.ours and call.operation == "CreateApiKey" and call.done):
                continue
            if call.target not in self._secrets:
                yield f"S: [{call}] makes a key of another account"

    # Orphans.

    def _too_many_orphans(self) -> Iterator[str]:
        """Never two at a time, however the answers were lost."""
        spans = {call: self._orphaned(call) for call in self._made()}
        for span in spans.values():
            at_once = [
                other
                for other, theirs in spans.items()
                if span and theirs and theirs[0] <= span[0] < theirs[1]
            ]
            if len(at_once) > AT_MOST:
                yield f"O: {len(at_once)} orphans at once: {', '.join(map(str, at_once))}"

    def _made(self) -> Iterator[Entry]:
        return (c for c in self.log if c.operation == "CreateApiKey" and c.done and c.ours)

    def _orphaned(self, made: Entry) -> tuple[datetime, datetime] | None:
        """From when until when the key was alive with nobody who had its secret."""
        began, ended = self._unknown_from(made), self._ended(made)
        return (began, ended) if began and began < ended else None

    def _unknown_from(self, made: Entry) -> datetime | None:
        found = [one for one in self.evidence.found if one.at > made.at]
        known = [one for one in found if made.secret in one.stored]
        if not known and made.secret not in self.last_asked:
            if made.fault in LOSES_THE_ANSWER or self._landed_after_a_kill(made):
                return made.at
            return found[0].kill.at if found else None
        # Given up, or replaced: dropped from the store at some time.
        forgotten = (one.at for one in found if made.secret not in one.stored)
        return next((at for at in forgotten if at > known[-1].at), None) if known else None

    def _landed_after_a_kill(self, made: Entry) -> bool:
        sent_after = made.at - LONGEST_DELAY
        kills = (kill.at for kill in self.evidence.kills)
        return made.fault == "delay" and any(sent_after < at < made.at for at in kills)

    def _ended(self, made: Entry) -> datetime:
        key = next(key for key in self.keys if key["id"] == made.target)
        never = datetime.max.replace(tzinfo=UTC)
        gone = [call.at for call in self._deletions() if call.target == made.target]
        expires = key["expires_at"]
        return min([*gone, datetime.fromtimestamp(expires, UTC) if expires else never])
