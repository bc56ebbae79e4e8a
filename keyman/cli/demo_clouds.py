"""The clouds that `keyman demo` runs against, and the configuration that points keyman at them.

One imitation for each vendor, in this process and over real HTTP; what is in the configuration is
what a user would write. The only file outside the tests that imports the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.oci_genai import OciGenaiSandbox
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.openai_behaviour import OpenAIBehaviour

BY_HAND = "partner"  # the credential whose secret a person puts in
CONFIG = """\
# Made by `keyman demo`: months and hours are seconds here.
log: {{level: warning}}
defaults:
  max_client_staleness: 1s
  observe_every: 2s
  retry: {{first: 0.2s, max: 2s}}
  policy: {{lifetime: 14s, rotate_before: 9s, overlap: 2s}}
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {oci.compartment}
    endpoint: {oci.url}
    base_url: {oci.base_url}
    auth: {{kind: config-file, file: {profile}, profile: DEFAULT}}
    verify: {{successes: 2, every: 0.2s, within: 8s}}
    late_after: 1s
  vertex:
    provider: google
    project: {google.project}
    location: {google.location}
    base_url: {google.base_url}
    source: {{kind: service-account, file: {account}}}
    endpoints: {{token: {google.url}/token}}
    policy: {{rotate_before: 4s}}
  openai-main:
    provider: openai
    admin_key: !file {admin_key}
    project_id: {openai.project}
    service_account_id: {service_account}
    base_url: {openai.base_url}
    verify: {{successes: 2, every: 0.2s, within: 8s}}
    late_after: 1s
  partner:
    provider: static
    base_url: {openai.base_url}
    verify: {{get: /models}}
"""
MODELS = {"vertex": "google/gemini-2.5-flash", "genai": "meta.llama-3.3-70b-instruct"}
USUAL_MODEL = "gpt-5"
TOKENS_LIVE = 10.0  # seconds


@dataclass(frozen=True)
class Clouds:
    oci: OciGenaiSandbox
    google: GoogleSandbox
    openai: OpenAISandbox
    by_hand: str  # what somebody copied out of a dashboard, to give it to keyman

    def configure(self, folder: Path) -> Path:
        """Write a configuration and the credentials that it names; returns its path."""
        account = self.openai.dashboard.create_account("keyman demo")["id"]
        config = folder / "config.yaml"
        config.write_text(
            CONFIG.format(
                oci=self.oci,
                google=self.google,
                openai=self.openai,
                profile=json.dumps(str(self.oci.make_profile(folder / "oci"))),
                account=json.dumps(
                    str(self.google.files.service_account(folder / "google" / "account.json"))
                ),
                admin_key=json.dumps(
                    str(self.openai.write_credentials(folder / "openai")["admin-key"])
                ),
                service_account=account,
            )
        )
        config.chmod(0o600)
        return config


@contextmanager
def clouds() -> Iterator[Clouds]:
    """Clouds that take a moment to hear of changes, as real ones do."""
    hears_late = Behaviour(new_secret_delay=0.3, activate_delay=0.2, deactivate_delay=0.2)
    with ExitStack() as served:
        oci = OciGenaiSandbox(behaviour=hears_late)
        google = GoogleSandbox(token_seconds=TOKENS_LIVE)
        openai = OpenAISandbox(behaviour=OpenAIBehaviour(new_key_delay=0.3))
        for sandbox in (oci, google, openai):
            served.enter_context(sandbox.serve())
        partner = openai.dashboard.create_account("partner")["id"]
        by_hand = openai.dashboard.create_key(partner, "by hand")["value"]
        yield Clouds(oci, google, openai, by_hand)
