"""Trouble for a person who tries keyman out: `python3 -m keyman.sandbox break FOLDER NAME HOW`.

Does what somebody at a console might do, or has a cloud refuse, through the doors of the sandboxes
that `trying.py` started; the folder says where they are. `mend` takes back what can be taken back.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyman.sandbox.google_files import SERVICE
from keyman.sandbox.profiles import write_private
from keyman.sandbox.server import Json
from keyman.sandbox.trying import ADDRESSES

DOORS_ANSWER_WITHIN = 10.0  # seconds
CHANGES = {  # the calls that keyman makes to change something
    "oci": ("CreateApiKey", "RenewApiKey", "SetApiKeyState", "UpdateApiKey"),
    "google": ("*Token",),
    "openai": ("CreateApiKey", "CreateServiceAccount", "DeleteApiKey"),
}


class Refused(Exception):
    """A door did not do it; the text says why."""


class Doors:
    """The doors of all clouds."""

    def __init__(self, folder: Path) -> None:
        try:
            said = json.loads((folder / ADDRESSES).read_text())
        except (OSError, ValueError):
            raise Refused(
                f"no sandbox was started with --service all --profile-dir {folder}"
            ) from None
        self._folder = folder
        self.ids: Json = said.pop("ids")
        self._addresses = said

    def ask(self, cloud: str, method: str, door: str, body: object = None) -> Any:
        where = urlsplit(self._addresses[cloud])
        connection = HTTPConnection(where.netloc, timeout=DOORS_ANSWER_WITHIN)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"/sandbox/{door}", data)
            answer = connection.getresponse()
            said = json.load(answer)
        except (OSError, ValueError):
            raise Refused("the sandbox does not answer: is it still running?") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(str(said.get("error", said)))
        return said

    def act(self, cloud: str, action: str, **more: object) -> None:
        self.ask(cloud, "POST", "drift", {"action": action, **more})

    def make_partner(self) -> None:
        """The next key of whoever hands them out by hand, in the file that held the first."""
        more = {"account_id": self.ids["partner"], "name": "by_hand"}
        made = self.ask("openai", "POST", "drift", {"action": "create_key", **more})
        write_private(self._folder / "partner.secret", made["value"])

    def refuse(self, cloud: str, status: int) -> None:
        rules = [{"effect": "status", "status": status, "operation": one} for one in CHANGES[cloud]]
        self.ask(cloud, "POST", "faults", rules)

    # What is in use by now: the newest, since keyman makes new ones.

    def api_key(self) -> Json:
        keys = [one for one in self.ask("oci", "GET", "truth")["keys"] if not one["deleted"]]
        key: Json = _last(keys, "no API key is left")
        return key

    def slot(self) -> dict[str, str]:
        key, counts = self.api_key(), self.ask("oci", "GET", "counts")["secrets"]
        on = {one["keyName"] for one in key["slots"] if one["state"] == "ACTIVE"}
        lives = [one for one in key["secrets"] if one["accepted"] and one["slot"] in on]
        # A key made by hand has two that live, of which only one was ever used.
        used = [one["slot"] for one in lives if counts.get(one["sha256"], {}).get("accepted")]
        slot = _last(used or [one["slot"] for one in lives], "no slot of the API key is on")
        return {"key_id": key["id"], "slot": slot}

    def openai_key(self, account: str) -> str:
        keys = [
            one["id"]
            for one in self.ask("openai", "GET", "truth")["keys"]
            if one["owner"] == self.ids[account] and not one["deleted"]
        ]
        return str(_last(keys, "no key of that account is left"))


def _last(found: list[Any], otherwise: str) -> Any:
    if not found:
        raise Refused(otherwise)
    return found[-1]


Break = Callable[[Doors], object]

WAYS: dict[str, dict[str, tuple[str, Break]]] = {
    "genai": {
        "off": (
            "somebody switches off the slot in use",
            lambda doors: doors.act("oci", "deactivate", **doors.slot()),
        ),
        "revoke": (
            "somebody revokes the slot in use, for good",
            lambda doors: doors.act("oci", "revoke", **doors.slot()),
        ),
        "renew": (
            "somebody regenerates the slot in use",
            lambda doors: doors.act("oci", "renew", **doors.slot()),
        ),
        "delete": (
            "somebody deletes the API key",
            lambda doors: doors.act("oci", "delete", key_id=doors.api_key()["id"]),
        ),
        "policy": (
            "the IAM policy is gone that lets keys call models",
            lambda doors: doors.ask("oci", "POST", "policy", {"present": False}),
        ),
        "refuse": (
            "OCI answers 500 to whatever changes a key",
            lambda doors: doors.refuse("oci", 500),
        ),
    },
    "vertex": {
        "disable": (
            "somebody disables the service account",
            lambda doors: doors.act("google", "disable_account", email=SERVICE),
        ),
        "revoke": (
            "somebody revokes the tokens that live",
            lambda doors: doors.act("google", "revoke_tokens", principal=SERVICE),
        ),
        "refuse": ("Google gives no tokens: 503", lambda doors: doors.refuse("google", 503)),
    },
    "openai-main": {
        "delete": (
            "somebody deletes the key in use",
            lambda doors: doors.act("openai", "delete_key", key_id=doors.openai_key("account")),
        ),
        "refuse": (
            "OpenAI answers 500 to whatever changes a key",
            lambda doors: doors.refuse("openai", 500),
        ),
    },
    "partner": {
        "delete": (
            "whoever issued the key deletes it",
            lambda doors: doors.act("openai", "delete_key", key_id=doors.openai_key("partner")),
        ),
        "new": (
            "whoever issues the key makes another: it is in partner.secret now",
            Doors.make_partner,
        ),
    },
}


def mend(doors: Doors) -> None:
    """What was deleted, revoked or renewed stays so: keyman, or a person, makes another one."""
    for cloud in ("oci", "google", "openai"):
        doors.ask(cloud, "DELETE", "faults")
    doors.ask("oci", "POST", "policy", {"present": True})
    doors.act("google", "enable_account", email=SERVICE)


def main(arguments: list[str]) -> int:
    """Break or mend; the exit status."""
    options = _parser().parse_args(arguments)
    ways = WAYS.get(options.name or "", {})
    if options.name != "mend" and options.how not in ways:
        sys.stdout.write(_listed({options.name: ways} if ways else WAYS))
        return 2 if options.name else 0
    try:
        doors = Doors(options.folder)
        if options.name == "mend":
            mend(doors)
            said = "nothing is refused any more"
        else:
            said, act = ways[options.how]
            act(doors)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


def _listed(ways: dict[str, dict[str, tuple[str, Break]]]) -> str:
    lines = [
        f"{name:12} {how:8} {said}\n"
        for name, each in ways.items()
        for how, (said, _) in each.items()
    ]
    return "".join([*lines, f"{'mend':21} take back what can be taken back\n"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keyman.sandbox break", description=__doc__)
    parser.add_argument("folder", type=Path, help="the --profile-dir of that sandbox")
    parser.add_argument("name", nargs="?", help="a credential of its configuration, or mend")
    parser.add_argument("how", nargs="?", help="nothing: list the ways")
    return parser
