"""`keyman check`: each thing that can be wrong is found, named by a code, and told apart."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keyman import checkup
from keyman.sandbox.oci_genai import OciGenaiSandbox
from tests.commands.shapes import FINDING, mistakes
from tests.commands.world import Cloud, Home, home, until


def found(place: Home) -> dict[str, tuple[str, str]]:
    """Code → (severity, where), from `check --json`; its exit status is checked on the way."""
    done = place.keyman("check", "--json")
    said: list[dict[str, Any]] = done.json["findings"]
    assert [mistake for one in said for mistake in mistakes(one, FINDING)] == []
    worst = any(one["severity"] == "error" for one in said)
    assert done.status == (1 if worst else 0)
    return {one["code"]: (one["severity"], f"{one['credential']}/{one['slot']}") for one in said}


def test_nothing_is_wrong(place: Home) -> None:
    """Only that the store's key lies beside it and that nobody is told is worth a word."""
    place.start()
    usual = ("info", "None/None")
    assert found(place) == {"key_beside_store": usual, "notify_empty": usual}


def test_before_the_first_start(place: Home) -> None:
    said = found(place)
    assert said["not_started"][0] == "info"
    assert said["will_create"] == ("info", "genai/None")


def test_not_adopted(place: Home, sky: Cloud) -> None:
    key, _ = sky.by_hand()
    place.configure(api_key_id=key)
    assert found(place)["not_adopted"] == ("warning", "genai/None")


def test_the_policy_is_missing(place: Home, sky: Cloud) -> None:
    place.start()
    sky.ask("POST", "policy", {"present": False})
    try:
        said = found(place)
    finally:
        sky.ask("POST", "policy", {"present": True})
    assert {"refused", "forbidden"} & said.keys()


def test_base_url_leads_nowhere(place: Home) -> None:
    place.start()
    place.edit("/20231130/actions/v1", "/elsewhere")
    assert found(place)["wrong_base_url"] == ("error", "genai/None")


def test_a_region_that_nobody_knows_is_a_warning(place: Home) -> None:
    place.edit("us-chicago-1", "sa-saopaulo-1")
    assert found(place)["unknown_region"] == ("warning", "genai/None")


def test_a_slot_expired(place: Home, sky: Cloud) -> None:
    key = place.start()
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    body = {"action": "renew", "key_id": key, "slot": "key-two", "expires": soon}
    sky.ask("POST", "drift", body)
    until(lambda: sky.states(key)["key-two"] == "EXPIRED")
    assert found(place)["slot_expired"] == ("warning", "genai/key-two")


def test_somebody_regenerated_the_current_secret(place: Home, sky: Cloud) -> None:
    key = place.start()
    place.edit("within: 120s", "within: 1ms")  # a picture is taken for the newest at once
    sky.console("renew", key, "key-one")
    said = found(place)
    assert said["drift"] == ("error", "genai/key-one")
    assert said["refused"] == ("error", "genai/key-one")


def test_somebody_revoked_the_current_slot(place: Home, sky: Cloud) -> None:
    key = place.start()
    sky.console("revoke", key, "key-one")
    assert found(place)["slot_revoked"] == ("warning", "genai/key-one")


def test_another_installation_drives_the_key(place: Home, sky: Cloud) -> None:
    key = place.start()
    known = sky.key(key)["freeformTags"]
    owner = next(tag for tag, value in known.items() if ":" in value)
    body = {"action": "tag", "key_id": key, "slot": None, "tags": {**known, owner: "elsewhere:7"}}
    sky.ask("POST", "drift", body)
    assert found(place)["other_owner"] == ("error", "genai/None")


def test_another_key_is_configured_than_the_one_in_use(place: Home, sky: Cloud) -> None:
    place.start()
    other, _ = sky.by_hand()
    place.configure(api_key_id=other)
    assert found(place)["other_key"] == ("warning", "genai/None")


def test_the_key_is_gone(place: Home, sky: Cloud) -> None:
    key = place.start()
    sky.ask("POST", "drift", {"action": "delete", "key_id": key})
    said = found(place)
    assert said.keys() & {"provider_failed", "no_such_slot", "drift"}


def test_no_room_for_another_key(sky: Cloud) -> None:
    """A tenancy may have a hundred."""
    sandbox = OciGenaiSandbox(key_limit=200)
    with in_process(sandbox) as place:
        for number in range(100):
            sandbox.console.create(f"key_{number}", sandbox.compartment)
        assert found(place)["key_limit"] == ("error", "genai/None")


def test_this_machines_clock_is_wrong(sky: Cloud) -> None:
    late = timedelta(minutes=10)

    def ahead() -> datetime:
        return datetime.now(UTC) + late

    with in_process(OciGenaiSandbox(now=ahead, signed_now=ahead)) as place:
        said = place.keyman("check", "--json").json["findings"]
    [one] = [one for one in said if one["code"] == "provider_failed"]
    assert "set this machine's clock" in one["hint"]


def test_the_store_is_sealed_with_another_key(place: Home) -> None:
    place.start()
    key = place.state / "store.key"
    key.write_text("A" * 43 + "=\n")
    assert found(place)["store_failed"] == ("error", "None/None")


def test_a_secret_is_not_in_the_store(place: Home) -> None:
    place.start()
    with place.open() as app:
        app.store.drop("genai", 1)
    assert found(place)["secret_missing"] == ("error", "genai/key-one")


def test_a_store_that_forgets(place: Home) -> None:
    place.environ["KEYMAN__STORE__KIND"] = "memory"
    place.start()
    said = found(place)
    assert said["store_forgets"][0] == "warning"
    assert "secret_missing" not in said


def test_a_standby_that_would_expire(place: Home) -> None:
    place.edit("rotate_before: 35d", "rotate_before: 10d")
    assert found(place)["standby_expires"] == ("warning", "genai/None")


def test_what_left_the_configuration(place: Home) -> None:
    place.start()
    place.edit("  genai:", "  other:")
    assert found(place)["left"] == ("info", "genai/None")


def test_no_credentials(place: Home) -> None:
    place.config.write_text("{}\n")
    assert found(place)["no_credentials"] == ("warning", "None/None")


def test_mistakes_of_the_configuration_are_findings_too(place: Home) -> None:
    place.edit("region:", "regoin:")
    place.edit("lifetime: 60d", "lifetime: 60")
    done = place.keyman("check", "--json")
    assert done.status == 2
    assert done.json["error"]["code"] == "config"
    said = done.json["findings"]
    assert [one["code"] for one in said] == ["config"] * len(said)
    assert any("did you mean region?" in one["message"] for one in said)
    assert any("config.yaml:12" in one["message"] for one in said)


@pytest.mark.parametrize(("version", "codes"), [((3, 51, 2), ["old_sqlite"]), ((3, 51, 3), [])])
def test_sqlite(version: tuple[int, ...], codes: list[str]) -> None:
    assert [one.code for one in checkup.of_sqlite(version)] == codes


HOSTILE = "\x1b]0;owned\x07 no \x9b2J\u202e\r\nkeyman: hint: run rm -rf ~"


class Rude(BaseHTTPRequestHandler):
    """Answers everything with a refusal whose words would drive a terminal."""

    def answer(self) -> None:
        body = json.dumps({"code": "NotAuthorized", "message": HOSTILE}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_what_a_provider_says_can_not_drive_the_terminal(place: Home) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place.edit(f"endpoint: {place.cloud.url}", f"endpoint: http://127.0.0.1:{server.server_port}")
    place.edit("first: 200ms", "first: 30s")
    place.edit("max: 2s", "max: 60s")
    try:
        said = [place.keyman(*w) for w in (("check",), ("check", "--json"), ("list",))]
        said += [place.run("daemon", "--once"), place.keyman("status", "genai")]
        said += [place.keyman("status", "--json")]
    finally:
        server.shutdown()
        server.server_close()
    text = "".join(one.out + one.err for one in said)
    assert "OCI refused" in text
    assert [mark for mark in "\x1b\x07\x9b\u202e\r" if mark in text] == []
    assert not any(line.startswith("keyman: hint: run rm") for line in text.splitlines())


@contextmanager
def in_process(sandbox: OciGenaiSandbox) -> Iterator[Home]:
    """A home whose cloud is of this test's own making."""
    with tempfile.TemporaryDirectory() as folder, sandbox.serve() as url:
        cloud = Cloud(url, Path(sandbox.make_profile(folder)))
        with home(cloud) as made:
            yield made
