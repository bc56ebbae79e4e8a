"""All the clouds at once, for a person who tries keyman out: a folder with a configuration in which
a credential of each kind has all it needs, what can be adopted, and where messages to people go.

    python3 -m keyman.sandbox --service all --profile-dir ./sandbox

Whatever was in the folder is left alone: one that was used before is refused, since the clouds of
that time are gone and keyman's home beside them would know of keys that nobody has.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.oci_genai import OciGenaiSandbox, system_now
from keyman.sandbox.openai import OpenAISandbox
from keyman.sandbox.profiles import write_private
from keyman.sandbox.server import Json, Reply, Request, Service, json_reply

CONFIGURATION, ADDRESSES = "config.yaml", "sandbox.json"
APPS, PARTNER = "apps", "partner"  # OpenAI's service accounts


class Mailbox(Service):
    """Takes messages as apprise's `json://` sends them, and shows them to whoever watches."""

    def answer(self, request: Request) -> Reply:
        said = request.json()
        lines = [str(said.get("title", "")), *str(said.get("message", "")).splitlines()]
        sys.stdout.write("\n".join([f"TOLD {lines[0]}", *(f"     {one}" for one in lines[1:]), ""]))
        sys.stdout.flush()
        return json_reply(200, {})


@dataclass
class Clouds:
    oci: OciGenaiSandbox
    google: GoogleSandbox
    openai: OpenAISandbox
    mailbox: Mailbox = field(default_factory=lambda: Mailbox(system_now))

    @property
    def addresses(self) -> Json:
        return {"oci": self.oci.url, "google": self.google.url, "openai": self.openai.url}


def used_before(folder: Path) -> str | None:
    """Why this folder can't be taken; None: it can."""
    if not (folder / CONFIGURATION).exists():
        return None
    return (
        f"{folder / CONFIGURATION} is there already: the clouds of that time are gone. "
        f"Name a folder that is new, or remove that one with all that is in it"
    )


def serve_all(clouds: Clouds, folder: Path, port: int, stack: ExitStack) -> str:
    """Start them, OCI's at `port` and the others behind it, and fill the folder.

    Returns what to tell the person.
    """
    ports = [port + number if port else 0 for number in range(4)]
    services = (clouds.oci, clouds.google, clouds.openai, clouds.mailbox)
    for service, at in zip(services, ports, strict=True):
        stack.enter_context(service.serve(at))
    ids = _fill(clouds, folder)
    write_private(folder / ADDRESSES, json.dumps(clouds.addresses | {"ids": ids}, indent=2))
    write_private(folder / CONFIGURATION, _configuration(clouds, ids))
    return _GUIDE.format(folder=folder, **ids, **clouds.addresses)


def _fill(clouds: Clouds, folder: Path) -> dict[str, str]:
    """Files to sign in with, and what was there before keyman: keys in use, and their secrets."""
    clouds.oci.make_profile(folder)
    clouds.google.files.service_account(folder / "google.json")
    clouds.openai.write_credentials(folder)
    api_key, secrets = clouds.oci.console.create("by_hand", clouds.oci.compartment)
    write_private(folder / "genai.secret", secrets["key-one"])
    made = {}
    for name in (APPS, PARTNER):
        account = clouds.openai.dashboard.create_account(name)["id"]
        key = clouds.openai.dashboard.create_key(account, "by_hand")
        made[name] = account, key["id"]
        file = {APPS: "openai-main.secret", PARTNER: "partner.secret"}[name]
        write_private(folder / file, key["value"])
    return {
        "api_key": api_key,
        "account": made[APPS][0],
        "openai_key": made[APPS][1],
        "partner": made[PARTNER][0],
    }


def _configuration(clouds: Clouds, ids: dict[str, str]) -> str:
    told = {
        "oci_base_url": clouds.oci.base_url,
        "google_base_url": clouds.google.base_url,
        "openai_base_url": clouds.openai.base_url,
        "mailbox": clouds.mailbox.url.replace("http://", "json://"),
        "project": clouds.openai.project,
        "compartment": clouds.oci.compartment,
    }
    return _CONFIG.format(**told, **clouds.addresses, **ids)


_CONFIG = """\
# A credential of each kind, for the clouds of this sandbox. Made anew with each of them.
# Spans are short, so that there is something to see; config.example.yaml has what is usual.
defaults:
  policy: {{overlap: 1m}}
  max_client_staleness: 20s
  observe_every: 30s
  retry: {{first: 1s, max: 30s}}
credentials:
  genai:                              # an API key of OCI that is in use: adopt it
    provider: oci-genai
    region: us-chicago-1
    compartment_id: {compartment}
    api_key_id: {api_key}
    endpoint: {oci}
    base_url: {oci_base_url}
    auth: {{kind: config-file, file: config}}
    late_after: 10s
  vertex:                             # hourly tokens of Google's
    provider: google
    project: sandbox-project
    location: us-central1
    base_url: {google_base_url}
    source: {{kind: service-account, file: google.json}}
    endpoints: {{token: "{google}", iam: "{google}", sts: "{google}"}}
  openai-main:                        # keys of a service account at OpenAI: adopt the one in use
    provider: openai
    admin_key: !file admin-key
    project_id: {project}
    service_account_id: {account}
    base_url: {openai_base_url}
    late_after: 10s
  partner:                            # a key that somebody brings: put it
    provider: static
    base_url: {openai_base_url}
    verify: {{get: /models}}
notify:                               # shown where the sandbox runs; needs keyman[notify]
- {{url: "{mailbox}", name: sandbox}}
"""

_GUIDE = """\
The clouds answer until Ctrl-C. In another terminal:

  export KEYMAN_CONFIG={folder}/config.yaml KEYMAN_HOME={folder}/home
  cat {folder}/genai.secret | keyman adopt genai --slot key-one
  cat {folder}/openai-main.secret | keyman adopt openai-main --key-id {openai_key}
  cat {folder}/partner.secret | keyman put partner
  keyman daemon

What keyman tells people is shown here. Break something, and mend it:

  python3 -m keyman.sandbox break {folder}
"""
