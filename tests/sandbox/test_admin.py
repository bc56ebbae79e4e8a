"""The doors for tests, and the sandbox as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oci
import pytest

from tests.sandbox.world import COMPARTMENT, World, client_of, slot_of


def door(world: World, method: str, name: str, body: object = None) -> Any:
    status, answer = world.http(method, f"/sandbox/{name}", body)
    assert status == 200, answer
    return answer


def test_a_person_in_the_console_changes_slots(world: World) -> None:
    made = world.create()

    def drift(action: str, **more: Any) -> Any:
        return door(world, "POST", "drift", {"action": action, "key_id": made.id, **more})

    secret = drift("renew", slot="key-one")["key"]
    assert world.ask(secret) == 200
    assert world.ask(made.keys[0].key) == 401
    assert slot_of(world.get(made), "key-one").key_mask != made.keys[0].key_mask
    for action, state in (
        ("deactivate", "INACTIVE"),
        ("activate", "ACTIVE"),
        ("revoke", "REVOKED"),
    ):
        drift(action, slot="key-one")
        assert world.state(made, "key-one") == state
    drift("tag", tags={"a": "b"})
    assert world.get(made).freeform_tags == {"a": "b"}
    drift("delete")
    assert world.sandbox.truth()["keys"][0]["deleted"]
    by_hand = [call.operation for call in world.sandbox.calls() if call.actor == "console"]
    assert by_hand[:2] == ["RenewApiKey", "SetApiKeyState"]


def test_a_person_in_the_console_makes_a_key(world: World) -> None:
    wanted = {"name": "old", "slots": ["primary"], "expires": "2099-01-01T00:00:00Z"}
    made = door(world, "POST", "keys", wanted)
    assert world.ask(made["keys"]["primary"]) == 200
    read = world.client.get_api_key(made["id"]).data
    assert read.keys[0].time_expiry.year == 2099


def test_faults_are_scripted_from_outside(world: World) -> None:
    rule = {"effect": "throttle", "operation": "ListApiKeys", "count": 1}
    assert door(world, "POST", "faults", [rule, rule]) == {"numbers": [1, 2]}
    for _ in range(2):
        with pytest.raises(oci.exceptions.ServiceError):
            world.client.list_api_keys(COMPARTMENT)
    world.client.list_api_keys(COMPARTMENT)
    assert [rule["fired"] for rule in door(world, "GET", "faults")] == [1, 1]
    door(world, "DELETE", "faults")
    assert door(world, "GET", "faults") == []


def test_clock_policy_and_behaviour_are_changed_from_outside(world: World) -> None:
    secret = world.create().keys[0].key
    door(world, "POST", "policy", {"present": False})
    assert world.ask(secret) == 404
    door(world, "POST", "policy", {"present": True})
    answers = {"renew_state": "INACTIVE", "initial_states": ["ACTIVE", "INACTIVE"]}
    changed = door(world, "POST", "behaviour", answers)
    assert changed["renew_state"] == door(world, "GET", "behaviour")["renew_state"] == "INACTIVE"
    door(world, "POST", "clock", {"shift_seconds": 100 * 86400})
    assert world.ask(secret) == 401


def test_truth_log_and_counts_are_told_without_secrets(world: World) -> None:
    made = world.create()
    world.ask(made.keys[0].key)
    told = [door(world, "GET", name) for name in ("truth", "log", "counts")]
    assert told[0]["keys"][0]["slots"][0]["accepted"]
    assert [call["operation"] for call in told[1]] == ["CreateApiKey"]
    assert told[2]["accepted"] == 1
    assert "sk-sandbox" not in str(told)
    assert door(world, "GET", "log?operation=RenewApiKey") == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faults", {"effect": "nonsense"}),
        ("drift", {"action": "renew", "key_id": "nobody", "slot": "key-one"}),
        ("drift", {}),
        ("behaviour", {"nonsense": 1}),
        ("behaviour", {"renew_state": "nonsense"}),
        ("users", {"user": "x", "public_key": "nonsense"}),
    ],
)
def test_a_door_used_wrongly_says_so(world: World, name: str, body: object) -> None:
    status, answer = world.http("POST", f"/sandbox/{name}", body)
    assert status == 400
    assert answer["error"]


def test_an_unknown_door_names_those_there_are(world: World) -> None:
    status, answer = world.http("GET", "/sandbox/nonsense")
    assert (status, "truth" in str(answer)) == (404, True)


def test_the_sandbox_runs_as_a_process(tmp_path: Path, world_of: Callable[..., World]) -> None:
    command = [sys.executable, "-m", "keyman.sandbox", "--seed", "7", "--kind", "--identity"]
    process = subprocess.Popen(
        [*command, "--profile-dir", str(tmp_path), "--secret-prefix", "sk-canary"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process, process.stdout as out:
        try:
            url, identity = out.readline().strip(), out.readline().strip()
            assert identity.startswith("http://127.0.0.1:")
            client = client_of(url, None, oci.config.from_file(str(tmp_path / "config")))
            assert client.list_api_keys(COMPARTMENT).data.items == []
            client.base_client.session.close()
        finally:
            process.terminate()
        assert process.wait(5) == 0


def test_a_profile_is_written_anew_and_others_stay(world: World, tmp_path: Path) -> None:
    """A folder that was used before has no second [DEFAULT], which nobody could read."""
    world.sandbox.make_profile(tmp_path)
    world.sandbox.make_profile(tmp_path, "OTHER")
    config = world.sandbox.make_profile(tmp_path)
    text = config.read_text()
    assert [text.count(f"[{name}]") for name in ("DEFAULT", "OTHER")] == [1, 1]
    for name in ("DEFAULT", "OTHER"):
        client = client_of(world.sandbox.url, None, oci.config.from_file(str(config), name))
        assert client.list_api_keys(COMPARTMENT).status == 200
        client.base_client.session.close()
