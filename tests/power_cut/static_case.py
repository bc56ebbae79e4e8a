"""static: secrets that people bring, of an account at OpenAI's sandbox that nobody manages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from tests.power_cut import weather
from tests.power_cut.case import Case, Entry, Rule, Targets
from tests.power_cut.cloud import MARK, Cloud
from tests.power_cut.evidence import Evidence, Found, Handed, Put, now
from tests.power_cut.outside import Resting
from tests.power_cut.people import People
from tests.power_cut.verdict import Judge

SECTION = """\
  partner:
    provider: static
    base_url: {url}/v1
    policy: {{rotate_before: 1s}}
"""
ALL_HAVE_HEARD = timedelta(seconds=0.5)
CARRIED_WITHIN = timedelta(seconds=20)  # by which the one before is handed out again
KEPT_BEHIND = 1  # version, beside the one that was promoted last
PROBED = "    verify: {get: /models}\n"


class StaticCase(Case):
    """`probed`: the configuration says where a good secret is accepted."""

    kind: ClassVar[str] = "static"
    name: ClassVar[str] = "partner"
    model: ClassVar[str] = "gpt-5"
    wishes: ClassVar[Mapping[str, int]] = {"put": 40, "rollback": 5, "reload": 8, "drift": 20}

    @staticmethod
    def arguments() -> list[str]:
        return ["--service", "openai", "--mark", MARK]

    def __init__(self, cloud: Cloud, *, probed: bool) -> None:
        self.probed = probed
        super().__init__(cloud)
        self.account: str = cloud.act("create_account", name="partner")["id"]
        self._made = 0
        self._spells: list[tuple[datetime, bool]] = []  # from when on, and whether probes fail

    def aimed_at(self) -> Targets:
        return Targets(probe=("ListModels", "") if self.probed else None)

    def section(self, *, peaceful: bool = False) -> str:
        return SECTION.format(url=self.cloud.url) + (PROBED if self.probed else "")

    def _keys(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self.cloud.truth()["keys"]
        return [key for key in keys if key["owner"] == self.account]

    def taken(self) -> set[str]:
        return {key["sha256"] for key in self._keys() if key["accepted"]}

    def weather(self, dice: random.Random) -> list[Rule]:
        operations = ("ChatCompletions", "ListModels") if self.probed else ("ChatCompletions",)
        rules = weather.spell(dice, (1, lambda: weather.inference(dice, operations)))
        self._spells.append((now(), bool(rules)))
        return rules

    def provoke(self, people: People, what: str, dice: random.Random) -> None:
        people.put_beside()

    def fresh_secret(self) -> str:
        """Made a moment ago: nobody hands on what its maker does not yet take."""
        self._made += 1
        made = self.cloud.act("create_key", account_id=self.account, name=f"by hand {self._made}")
        time.sleep(ALL_HAVE_HEARD.total_seconds())
        return str(made["value"])

    def drift(self, dice: random.Random) -> bool:
        """Where it came from, somebody ends the one in use, or an old one."""
        living = [key for key in self._keys() if not key["deleted"]]
        if living:
            self.cloud.act("delete_key", key_id=dice.choice(living[-2:])["id"])
        return bool(living)

    def _over_and_taken(self, resting: Resting, taken: set[str], at: datetime) -> dict[int, str]:
        """Keyman ends nothing here: what it takes for over may well be taken."""
        return {}

    def judge(self) -> StaticJudge:
        log = [Entry.read(line) for line in self.cloud.log()]
        return StaticJudge(self.evidence, log, self._keys(), self._probed_well)

    def _probed_well(self, since: datetime, until: datetime) -> bool:
        """Was every probe answered as the cloud meant it?"""
        before = [failing for at, failing in self._spells if at <= since]
        meanwhile = any(since < at < until for at, _ in self._spells)
        return self.probed and not meanwhile and not before[-1]


class StaticJudge(Judge):
    """`probed_well(since, until)`: did keyman's probes get the cloud's own answers then?"""

    def __init__(
        self,
        evidence: Evidence,
        log: list[Entry],
        keys: list[dict[str, Any]],
        probed_well: Callable[[datetime, datetime], bool],
    ) -> None:
        secrets = {key["id"]: key["sha256"] for key in keys}
        self._ended = {
            secrets[call.target]: call.at
            for call in log
            if call.operation == "DeleteApiKey" and call.target in secrets
        }
        self._probed_well = probed_well
        ends = ((one.secret, one.ends) for one in evidence.put if one.ends)
        super().__init__(evidence, [*self._ended.items(), *ends], overlap=None)

    def broken(self) -> list[str]:
        return [
            *super().broken(),
            *self._forgotten(),
            *self._went_back(),
            *self._not_what_was_put(),
            *self._dead_again(),
        ]

    def _may_be_without(self, last: Handed, at: datetime) -> bool:
        """Also if what was put after that came to its end just now, before anybody was given it."""
        return super()._may_be_without(last, at) or any(
            one.ends is not None
            and last.asked < one.ends <= at < one.ends + CARRIED_WITHIN
            and self._may_be_newer(one, last)
            and not any(later.at > one.at and self._lives(later, at) for later in self.evidence.put)
            for one in self.evidence.put
        )

    def _may_be_newer(self, put: Put, last: Handed) -> bool:
        if put.answered is None:
            return True
        return put.version is not None and put.answered > last.asked

    def _lives(self, put: Put, at: datetime) -> bool:
        """It was taken, and there is no reason not to hand it out."""
        taken = put.version is not None and put.answered is not None and put.answered < at
        return taken and (put.ends is None or put.ends > at)

    # I3 and I8: what somebody was told was taken is there from then on.

    def _forgotten(self) -> Iterator[str]:
        for found in self.evidence.found:
            told = [(v, s, at) for v, s, at in self._taken() if at < found.kill.at]
            if not told:
                continue
            version, secret, since = max(told)
            if self._pushed_out(version, since, found):
                continue
            if secret not in found.stored and not self.explained(secret, found.at):
                yield f"I3: version {version} was put, and is not there after [{found.kill}]"

    def _pushed_out(self, version: int, since: datetime, found: Found) -> bool:
        """By later ones that the journal has, and that people may have brought: puts whose answer
        was lost, what a rollback or somebody's end of a secret brought back.
        """
        if found.latest is None or found.latest <= version + KEPT_BEHIND:
            return False
        puts = (one.at for one in self.evidence.put if one.version is None)
        rollbacks = (one.at for one in self.evidence.ordered if one.verb == "rollback")
        brought = (*puts, *rollbacks, *self._ended.values())
        return sum(since < at < found.at for at in brought) > KEPT_BEHIND

    def _went_back(self) -> Iterator[str]:
        for version, _, told in self._taken():
            later = (one for one in self.evidence.handed if one.asked > told)
            older = next((one for one in later if one.version < version), None)
            if older:
                yield f"I8: version {older.version} was handed out after {version} was put"

    def _taken(self) -> Iterator[tuple[int, str, datetime]]:
        """The puts that keyman said were taken: version, secret, and when it said so."""
        for one in self.evidence.put:
            if one.version is not None and one.answered is not None:
                yield one.version, one.secret, one.answered

    def _not_what_was_put(self) -> Iterator[str]:
        brought = {one.secret for one in self.evidence.put}
        told = {version: secret for version, secret, _ in self._taken()}
        for version, secret in self.evidence.digests().items():
            if secret not in brought or told.get(version, secret) != secret:
                yield f"I3: version {version} is not the secret that was put"

    # I1: what was reported, and is dead, is handed out no more.

    def _dead_again(self) -> Iterator[str]:
        for report in self.evidence.reported:
            ended = self._ended.get(report.secret)
            if ended is None or report.at < ended + ALL_HAVE_HEARD or report.answered is None:
                continue
            if not self._probed_well(report.at, report.answered):
                continue
            later = (one for one in self.evidence.handed if one.asked > report.answered)
            again = next((one for one in later if one.version == report.version), None)
            if again:
                yield (
                    f"I1: version {again.version} was handed out at {again.asked:%H:%M:%S.%f},"
                    f" reported as refused at {report.at:%H:%M:%S.%f}"
                )
                return
