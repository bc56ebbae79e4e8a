"""google: access tokens that live for seconds, asked for in one of four ways.

Keyman keeps them in memory only, so after a kill there is none, and the home must hold no trace of
one, nor of what they are asked for with.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from tests.power_cut import weather
from tests.power_cut.case import Case, Entry, Rule, Targets
from tests.power_cut.cloud import MARK, Cloud
from tests.power_cut.evidence import Found, Kill, now
from tests.power_cut.google_verdict import GoogleJudge
from tests.power_cut.outside import Resting
from tests.power_cut.people import People

TOKENS_LIVE = 8.0  # seconds
NO_QUOTA_PROJECT = {"user_needs_quota_project": False}  # applications here name none
LONG = 3600.0
TARGET = "target@sandbox-project.iam.gserviceaccount.com"
SERVICE = "{{kind: service-account, file: {folder}/service-account.json}}"
SOURCES = {
    "service-account": ("AssertionToken", SERVICE),
    "authorized-user": ("RefreshToken", "{{kind: authorized-user, file: {folder}/{kind}.json}}"),
    "external-account": (
        "GenerateAccessToken",
        "{{kind: external-account, file: {folder}/{kind}.json}}",
    ),
    "impersonate": (
        "GenerateAccessToken",
        "{{kind: impersonate, target: {target}, from: {who}}}",
    ),
}
SECTION = """\
  vertex:
    provider: google
    project: sandbox-project
    location: us-central1
    base_url: {url}/v1/projects/sandbox-project/locations/us-central1/endpoints/openapi
    source: {source}
    endpoints: {{token: {url}/token, iam: {url}, sts: {url}}}
    policy: {{rotate_before: {before}}}
"""
REFRESHED_BEFORE = 3.0  # seconds
KEYS_OWN_LINES = 8  # so many lines of a private key are looked for


class GoogleCase(Case):
    kind: ClassVar[str] = "google"
    name: ClassVar[str] = "vertex"
    revokes: ClassVar[bool] = False
    model: ClassVar[str] = "google/gemini-2.5-flash"
    wishes: ClassVar[Mapping[str, int]] = {
        "rotate": 25,
        "rollback": 2,
        "reload": 8,
        "revoke": 7,
        "revoke now": 4,
        "drift": 15,
    }
    may_be_kept: ClassVar[float] = 2.0
    heard_within: ClassVar[float] = 3.5  # a token is said to end up to three seconds before it does

    @staticmethod
    def arguments() -> list[str]:
        return ["--service", "google", "--mark", MARK, "--token-seconds", str(TOKENS_LIVE)]

    def __init__(self, cloud: Cloud, source: str) -> None:
        self.source, self.asks = source, SOURCES[source][0]
        super().__init__(cloud)
        cloud.ask("POST", "behaviour", NO_QUOTA_PROJECT)
        self._peace = datetime.max.replace(tzinfo=UTC)

    def aimed_at(self) -> Targets:
        return Targets(changes=(self.asks,), reads=(self.asks,), fleeting="*Token")

    def section(self, *, peaceful: bool = False) -> str:
        folder = self.cloud.folder
        who = SERVICE.format(folder=folder)
        about = {"folder": folder, "kind": self.source, "target": TARGET, "who": who}
        source = SOURCES[self.source][1].format(**about)
        before = "10m" if peaceful else f"{REFRESHED_BEFORE:.0f}s"
        return SECTION.format(url=self.cloud.url, source=source, before=before)

    def make_peace(self) -> None:
        self._peace = now()
        self.cloud.ask("POST", "token_seconds", {"seconds": LONG})

    def taken(self) -> set[str]:
        return {token["sha256"] for token in self.cloud.truth()["tokens"]}

    def weather(self, dice: random.Random) -> list[Rule]:
        return weather.spell(
            dice,
            (5, lambda: weather.control(dice, ("*Token",))),
            (1, lambda: weather.slow(dice, ("*Token",))),
            (1, lambda: weather.inference(dice)),
        )

    def provoke(self, people: People, what: str, dice: random.Random) -> None:
        people.rotate()

    def drift(self, dice: random.Random) -> bool:
        """Somebody takes back all tokens there are."""
        tokens = self.cloud.truth()["tokens"]
        for principal in {token["principal"] for token in tokens}:
            self.cloud.act("revoke_tokens", principal=principal)
        return bool(tokens)

    def judge(self) -> GoogleJudge:
        log = [Entry.read(line) for line in self.cloud.log()]
        return GoogleJudge(
            self.evidence,
            log,
            self.asks,
            life=TOKENS_LIVE,
            lead=REFRESHED_BEFORE,
            peace=self._peace,
        )

    def inspect(self, kill: Kill, resting: Resting | None) -> None:
        """No token rests anywhere: the store has none, and the record says so of none."""
        if resting is None:
            return
        if resting.secrets:
            self.evidence.said.append(f"I9: the store holds {len(resting.secrets)} tokens, {kill}")
        versions = resting.record.versions
        begun = sum(v.stage in ("requested", "pending") for v in versions)
        self.evidence.found.append(Found(kill, now(), open_versions=begun))

    def not_as_the_cloud_has_it(self, status: dict[str, Any]) -> list[str]:
        return [] if status["current"] else ["nothing is current"]

    def needles(self) -> set[bytes]:
        """Tokens, and what they are asked for with: keys, refresh tokens, client secrets."""
        found = {f"{MARK}-".encode()}
        for path in self.cloud.folder.glob("*.json"):
            info = json.loads(path.read_text())
            for part in (info, info.get("source_credentials", {})):
                lines = part.get("private_key", "").splitlines()[1:-1]
                found |= {line.encode() for line in lines[:KEYS_OWN_LINES]}
        return found
