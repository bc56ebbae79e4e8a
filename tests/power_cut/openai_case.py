"""openai: keys of one service account, beside keys that are none of this installation's business.

Those are somebody's own, another installation's for credentials of the same names, and one of
another account: whoever sweeps too widely deletes one of them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.power_cut import weather
from tests.power_cut.case import Case, Entry, Rule, Targets
from tests.power_cut.cloud import MARK, Cloud
from tests.power_cut.evidence import now
from tests.power_cut.openai_verdict import OpenaiJudge, alive
from tests.power_cut.people import People

CHANGES = ("CreateApiKey", "DeleteApiKey")
READS = ("ListApiKeys", "GetApiKey")
BOUNDS_OFF = {"keys_per_account": None, "admin_calls_per_minute": None}
STRANGERS = (
    "somebody's own",
    "keyman/5a5a5a5a5a5a/openai-main/1/abc",
    "keyman/5a5a5a5a5a5a/openai-main/999/abd",
    "keyman/5a5a5a5a5a5a/genai/2/abe",
)

# As for OCI: months are seconds. No call is held back for longer (3 s) than `late_after`. Keys are
# replaced after eight seconds; in most lives they would live on for long, so that one that was
# forgotten does not end by itself before anybody looks.
POLICIES = (
    "{lifetime: 24s, rotate_before: 16s, overlap: 2500ms}",
    *2 * ("{lifetime: 600s, rotate_before: 592s, overlap: 2500ms}",),
)
PEACE = "{lifetime: 1h, rotate_before: 20m, overlap: 2500ms}"
SECTION = """\
  openai-main:
    provider: openai
    admin_key: !file {admin_key}
    project_id: proj_sandbox
    service_account_id: {account}
    base_url: {url}/v1
    verify: {{successes: 2, every: 400ms, within: 6s}}
    policy: {policy}
    late_after: 3500ms
"""


class OpenaiCase(Case):
    kind: ClassVar[str] = "openai"
    name: ClassVar[str] = "openai-main"
    model: ClassVar[str] = "gpt-5"
    wishes: ClassVar[Mapping[str, int]] = {
        "rotate": 30,
        "rollback": 10,
        "reload": 8,
        "revoke": 7,
        "revoke now": 4,
        "revoke previous": 4,
        "drift": 20,
    }

    @staticmethod
    def arguments() -> list[str]:
        return ["--service", "openai", "--mark", MARK]

    def __init__(self, cloud: Cloud, policy: str) -> None:
        super().__init__(cloud)
        self._policy = policy
        cloud.ask("POST", "behaviour", BOUNDS_OFF)
        self.account: str = cloud.act("create_account", name="applications")["id"]
        elsewhere = cloud.act("create_account", name="another team")["id"]
        owners = [(self.account, name) for name in STRANGERS]
        owners.append((elsewhere, STRANGERS[1]))
        made = (cloud.act("create_key", account_id=owner, name=name) for owner, name in owners)
        self.strangers = frozenset(str(key["id"]) for key in made)

    def aimed_at(self) -> Targets:
        return Targets(
            changes=("CreateApiKey", "CreateApiKey", "DeleteApiKey"),
            reads=("ListApiKeys",),
            probe=("ListModels", ""),
            endings=(("DeleteApiKey", ""),),
        )

    def section(self, *, peaceful: bool = False) -> str:
        return SECTION.format(
            admin_key=self.cloud.folder / "admin-key",
            account=self.account,
            url=self.cloud.url,
            policy=PEACE if peaceful else self._policy,
        )

    def keys(self) -> list[dict[str, Any]]:
        """All that keyman ever made."""
        keys: list[dict[str, Any]] = self.cloud.truth()["keys"]
        mine = (key for key in keys if key["owner"] == self.account)
        return [key for key in mine if key["id"] not in self.strangers]

    def taken(self) -> set[str]:
        return {key["sha256"] for key in self.keys() if key["accepted"]}

    def weather(self, dice: random.Random) -> list[Rule]:
        operations, busy = (*CHANGES, *CHANGES, *READS, "*ApiKey*"), weather.BUSY
        return weather.spell(
            dice,
            (5, lambda: weather.control(dice, operations, busy)),
            (1, lambda: weather.slow(dice, READS)),
            (1, lambda: weather.inference(dice, ("ChatCompletions", "ListModels", "ListModels"))),
        )

    def provoke(self, people: People, what: str, dice: random.Random) -> None:
        if what == "DeleteApiKey" and dice.random() < 0.5:
            people.revoke()
        else:
            people.rotate()

    def drift(self, dice: random.Random) -> bool:
        """Somebody deletes a key in the dashboard, or lets it end."""
        living = [key for key in self.keys() if alive(key, now())]
        if not living:
            return False
        key = dice.choice(living[-2:])
        if dice.random() < 0.7:
            self.cloud.act("delete_key", key_id=key["id"])
        else:
            self.cloud.act("expire_key", key_id=key["id"], in_seconds=dice.choice((0, 3)))
        return True

    def judge(self) -> OpenaiJudge:
        log = [Entry.read(line) for line in self.cloud.log()]
        return OpenaiJudge(self.evidence, log, self.keys(), self.strangers)

    def not_as_the_cloud_has_it(self, status: dict[str, Any]) -> list[str]:
        current, at = self.evidence.handed[-1].secret, now()
        left = [key for key in self.keys() if alive(key, at) and key["sha256"] != current]
        return [f"{key['name']} ({key['sha256'][:8]}) is still alive" for key in left]

    def log_lines(self) -> list[str]:
        calls = (Entry.read(line) for line in self.cloud.log())
        return [str(call) for call in calls if call.operation != "ListApiKeys" or call.fault]
