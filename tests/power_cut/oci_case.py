"""oci-genai: one API key with two slots at the sandbox of OCI."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.power_cut import weather
from tests.power_cut.case import Case, Rule, Targets
from tests.power_cut.cloud import MARK, Cloud
from tests.power_cut.oci_verdict import Change, OciJudge, strays
from tests.power_cut.people import People

BOUNDS_OFF = {"min_expiry_seconds": None, "max_expiry_days": None, "calls_per_minute": None}
CHANGES = ("CreateApiKey", "RenewApiKey", "SetApiKeyState", "UpdateApiKey")
READS = ("GetApiKey", "ListApiKeys")

# Months are seconds here, and what holds between them holds here too: a slot is filled again well
# before the secret in it expires, the second probe comes later than the slowest node hears of a
# change (0.3 s), and no call is held back for longer (3 s) than `late_after`.
POLICY = "{lifetime: 24s, rotate_before: 16s, overlap: 2500ms}"
PEACE = "{lifetime: 1h, rotate_before: 20m, overlap: 2500ms}"
SECTION = """\
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: ocid1.compartment.oc1..sandbox
    endpoint: {endpoint}
    base_url: {endpoint}/20231130/actions/v1
    auth: {{kind: config-file, file: {profile}, profile: DEFAULT}}
    verify: {{successes: 2, every: 400ms, within: 6s}}
    policy: {policy}
    late_after: 3500ms
"""


class OciCase(Case):
    kind: ClassVar[str] = "oci"
    name: ClassVar[str] = "genai"
    model: ClassVar[str] = "meta.llama-3.3-70b-instruct"
    wishes: ClassVar[Mapping[str, int]] = {
        "rotate": 30,
        "rollback": 14,
        "switch": 12,
        "reload": 8,
        "revoke": 7,
        "revoke now": 4,
        "revoke previous": 4,
        "drift": 25,
    }

    @staticmethod
    def arguments() -> list[str]:
        return ["--secret-prefix", f"sk-{MARK}-"]

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        cloud.ask("POST", "behaviour", BOUNDS_OFF)

    def aimed_at(self) -> Targets:
        return Targets(
            changes=("RenewApiKey", "RenewApiKey", "SetApiKeyState", "UpdateApiKey"),
            reads=("GetApiKey",),
            probe=("ChatCompletions", '"ping"'),
            endings=(*2 * [("SetApiKeyState", "REVOKED")], ("SetApiKeyState", "INACTIVE")),
        )

    def section(self, *, peaceful: bool = False) -> str:
        profile, policy = self.cloud.folder / "config", PEACE if peaceful else POLICY
        return SECTION.format(endpoint=self.cloud.url, profile=profile, policy=policy)

    def taken(self) -> set[str]:
        return {s["sha256"] for key in self._keys() for s in key["secrets"] if s["accepted"]}

    def _keys(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self.cloud.truth()["keys"]
        return keys

    def weather(self, dice: random.Random) -> list[Rule]:
        operations, busy = (*CHANGES, *READS, "*ApiKey*"), weather.BUSY
        return weather.spell(
            dice,
            (5, lambda: weather.control(dice, operations, busy)),
            (1, lambda: weather.slow(dice, READS)),
            (1, lambda: weather.inference(dice)),
        )

    def provoke(self, people: People, what: str, dice: random.Random) -> None:
        if what == "SetApiKeyState" and dice.random() < 0.6:
            people.switch()
        elif what == "REVOKED":
            people.revoke()
        else:
            people.rotate()

    def drift(self, dice: random.Random) -> bool:
        keys = [key for key in self._keys() if not key["deleted"]]
        if not keys:
            return False
        key = dice.choice(keys[-2:])
        action = dice.choice(("renew", "activate", "deactivate", "deactivate", "revoke"))
        slot = dice.choice([slot["keyName"] for slot in key["slots"]])
        self.cloud.act(action, key_id=key["id"], slot=slot)
        return True

    def judge(self) -> OciJudge:
        behaviour = self.cloud.ask("GET", "behaviour")
        return OciJudge(self.evidence, self.cloud.log(), behaviour)

    def not_as_the_cloud_has_it(self, status: dict[str, Any]) -> list[str]:
        keys, handed = self._keys(), self.evidence.handed[-1]
        home = next((key for key in keys if key["id"] == status["key_id"]), None)
        if home is None:
            return [f"{status['key_id']} is not a key of the cloud's"]
        said = []
        states = {slot["keyName"]: slot["state"] for slot in home["slots"]}
        shown = {slot["name"]: slot["state"] for slot in status["slots"]}
        if states != shown:
            said.append(f"I10: slots are {states}, shown as {shown}")
        current = (status["current"] or {}).get("slot")
        in_it = next((s["sha256"] for s in home["slots"] if s["keyName"] == current), None)
        if in_it != handed.secret:
            said.append(f"{current} does not hold what is handed out")
        return said + [f"{s[:8]} is still taken" for s in self._unexplained_strays(handed.secret)]

    def _unexplained_strays(self, current: str) -> set[str]:
        wanted_on = {order.slot for order in self.evidence.ordered if order.verb == "activate"}
        switched_on = {
            line["secret_before"]
            for line in self.cloud.log("SetApiKeyState")
            if line["wanted"] == "ACTIVE"
            and (line["actor"] == "console" or line["slot"] in wanted_on)
        }
        return strays(self.taken(), current, self.evidence) - switched_on

    def log_lines(self) -> list[str]:
        changes = (line for line in self.cloud.log() if line["operation"] != "GetApiKey")
        return [str(Change.read(line)) for line in changes]
