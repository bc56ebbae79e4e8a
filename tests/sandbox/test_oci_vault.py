"""The vault's sandbox, judged by Oracle's SDK: models in, models out, errors as it reads them."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import oci
import pytest
from oci.vault import models

from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_vault import COMPARTMENT, KEY, TENANCY, VAULT, OciVaultSandbox
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.profiles import public_pem
from tests.sandbox.world import signer_of


class Vault:
    """A sandbox, the SDK's two clients, and one word for each call."""

    def __init__(self, behaviour: VaultBehaviour | None = None, *, user: int = 1) -> None:
        self.sandbox = OciVaultSandbox(seed=1, behaviour=behaviour)
        self._stack = ExitStack()
        url = self._stack.enter_context(self.sandbox.serve())
        signer = signer_of(1)
        pem = public_pem(signer.private_key.public_key())
        self.sandbox.verifier.register_user(TENANCY, signer.api_key.split("/")[1], pem)
        self.management = self._client(oci.vault.VaultsClient, url, signer_of(user))
        self.retrieval = self._client(oci.secrets.SecretsClient, url, signer_of(user))

    def _client(self, kind: Callable[..., Any], url: str, signer: Any) -> Any:
        tenancy, user, fingerprint = signer.api_key.split("/")
        config = {
            "user": user,
            "tenancy": tenancy,
            "fingerprint": fingerprint,
            "region": "us-chicago-1",
            "key_content": "unused, because a signer is given",
        }
        client = kind(
            config,
            signer=signer,
            service_endpoint=url,
            retry_strategy=oci.retry.NoneRetryStrategy(),
            circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
        )
        self._stack.callback(client.base_client.session.close)
        return client

    def close(self) -> None:
        self._stack.close()

    def create(self, name: str = "one", content: str = "first", **more: Any) -> Any:
        wanted = models.CreateSecretDetails(
            compartment_id=COMPARTMENT,
            vault_id=VAULT,
            key_id=KEY,
            secret_name=name,
            secret_content=details(content, more.pop("version", "v1"), "CURRENT"),
            **more,
        )
        return self.management.create_secret(wanted).data

    def upload(self, secret: Any, content: str, version: str, stage: str = "PENDING") -> Any:
        wanted = models.UpdateSecretDetails(secret_content=details(content, version, stage))
        return self.management.update_secret(secret.id, wanted).data

    def promote(self, secret: Any, number: int, **more: Any) -> Any:
        wanted = models.UpdateSecretDetails(current_version_number=number)
        return self.management.update_secret(secret.id, wanted, **more).data

    def destroy(self, secret: Any, number: int, **ahead: float) -> Any:
        at = datetime.now(UTC) + timedelta(**(ahead or {"days": 2}))
        wanted = models.ScheduleSecretVersionDeletionDetails(time_of_deletion=at)
        return self.management.schedule_secret_version_deletion(secret.id, number, wanted)

    def stages(self, secret: Any) -> dict[int, set[str]]:
        every = oci.pagination.list_call_get_all_results(
            self.management.list_secret_versions, secret.id
        ).data
        return {version.version_number: set(version.stages) for version in every}

    def read(self, secret: Any, **which: Any) -> str:
        found = self.retrieval.get_secret_bundle(secret.id, **which).data
        return base64.b64decode(found.secret_bundle_content.content).decode()


def details(content: str, name: str | None, stage: str) -> Any:
    encoded = base64.b64encode(content.encode()).decode()
    return models.Base64SecretContentDetails(name=name, stage=stage, content=encoded)


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        call()
    return caught.value.status, caught.value.code


@pytest.fixture
def vault_of() -> Iterator[Callable[..., Vault]]:
    vaults: list[Vault] = []

    def make(user: int = 1, **answers: Any) -> Vault:
        vaults.append(Vault(VaultBehaviour(**answers), user=user))
        return vaults[-1]

    yield make
    for each in vaults:
        each.close()


@pytest.fixture
def vault(vault_of: Callable[..., Vault]) -> Vault:
    return vault_of()


def test_a_new_secrets_first_version_is_current_and_latest(vault: Vault) -> None:
    made = vault.create(freeform_tags={"team": "blue"})
    assert (made.secret_name, made.lifecycle_state, made.current_version_number) == (
        "one",
        "ACTIVE",
        1,
    )
    assert made.freeform_tags == {"team": "blue"}
    assert vault.stages(made) == {1: {"CURRENT", "LATEST"}}
    assert vault.read(made) == "first"
    found = vault.retrieval.get_secret_bundle_by_name("one", VAULT).data
    assert (found.secret_id, found.version_number, found.version_name) == (made.id, 1, "v1")


def test_a_staged_version_waits_until_it_is_promoted(vault: Vault) -> None:
    made = vault.create()
    vault.upload(made, "second", "v2")
    assert vault.stages(made) == {1: {"CURRENT"}, 2: {"PENDING", "LATEST"}}
    assert vault.read(made) == "first"
    assert vault.read(made, secret_version_name="v2") == "second"
    assert vault.read(made, stage="PENDING") == "second"
    assert vault.promote(made, 2).current_version_number == 2
    assert vault.stages(made) == {1: {"PREVIOUS"}, 2: {"CURRENT", "LATEST"}}
    vault.upload(made, "third", "v3", "CURRENT")
    assert vault.stages(made) == {1: {"DEPRECATED"}, 2: {"PREVIOUS"}, 3: {"CURRENT", "LATEST"}}
    vault.promote(made, 2)
    assert vault.stages(made) == {1: {"DEPRECATED"}, 2: {"CURRENT"}, 3: {"PREVIOUS", "LATEST"}}
    assert [vault.read(made, version_number=n) for n in (1, 2, 3)] == ["first", "second", "third"]


@pytest.mark.parametrize("becomes", ["DEPRECATED", "PENDING"])
def test_what_becomes_of_a_version_that_waited_is_an_open_question(
    vault_of: Callable[..., Vault], becomes: str
) -> None:
    vault = vault_of(superseded_pending=becomes)
    made = vault.create()
    vault.upload(made, "second", "v2")
    vault.upload(made, "third", "v3")
    assert vault.stages(made)[2] == {becomes}
    assert vault.stages(made)[3] == {"PENDING", "LATEST"}


def test_only_deprecated_versions_can_be_deleted_and_a_day_ahead(vault: Vault) -> None:
    made = vault.create()
    for number in (2, 3):
        vault.upload(made, "x", f"v{number}", "CURRENT")
    for number in (2, 3):
        assert refused(partial(vault.destroy, made, number))[0] == 409
    for ahead in ({"hours": 23}, {"days": 31}):
        assert refused(partial(vault.destroy, made, 1, **ahead))[0] == 400
    vault.destroy(made, 1)
    going = vault.management.get_secret(made.id) and vault.management.list_secret_versions(made.id)
    ends = {version.version_number: version.time_of_deletion for version in going.data}
    assert ends[1] is not None
    assert ends[2] is None
    assert refused(lambda: vault.promote(made, 1))[0] == 409
    assert refused(lambda: vault.read(made, version_number=1))[0] == 404
    vault.sandbox.time_shift += timedelta(days=3)
    assert set(vault.stages(made)) == {2, 3}


def test_numbers_are_never_used_again(vault: Vault) -> None:
    made = vault.create()
    for name in ("v2", "v3"):
        vault.upload(made, "x", name)
    vault.destroy(made, 2)
    vault.sandbox.time_shift += timedelta(days=3)
    vault.upload(made, "x", "v4")
    assert set(vault.stages(made)) == {1, 3, 4}


def test_names_of_versions_and_of_secrets_are_unique(vault: Vault) -> None:
    made = vault.create()
    vault.upload(made, "second", "v2")
    assert refused(lambda: vault.upload(made, "other", "v2")) == (400, "InvalidParameter")
    assert refused(lambda: vault.upload(made, "other", "no spaces")) == (400, "InvalidParameter")
    assert refused(vault.create) == (400, "InvalidParameter")
    assert refused(lambda: vault.create("no/slashes")) == (400, "InvalidParameter")


@pytest.mark.parametrize("status", [400, 409])
def test_thirty_versions_are_the_limit(vault_of: Callable[..., Vault], status: int) -> None:
    vault = vault_of(update_at_limit=status)
    made = vault.create()
    for number in range(2, 31):
        vault.upload(made, "x", f"v{number}")
    assert refused(lambda: vault.upload(made, "x", "v31")) == (status, "LimitExceeded")
    vault.destroy(made, 2)
    vault.upload(made, "x", "v31")


def test_thirty_may_be_pending_deletion(vault_of: Callable[..., Vault]) -> None:
    vault = vault_of(going_limit=2)
    made = vault.create()
    for number in range(2, 6):
        vault.upload(made, "x", f"v{number}")
    for number in (2, 3):
        vault.destroy(made, number)
    assert refused(lambda: vault.destroy(made, 4)) == (400, "LimitExceeded")


def test_contents_and_version_number_do_not_change_in_one_call(vault: Vault) -> None:
    made = vault.create()
    both = models.UpdateSecretDetails(
        current_version_number=1, secret_content=details("x", "v2", "PENDING")
    )
    call = vault.management.update_secret
    assert refused(lambda: call(made.id, both)) == (400, "InvalidParameter")
    assert set(vault.stages(made)) == {1}


def test_tags_are_replaced_as_a_whole(vault: Vault) -> None:
    made = vault.create(freeform_tags={"a": "1"})
    wanted = models.UpdateSecretDetails(freeform_tags={"b": "2"})
    assert vault.management.update_secret(made.id, wanted).data.freeform_tags == {"b": "2"}
    long = models.UpdateSecretDetails(freeform_tags={"b": "x" * 257})
    assert refused(lambda: vault.management.update_secret(made.id, long))[0] == 400


def test_a_change_is_refused_when_the_caller_saw_an_older_secret(vault: Vault) -> None:
    made = vault.create()
    etag = vault.management.get_secret(made.id).headers["etag"]
    vault.upload(made, "x", "v2")
    assert refused(lambda: vault.promote(made, 2, if_match=etag)) == (412, "NoEtagMatch")
    now = vault.management.get_secret(made.id).headers["etag"]
    vault.promote(made, 2, if_match=now)


@pytest.mark.parametrize("first", [True, False])
def test_whether_permission_or_etag_is_looked_at_first_is_an_open_question(
    vault_of: Callable[..., Vault], *, first: bool
) -> None:
    vault = vault_of(permission_before_etag=first)
    made = vault.create()
    vault.sandbox.forbid("UpdateSecret")
    found = refused(lambda: vault.promote(made, 1, if_match="other"))[0]
    assert found == (404 if first else 412)


def test_a_secret_is_busy_for_a_while_after_each_change(vault_of: Callable[..., Vault]) -> None:
    vault = vault_of(creating=60.0, updating=60.0)
    made = vault.create()
    assert made.lifecycle_state == "CREATING"
    assert refused(lambda: vault.upload(made, "x", "v2")) == (409, "IncorrectState")
    vault.sandbox.time_shift += timedelta(seconds=61)
    assert vault.upload(made, "x", "v2").lifecycle_state == "UPDATING"
    assert refused(lambda: vault.promote(made, 2)) == (409, "IncorrectState")
    assert vault.read(made) == "first"


def test_reads_may_lag_behind_changes(vault_of: Callable[..., Vault]) -> None:
    vault = vault_of(stale_reads=2, stale_content=1)
    made = vault.create()
    listed = [vault.management.list_secrets(COMPARTMENT).data for _ in range(3)]
    assert [len(each) for each in listed] == [0, 0, 1]
    vault.upload(made, "x", "v2")
    assert [set(vault.stages(made)) for _ in range(3)] == [{1}, {1}, {1, 2}]
    assert refused(lambda: vault.read(made, version_number=2))[0] == 404
    assert vault.read(made, version_number=2) == "x"


def test_a_secret_pending_deletion_keeps_its_name_and_shows_no_content(vault: Vault) -> None:
    made = vault.create()
    at = datetime.now(UTC) + timedelta(days=2)
    wanted = models.ScheduleSecretDeletionDetails(time_of_deletion=at)
    vault.management.schedule_secret_deletion(made.id, wanted)
    assert vault.management.get_secret(made.id).data.lifecycle_state == "PENDING_DELETION"
    assert vault.management.list_secrets(COMPARTMENT, name="one").data[0].time_of_deletion
    assert refused(lambda: vault.read(made)) == (404, "NotAuthorizedOrNotFound")
    assert refused(lambda: vault.upload(made, "x", "v2")) == (409, "IncorrectState")
    assert refused(vault.create)[0] == 400
    vault.management.cancel_secret_deletion(made.id)
    assert vault.read(made) == "first"
    assert refused(lambda: vault.management.cancel_secret_deletion(made.id))[0] == 409


@pytest.mark.parametrize("shown", ["404", "DELETED"])
def test_a_secret_that_is_gone(vault_of: Callable[..., Vault], shown: str) -> None:
    vault = vault_of(deleted_secret=shown)
    made = vault.create()
    wanted = models.ScheduleSecretDeletionDetails()
    vault.management.schedule_secret_deletion(made.id, wanted)
    vault.sandbox.time_shift += timedelta(days=31)
    if shown == "404":
        assert refused(lambda: vault.management.get_secret(made.id))[0] == 404
        assert vault.management.list_secrets(COMPARTMENT).data == []
    else:
        assert vault.management.get_secret(made.id).data.lifecycle_state == "DELETED"


def test_lists_come_in_pages_and_can_be_filtered(vault: Vault) -> None:
    for number in range(23):
        vault.create(f"secret-{number}")
    every = oci.pagination.list_call_get_all_results(vault.management.list_secrets, COMPARTMENT)
    assert {each.secret_name for each in every.data} == {f"secret-{n}" for n in range(23)}
    one = vault.management.list_secrets(COMPARTMENT, name="secret-1", vault_id=VAULT).data
    assert [each.secret_name for each in one] == ["secret-1"]
    other = vault.management.list_secrets(COMPARTMENT, vault_id="ocid1.vault.oc1..other").data
    assert other == []
    elsewhere = vault.management.list_secrets
    assert refused(lambda: elsewhere("ocid1.compartment.oc1..other"))[0] == 404


def test_contents_have_a_limit_and_are_base64(vault: Vault) -> None:
    made = vault.create()
    vault.upload(made, "x" * 25_000, "v2")
    assert refused(lambda: vault.upload(made, "x" * 25_001, "v3"))[0] == 400
    odd = models.Base64SecretContentDetails(name="v3", stage="PENDING", content="no base64!")
    wanted = models.UpdateSecretDetails(secret_content=odd)
    assert refused(lambda: vault.management.update_secret(made.id, wanted))[0] == 400


@pytest.mark.parametrize("status", [404, 403])
def test_whoever_may_not_is_told_little(vault_of: Callable[..., Vault], status: int) -> None:
    vault = vault_of(forbidden_status=status)
    made = vault.create()
    vault.sandbox.forbid("GetSecretBundle")
    assert refused(lambda: vault.read(made)) == (status, "NotAuthorizedOrNotFound")
    vault.sandbox.forbid("keys")
    assert refused(lambda: vault.upload(made, "x", "v2"))[0] == 404
    assert vault.promote(made, 1).current_version_number == 1


def test_only_who_signs_rightly_is_let_in(vault_of: Callable[..., Vault]) -> None:
    stranger = vault_of(user=2)
    assert refused(stranger.create) == (401, "NotAuthenticated")
    call = stranger.retrieval.get_secret_bundle
    assert refused(lambda: call("ocid1.vaultsecret.x")) == (401, "NotAuthenticated")


def test_codes_may_be_numbers(vault_of: Callable[..., Vault]) -> None:
    vault = vault_of(error_codes="numbers")
    assert refused(lambda: vault.management.get_secret("ocid1.vaultsecret.x")) == (404, "404")


def test_faults_meet_calls_by_name_and_the_log_tells_them(vault: Vault) -> None:
    made = vault.create()
    vault.sandbox.faults.add(Fault("lost_after", "UpdateSecret", count=1))
    with pytest.raises(oci.exceptions.RequestException):
        vault.upload(made, "second", "v2")
    assert vault.read(made, secret_version_name="v2") == "second"
    told = [(call.operation, call.fault, call.status) for call in vault.sandbox.calls()]
    assert told == [
        ("CreateSecret", None, 200),
        ("UpdateSecret", "lost_after", 200),
        ("GetSecretBundle", None, 200),
    ]
    assert "second" not in repr(vault.sandbox.calls()) + repr(vault.sandbox.truth())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_seed_a_rotation_can_be_done(seed: int) -> None:
    answers = VaultBehaviour.from_seed(seed, pace=0.0)
    vault = Vault(replace(answers, stale_reads=0, stale_content=0))
    made = vault.create(version="v1")
    vault.upload(made, "second", "v2")
    vault.promote(made, 2)
    assert vault.read(made) == "second"
    vault.close()


def test_each_question_is_answered_both_ways_by_some_seed() -> None:
    asked = [each for each in fields(VaultBehaviour) if "answers" in each.metadata]
    seen = [VaultBehaviour.from_seed(seed) for seed in range(40)]
    for each in asked:
        assert {getattr(found, each.name) for found in seen} == set(each.metadata["answers"])
