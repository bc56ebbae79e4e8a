"""The eight operations on API keys, judged by the vendor's SDK."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import oci
import pytest
from oci.generative_ai import models

from tests.sandbox.world import COMPARTMENT, World, in_days, slot_of


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call()
    return caught.value.status, caught.value.code


def test_a_new_key_has_two_slots_and_shows_both_secrets_once(world: World) -> None:
    made = world.create(expires=in_days(30), tags={"keyman-op": "7f"})
    assert [item.key_name for item in made.keys] == ["key-one", "key-two"]
    assert all(item.key.startswith("sk-sandbox-") for item in made.keys)
    assert made.keys[0].time_expiry == in_days(30)
    read = world.get(made)
    assert [item.key for item in read.keys] == [None, None]
    assert [item.key_mask for item in read.keys] == [item.key_mask for item in made.keys]
    assert (read.freeform_tags, read.lifecycle_state) == ({"keyman-op": "7f"}, "ACTIVE")
    assert read.id.startswith("ocid1.generativeaiapikey.oc1.us-chicago-1.")


def test_lists_come_in_pages_and_without_secrets(world: World) -> None:
    made = [world.create(f"key{n}") for n in range(7)]
    first = world.client.list_api_keys(COMPARTMENT, limit=3)
    assert len(first.data.items) == 3
    assert first.headers["opc-next-page"]
    every = oci.pagination.list_call_get_all_results(
        world.client.list_api_keys, COMPARTMENT, limit=3
    )
    assert {key.id for key in every.data} == {key.id for key in made}
    assert all(item.key is None for key in every.data for item in key.keys)


def test_lists_can_be_filtered_and_sorted(world: World) -> None:
    ids = {name: world.create(name).id for name in ("b", "a", "c")}
    by_name = world.client.list_api_keys(COMPARTMENT, sort_by="displayName", sort_order="ASC")
    assert [key.display_name for key in by_name.data.items] == ["a", "b", "c"]
    one = world.client.list_api_keys(COMPARTMENT, display_name="c").data.items
    assert [key.id for key in one] == [ids["c"]]
    assert world.client.list_api_keys(COMPARTMENT, id=ids["a"]).data.items[0].display_name == "a"
    assert world.client.list_api_keys(COMPARTMENT, lifecycle_state="INACTIVE").data.items == []
    assert world.client.list_api_keys("ocid1.compartment.oc1..other").data.items == []


def test_renewing_a_slot_replaces_its_secret_and_leaves_the_other_alone(world: World) -> None:
    made = world.create()
    one, two = (item.key for item in made.keys)
    renewed = slot_of(world.renew(made, "key-two", in_days(40)), "key-two")
    assert renewed.time_expiry == in_days(40)
    assert renewed.key not in {one, two}
    assert [world.ask(secret) for secret in (one, two, renewed.key)] == [200, 401, 200]


def test_a_slot_goes_off_and_on_and_off_for_good(world: World) -> None:
    made = world.create()
    secret = made.keys[0].key
    assert slot_of(world.set_state(made, "key-one", "INACTIVE"), "key-one").state == "INACTIVE"
    assert world.ask(secret) == 401
    world.set_state(made, "key-one", "ACTIVE")
    assert world.ask(secret) == 200
    world.set_state(made, "key-one", "REVOKED")
    assert world.ask(secret) == 401
    assert slot_of(world.get(made), "key-one").time_revoked is not None
    assert refused(lambda: world.set_state(made, "key-one", "ACTIVE"))[0] == 409


@pytest.mark.parametrize("state", ["EXPIRED", "DELETED", "nonsense"])
def test_some_states_cannot_be_asked_for(world: World, state: str) -> None:
    made = world.create()
    assert refused(lambda: world.set_state(made, "key-one", state)) == (400, "InvalidParameter")


def test_names_and_tags_are_updated_and_the_rest_stays(world: World) -> None:
    made = world.create(tags={"a": "1"})
    wanted = models.UpdateApiKeyDetails(display_name="other", freeform_tags={"b": "2"})
    world.client.update_api_key(made.id, wanted)
    read = world.get(made)
    assert (read.display_name, read.freeform_tags) == ("other", {"b": "2"})
    assert read.keys[0].time_expiry == made.keys[0].time_expiry


def test_a_key_moves_to_another_compartment(world: World) -> None:
    made = world.create()
    elsewhere = "ocid1.compartment.oc1..elsewhere"
    wanted = models.ChangeApiKeyCompartmentDetails(compartment_id=elsewhere)
    world.client.change_api_key_compartment(made.id, wanted)
    assert world.client.list_api_keys(elsewhere).data.items[0].id == made.id


def test_a_deleted_key_is_gone_with_its_secrets(world: World) -> None:
    made = world.create()
    world.client.delete_api_key(made.id)
    assert refused(lambda: world.get(made)) == (404, "NotAuthorizedOrNotFound")
    assert [world.ask(item.key) for item in made.keys] == [401, 401]
    assert world.client.list_api_keys(COMPARTMENT).data.items == []


def test_a_change_is_refused_when_the_caller_saw_an_older_key(world: World) -> None:
    made = world.create()
    etag = world.client.get_api_key(made.id).headers["etag"]
    world.set_state(made, "key-two", "INACTIVE", if_match=etag)
    assert refused(lambda: world.renew(made, "key-two", if_match=etag)) == (412, "NoEtagMatch")
    update = models.UpdateApiKeyDetails(display_name="x")
    for call in (
        lambda: world.set_state(made, "key-two", "ACTIVE", if_match=etag),
        lambda: world.client.update_api_key(made.id, update, if_match=etag),
        lambda: world.client.delete_api_key(made.id, if_match=etag),
    ):
        assert refused(call) == (412, "NoEtagMatch")
    assert world.state(made, "key-two") == "INACTIVE"


def test_an_unknown_key_is_not_told_from_a_forbidden_one(world: World) -> None:
    stranger = "ocid1.generativeaiapikey.oc1.us-chicago-1.nobody"
    found = refused(partial(world.client.get_api_key, stranger))
    assert found == (404, "NotAuthorizedOrNotFound")
    other = World()
    theirs = other.create()
    other.close()
    assert refused(lambda: world.get(theirs)) == found


def test_a_tenancy_holds_so_many_keys_and_no_more(world_of: Callable[..., World]) -> None:
    world = world_of({"key_limit": 2})
    first = world.create("one")
    world.create("two")
    assert refused(lambda: world.create("three")) == (400, "LimitExceeded")
    world.client.delete_api_key(first.id)
    world.create("three")


@pytest.mark.parametrize(
    "slots", [(), ("a", "b", "c"), ("a", "a"), ("1a",), ("a b",)], ids="+".join
)
def test_keys_have_one_or_two_well_named_slots(world: World, slots: tuple[str, ...]) -> None:
    assert refused(lambda: world.create(slots=slots))[0] == 400


def test_a_key_may_have_a_single_slot(world: World) -> None:
    assert [item.key_name for item in world.create(slots=("only",)).keys] == ["only"]


def test_what_is_already_over_cannot_be_asked_for(world: World) -> None:
    made = world.create()
    assert refused(lambda: world.renew(made, "key-one", in_days(-1))) == (400, "InvalidParameter")
    assert refused(lambda: world.renew(made, "key-three"))[0] == 400


def test_a_wrong_path_or_body_is_answered_like_at_oci(world: World) -> None:
    assert world.http("GET", "/20231130/nothing")[0] == 404
    assert world.http("PATCH", "/20231130/apikeys")[0] == 404


def test_the_log_tells_each_call_in_order_and_never_a_secret(world: World) -> None:
    made = world.create(opc_retry_token="token-1")
    world.renew(made, "key-two", if_match="*")
    world.set_state(made, "key-two", "INACTIVE")
    calls = world.sandbox.calls()
    assert [call.operation for call in calls] == ["CreateApiKey", "RenewApiKey", "SetApiKeyState"]
    assert calls[0].retry_token == "token-1"
    assert (calls[1].slot, calls[1].if_match, calls[1].status) == ("key-two", "*", 200)
    assert (calls[2].slot, calls[2].wanted) == ("key-two", "INACTIVE")
    assert calls[1].secret_after == calls[2].secret_before
    assert all(call.key_id == made.id for call in calls)
    assert "sk-sandbox" not in repr(calls)
    assert "sk-sandbox" not in repr(world.sandbox.truth())


def test_a_stopped_sandbox_remembers_everything_when_it_starts_again(world: World) -> None:
    made = world.create()
    world.sandbox.stop()
    with pytest.raises(oci.exceptions.RequestException):
        world.get(made)
    assert world.sandbox.start() == world.url
    assert world.get(made).id == made.id
