"""`keyman check` on a key of OCI's: each answer to what people ask most, where it is so.

That none of them appears in a sound setup is in test_check.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keyman import checkup
from keyman.app import App
from keyman.checkup import Finding
from keyman.core.model import OrderKind
from keyman.desk import Wish
from keyman.once import do_what_is_due
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.oci_genai import OciGenaiSandbox
from tests.commands.test_check import found, in_process
from tests.commands.world import Cloud, Home

QUICKLY = ("within: 120s", "within: 300ms")


@pytest.fixture
def sandbox() -> OciGenaiSandbox:
    return OciGenaiSandbox()


@pytest.fixture
def own(sandbox: OciGenaiSandbox) -> Iterator[Home]:
    """A home whose cloud may be changed from here, as nobody else looks at it."""
    with in_process(sandbox) as made:
        yield made


def said(place: Home, code: str) -> dict[str, Any]:
    [one] = [one for one in place.keyman("check", "--json").json["findings"] if one["code"] == code]
    return dict(one)


def of_configuration(place: Home) -> dict[str, Finding]:
    return {one.code: one for one in checkup.of_configuration(place.settings)}


# Where inference is.


def test_nobody_answers_at_base_url(place: Home) -> None:
    there, nowhere = f"base_url: {place.cloud.url}", "base_url: http://127.0.0.1:9"
    place.edit(there, nowhere)
    assert found(place)["unreachable"] == ("warning", "genai/None")
    place.edit(nowhere, there)
    place.start()
    place.edit(there, nowhere)
    assert found(place)["unreachable"] == ("error", "genai/None")
    assert "nobody answers there" in said(place, "unreachable")["message"]


def test_base_url_is_looked_at_before_there_is_a_key(place: Home) -> None:
    place.edit("/20231130/actions/v1", "/20231130")
    assert found(place)["wrong_base_url"] == ("warning", "genai/None")
    assert "/20231130/actions/v1" in said(place, "wrong_base_url")["hint"]


@pytest.mark.parametrize(
    ("base_url", "codes"),
    [
        ("https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/v1", []),
        ("https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/openai/v1", []),
        (
            "https://inference.generativeai.eu-frankfurt-1.oci.oraclecloud.com/openai/v1",
            ["other_region"],
        ),
        ("https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/v1", ["odd_path"]),
        ("https://api.openai.com/v1", ["strange_host"]),
    ],
)
def test_an_address_that_can_not_be_right(place: Home, base_url: str, codes: list[str]) -> None:
    place.edit(f"base_url: {place.cloud.url}/20231130/actions/v1", f"base_url: {base_url}")
    assert list(of_configuration(place)) == codes


def test_the_nearest_region_is_named(place: Home) -> None:
    place.edit("us-chicago-1", "us-chicago1")
    assert "(us-chicago-1 is)" in of_configuration(place)["unknown_region"].message
    place.edit("us-chicago1", "xx-nowhere-9")
    assert " is)" not in of_configuration(place)["unknown_region"].message


# Why a secret is refused.


def test_the_policy_is_missing_or_younger_than_the_key(own: Home, sandbox: OciGenaiSandbox) -> None:
    """Where that is a 401, as for a secret that nobody knows."""
    own.start()
    sandbox.behaviour = Behaviour(policy_missing_status=401)
    sandbox.set_policy(present=False)
    assert found(own)["policy_missing"] == ("error", "genai/key-one")
    hint = said(own, "policy_missing")["hint"]
    assert "keyman policy genai" in hint
    assert "--new-key" in hint


def test_where_the_previous_secret_works_the_policy_is_not_to_blame(
    own: Home, sandbox: OciGenaiSandbox
) -> None:
    own.start()
    with own.open() as app:
        app.desk.order("genai", Wish(OrderKind.ROTATE))
        do_what_is_due(app)
    [key] = sandbox.cloud.keys.values()
    slot = next(slot for slot in key.slots if slot.name == "key-two")
    slot.secret.acceptance.decide(accepted=False, now=sandbox.now(), delay=0.0)
    assert found(own)["refused"] == ("error", "genai/key-two")
    assert "keyman rollback genai" in said(own, "refused")["hint"]


# What keeps a rotation from going on.


def test_an_overlap_runs(place: Home) -> None:
    place.start()
    assert place.keyman("rotate", "genai").status == 0
    assert found(place)["overlap_runs"] == ("info", "genai/key-one")
    assert "--version 1" in said(place, "overlap_runs")["hint"]


def test_a_rotation_fails(place: Home) -> None:
    place.start()
    with place.cloud.fault(effect="status", status=503, operation="RenewApiKey"):
        assert place.keyman("rotate", "genai", "--timeout", "300ms").status == 7
        one = said(place, "failing")
    assert (one["severity"], one["credential"]) == ("warning", "genai")
    assert "503" in one["message"]


def test_new_versions_come_to_nothing(own: Home, sandbox: OciGenaiSandbox) -> None:
    """As they do where a policy is missing from the beginning."""
    own.edit(*QUICKLY)
    own.edit("max: 2s", "max: 1h")
    sandbox.behaviour = Behaviour(policy_missing_status=401)
    sandbox.set_policy(present=False)
    with own.open() as app:
        app.drive("genai", timedelta(seconds=20), lambda: given_up(app) >= 3)
    assert found(own)["gave_up"] == ("error", "genai/None")
    assert "keyman policy genai" in said(own, "gave_up")["hint"]


def given_up(app: App) -> int:
    record, _ = app.journal.load(app.rotator.managed["genai"].spec)
    return sum(version.given_up is not None for version in record.versions)


def test_no_slot_can_be_filled_any_more(own: Home, sandbox: OciGenaiSandbox) -> None:
    key = own.start()
    sandbox.behaviour = Behaviour(renew_revoked=409)
    sandbox.console.set_state(key, "key-two", "REVOKED")
    own.edit("  genai:", "  genai:\n    # looked at anew")
    assert own.keyman("rotate", "genai", "--timeout", "5s").status != 0
    assert found(own)["no_slot"] == ("error", "genai/None")
    assert said(own, "no_slot")["hint"] == "keyman rotate genai --new-key"


# The key.


def test_the_key_was_deleted_and_is_still_shown(own: Home, sandbox: OciGenaiSandbox) -> None:
    key = own.start()
    sandbox.behaviour = Behaviour(deleted_key="DELETED")
    sandbox.console.delete(key)
    assert found(own)["key_state"] == ("error", "genai/None")


def test_somebody_removed_the_tags(place: Home, sky: Cloud) -> None:
    key = place.start()
    sky.ask("POST", "drift", {"action": "tag", "key_id": key, "slot": None, "tags": {}})
    assert found(place)["mark_gone"] == ("warning", "genai/None")
    assert place.keyman("rotate", "genai").status == 0
    assert "mark_gone" not in found(place), "the next owner marks it again"


def test_no_room_for_another_key_beside_the_one_in_use(own: Home, sandbox: OciGenaiSandbox) -> None:
    own.start()
    sandbox.cloud.key_limit = 200
    for number in range(99):
        sandbox.console.create(f"key_{number}", sandbox.compartment)
    assert found(own)["key_limit"] == ("warning", "genai/None")


# The clock.


@pytest.mark.parametrize(
    ("seconds", "severity"), [(30, None), (90, "warning"), (-90, "warning"), (600, "error")]
)
def test_this_machines_clock_beside_theirs(seconds: int, severity: str | None) -> None:
    def theirs() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    with in_process(OciGenaiSandbox(now=theirs, signed_now=theirs)) as place:
        codes = found(place)
        assert codes.get("clock_skew") == (severity and (severity, "genai/None"))
        if severity:
            side = "behind" if seconds > 0 else "ahead of"
            assert f"{side} OCI's" in said(place, "clock_skew")["message"]


# The way out.


def test_a_proxy_and_a_bundle_that_do_not_work(place: Home) -> None:
    place.config.write_text("network: {proxy: 'http://127.0.0.1:9', ca_bundle: none.pem}\n")
    codes = found(place)
    assert codes["proxy_unreachable"] == ("error", "None/None")
    assert codes["ca_bundle_unusable"] == ("error", "None/None")


def test_proxy_variables_that_are_not_followed(place: Home) -> None:
    place.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"
    assert "proxy_ignored" not in found(place)
    place.edit(f"endpoint: {place.cloud.url}", "endpoint: http://127.0.0.1:9")
    assert found(place)["proxy_ignored"] == ("info", "None/None")
