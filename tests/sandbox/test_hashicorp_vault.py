"""The imitated Vault, judged by hvac: what KV version 2, tokens, policies and sign-ins do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hvac
import pytest
import requests

from keyman.sandbox.faults import Fault
from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox, VaultBehaviour

ROOT = Path(__file__).resolve().parent.parent.parent
READ_ONLY = 'path "secret/data/apps/*" { capabilities = ["read"] }'


@pytest.fixture
def sandbox() -> Iterator[HashicorpVaultSandbox]:
    made = HashicorpVaultSandbox(seed=1)
    with made.serve():
        yield made


@pytest.fixture
def root(sandbox: HashicorpVaultSandbox) -> Any:
    return client(sandbox, sandbox.root_token)


@pytest.fixture
def kv(root: Any) -> Any:
    return root.secrets.kv.v2


def client(sandbox: HashicorpVaultSandbox, token: str, **more: Any) -> Any:
    return hvac.Client(sandbox.url, token, **more)


def write(kv: Any, path: str, value: str, cas: int | None = None) -> int:
    number: int = kv.create_or_update_secret(path, {"value": value}, cas)["data"]["version"]
    return number


def read(kv: Any, path: str, version: int | None = None) -> Any:
    return kv.read_secret_version(path, version, raise_on_deleted_version=True)["data"]


# -------------------------------------------------------------------------------------- versions


def test_what_was_written_is_read_in_vaults_envelope(kv: Any) -> None:
    made = kv.create_or_update_secret("a/b", {"value": "x"})
    told = kv.read_secret_version("a/b", raise_on_deleted_version=True)
    envelope = {"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info"}
    assert envelope | {"warnings", "auth"} <= set(told)
    assert told["data"]["data"] == {"value": "x"}
    assert told["data"]["metadata"] == made["data"]
    assert made["data"]["version"] == 1
    assert made["data"]["created_time"].endswith("Z")


def test_versions_are_counted_and_the_oldest_goes_when_there_are_too_many(kv: Any) -> None:
    kv.configure(max_versions=2)
    for number in range(1, 5):
        assert write(kv, "a", f"v{number}") == number
    assert [read(kv, "a", n)["data"]["value"] for n in (3, 4)] == ["v3", "v4"]
    with pytest.raises(hvac.exceptions.InvalidPath):
        read(kv, "a", 2)
    assert kv.read_secret_metadata("a")["data"]["oldest_version"] == 3


def test_a_path_may_keep_fewer_versions_than_its_engine(kv: Any) -> None:
    kv.update_metadata("a", max_versions=1)
    assert write(kv, "a", "one", cas=0) == 1
    assert write(kv, "a", "two", cas=1) == 2
    assert list(kv.read_secret_metadata("a")["data"]["versions"]) == ["2"]


@pytest.mark.parametrize("cas", [0, 2, -1])
def test_check_and_set_refuses_another_revision(kv: Any, cas: int) -> None:
    write(kv, "a", "one", cas=0)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="did not match the current version"):
        write(kv, "a", "two", cas=cas)
    assert write(kv, "a", "two", cas=1) == 2


def test_check_and_set_may_be_required(kv: Any) -> None:
    kv.configure(cas_required=True)
    with pytest.raises(hvac.exceptions.InvalidRequest, match="required for this call"):
        write(kv, "a", "x")
    assert write(kv, "a", "x", cas=0) == 1


def test_what_is_deleted_can_be_had_back_and_what_is_destroyed_cannot(kv: Any) -> None:
    write(kv, "a", "one")
    kv.delete_latest_version_of_secret("a")
    with pytest.raises(hvac.exceptions.InvalidPath) as gone:
        read(kv, "a")
    assert gone.value.json["data"]["metadata"]["version"] == 1
    assert gone.value.json["data"]["data"] is None
    kv.undelete_secret_versions("a", [1])
    assert read(kv, "a")["data"] == {"value": "one"}
    kv.destroy_secret_versions("a", [1])
    kv.undelete_secret_versions("a", [1])
    with pytest.raises(hvac.exceptions.InvalidPath):
        read(kv, "a")
    assert write(kv, "a", "two", cas=1) == 2


def test_an_engine_may_delete_by_itself(sandbox: HashicorpVaultSandbox, kv: Any) -> None:
    kv.configure(delete_version_after="1h")
    assert kv.read_configuration()["data"]["delete_version_after"] == "1h0m0s"
    write(kv, "a", "x")
    assert read(kv, "a")["metadata"]["deletion_time"] != ""
    sandbox.time_shift += timedelta(hours=1)
    with pytest.raises(hvac.exceptions.InvalidPath):
        read(kv, "a")


def test_lists_show_folders_and_what_was_deleted_until_its_metadata_goes(kv: Any) -> None:
    for path in ("a/b/c", "a/b/d", "a/e"):
        write(kv, path, "x")
    kv.delete_latest_version_of_secret("a/b/c")
    assert kv.list_secrets("a")["data"]["keys"] == ["b/", "e"]
    assert kv.list_secrets("a/b")["data"]["keys"] == ["c", "d"]
    for path in ("a/b/c", "a/b/d"):
        kv.delete_metadata_and_all_versions(path)
    assert kv.list_secrets("a")["data"]["keys"] == ["e"]
    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.list_secrets("a/b")
    assert write(kv, "a/b/c", "anew", cas=0) == 1


def test_a_strict_client_lists_by_get(sandbox: HashicorpVaultSandbox, kv: Any) -> None:
    write(kv, "a/b", "x")
    strict = client(sandbox, sandbox.root_token, strict_http=True)
    assert strict.secrets.kv.v2.list_secrets("a")["data"]["keys"] == ["b"]


# ---------------------------------------------------------------------------- tokens and policies


def test_no_token_and_a_wrong_one_are_refused(sandbox: HashicorpVaultSandbox) -> None:
    assert requests.get(f"{sandbox.url}/v1/secret/data/a", timeout=5).status_code == 403
    with pytest.raises(hvac.exceptions.Forbidden, match="invalid token"):
        read(client(sandbox, "hvs.wrong").secrets.kv.v2, "a")
    sandbox.behaviour = VaultBehaviour(invalid_token_told=False)
    with pytest.raises(hvac.exceptions.Forbidden) as refused:
        read(client(sandbox, "hvs.wrong").secrets.kv.v2, "a")
    assert refused.value.errors == ["permission denied"]


@pytest.mark.parametrize(
    ("stanzas", "path", "allowed"),
    [
        ({"secret/data/a": ["read"]}, "secret/data/a", ["read"]),
        ({"secret/data/a": ["read"]}, "secret/data/a/b", ["deny"]),
        ({"secret/data/*": ["read"]}, "secret/data/a/b", ["read"]),
        ({"secret/+/a": ["read"]}, "secret/data/a", ["read"]),
        ({"secret/+/a": ["read"]}, "secret/data/b/a", ["deny"]),
        ({"secret/*": ["read"], "secret/data/a": ["deny"]}, "secret/data/a", ["deny"]),
        ({"secret/*": ["read"], "secret/data/*": ["update"]}, "secret/data/a", ["update"]),
    ],
)
def test_the_most_specific_path_of_a_policy_counts(
    sandbox: HashicorpVaultSandbox, stanzas: dict[str, list[str]], path: str, allowed: list[str]
) -> None:
    token = client(sandbox, sandbox.token(stanzas))
    told = token.sys.get_capabilities([path])
    assert told["data"][path] == told[path] == told["capabilities"] == allowed


def test_creating_updating_reading_and_listing_are_allowed_apart(
    sandbox: HashicorpVaultSandbox, kv: Any
) -> None:
    write(kv, "apps/a", "x")
    reader = client(sandbox, sandbox.token(READ_ONLY)).secrets.kv.v2
    assert read(reader, "apps/a")["data"] == {"value": "x"}
    for refused in (
        lambda: write(reader, "apps/a", "y"),
        lambda: reader.list_secrets("apps"),
        lambda: reader.delete_metadata_and_all_versions("apps/a"),
        lambda: read(reader, "other"),
    ):
        with pytest.raises(hvac.exceptions.Forbidden):
            refused()
    maker = client(sandbox, sandbox.token({"secret/data/*": ["create"]}, name="maker"))
    assert write(maker.secrets.kv.v2, "new", "x") == 1
    with pytest.raises(hvac.exceptions.Forbidden):
        write(maker.secrets.kv.v2, "new", "y")


def test_a_token_ends_with_its_lease_unless_it_is_renewed(sandbox: HashicorpVaultSandbox) -> None:
    one = client(sandbox, sandbox.token(READ_ONLY, ttl=60, longest=100))
    assert one.auth.token.lookup_self()["data"]["ttl"] in (59, 60)
    sandbox.time_shift += timedelta(seconds=50)
    assert one.auth.token.renew_self()["auth"]["lease_duration"] in (49, 50)
    sandbox.time_shift += timedelta(seconds=45)
    assert one.is_authenticated()
    sandbox.time_shift += timedelta(seconds=6)
    assert not one.is_authenticated()


def test_a_role_lets_in_with_its_secret_id_as_often_as_that_serves(
    sandbox: HashicorpVaultSandbox,
) -> None:
    role_id, secret_id = sandbox.approle(READ_ONLY, uses=1, ttl=60.0)
    anybody = client(sandbox, "")
    for wrong in ((role_id, "wrong"), ("wrong", secret_id)):
        with pytest.raises(hvac.exceptions.InvalidRequest, match="invalid role or secret ID"):
            anybody.auth.approle.login(*wrong)
    told = anybody.auth.approle.login(role_id, secret_id)
    assert told["auth"]["lease_duration"] == 60
    assert told["auth"]["policies"] == ["approle", "default"]
    assert anybody.is_authenticated()
    with pytest.raises(hvac.exceptions.InvalidRequest):
        anybody.auth.approle.login(role_id, secret_id)


def test_a_service_account_is_let_in_by_its_token(sandbox: HashicorpVaultSandbox) -> None:
    jwt = sandbox.kubernetes(READ_ONLY, "apps/keyman")
    anybody = client(sandbox, "")
    anybody.auth.kubernetes.login("keyman", jwt)
    assert anybody.is_authenticated()
    sandbox.tokens.jwts["eyJother"] = "apps/other"
    for role, token in (("keyman", "eyJwrong"), ("keyman", "eyJother"), ("other", jwt)):
        with pytest.raises((hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest)):
            client(sandbox, "").auth.kubernetes.login(role, token)


def test_namespaces_have_engines_and_tokens_of_their_own(sandbox: HashicorpVaultSandbox) -> None:
    sandbox.enable_engine("secret", "team")
    inside = client(sandbox, sandbox.token(READ_ONLY, namespace="team"), namespace="team")
    write(client(sandbox, sandbox.root_token, namespace="team").secrets.kv.v2, "apps/a", "x")
    assert read(inside.secrets.kv.v2, "apps/a")["data"] == {"value": "x"}
    with pytest.raises(hvac.exceptions.InvalidPath):
        read(client(sandbox, sandbox.root_token).secrets.kv.v2, "apps/a")
    with pytest.raises(hvac.exceptions.Forbidden):
        read(client(sandbox, inside.token).secrets.kv.v2, "apps/a")
    with pytest.raises(hvac.exceptions.InvalidPath, match="no handler for route"):
        read(client(sandbox, sandbox.root_token, namespace="other").secrets.kv.v2, "apps/a")


# ------------------------------------------------------------------------------- health and faults


@pytest.mark.parametrize(
    ("state", "status"),
    [("active", 200), ("standby", 429), ("dr_secondary", 472), ("performance_standby", 473)],
)
def test_health_says_how_the_node_is(
    sandbox: HashicorpVaultSandbox, root: Any, state: str, status: int
) -> None:
    sandbox.state = state
    assert root.sys.read_health_status().status_code == status


def test_a_sealed_vault_does_nothing(sandbox: HashicorpVaultSandbox, root: Any, kv: Any) -> None:
    sandbox.sealed = True
    with pytest.raises(hvac.exceptions.VaultDown, match="Vault is sealed"):
        read(kv, "a")
    assert root.sys.is_sealed()
    assert root.sys.read_health_status().status_code == 503


def test_nothing_is_mounted_there(root: Any) -> None:
    with pytest.raises(hvac.exceptions.InvalidPath, match="no handler for route"):
        root.secrets.kv.v2.list_secrets("a", mount_point="other")


@pytest.mark.parametrize(
    ("effect", "kept"), [("lost_before", 0), ("lost_after", 1), ("truncated", 1)]
)
def test_a_lost_answer_does_not_tell_whether_it_was_written(
    sandbox: HashicorpVaultSandbox, kv: Any, effect: Any, kept: int
) -> None:
    sandbox.faults.add(Fault(effect, "WriteSecret", count=1))
    with pytest.raises((requests.RequestException, TypeError)):
        write(kv, "a", "x")
    assert len(sandbox.truth()) == kept


def test_throttling_is_a_quota_in_vaults_words(sandbox: HashicorpVaultSandbox, kv: Any) -> None:
    sandbox.faults.add(Fault("throttle", "ReadSecret", retry_after=3))
    with pytest.raises(hvac.exceptions.RateLimitExceeded, match="rate limit quota exceeded"):
        read(kv, "a")


def test_nothing_secret_is_in_what_the_sandbox_tells(
    sandbox: HashicorpVaultSandbox, kv: Any
) -> None:
    write(kv, "a", "sk-canary")
    told = repr((sandbox.truth(), sandbox.calls(), sandbox.counts()))
    assert "sk-canary" not in told
    assert sandbox.root_token not in told


def test_it_serves_as_a_process_with_what_lets_in(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "keyman.sandbox", "--service", "vault"]
    with subprocess.Popen(
        [*command, "--profile-dir", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        anybody = hvac.Client(url, "")
        secrets = {path.name: path.read_text() for path in tmp_path.iterdir()}
        anybody.auth.approle.login(secrets["role-id"], secrets["secret-id"])
        assert write(anybody.secrets.kv.v2, "a", "x") == 1
        anybody.auth.kubernetes.login("keyman", secrets["jwt"])
        assert write(anybody.secrets.kv.v2, "a", "x") == 2
        assert write(hvac.Client(url, secrets["vault-token"]).secrets.kv.v2, "a", "x") == 3
        log = requests.get(f"{url}/sandbox/log?operation=WriteSecret", timeout=5).json()
        assert [call["status"] for call in log] == [200] * 3
        process.terminate()
