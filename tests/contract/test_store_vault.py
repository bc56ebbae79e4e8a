"""The store in HashiCorp Vault: what lies where, who reads it, who else is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from keyman.core.model import Secret
from keyman.errors import SecretDamaged
from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox
from keyman.vendors.vault_sign_in import Auth
from keyman.wiring import open_the_store
from tests.configs import read
from tests.contract.places.vault import POLICY
from tests.contract.store_process import ROOT
from tests.contract.vault_world import (
    OTHER,
    VALUE,
    Rival,
    VaultWorld,
    failure,
)

PAGE = (ROOT / "docs/stores/vault.md").read_text(encoding="utf-8")
PATH = "keyman/genai/versions/1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VaultWorld]:
    made = VaultWorld(tmp_path)
    yield made
    made.close()


# ------------------------------------------------------------------------------- what lies where


def test_opening_asks_nobody(world: VaultWorld) -> None:
    world.store()
    world.store(address="https://vault.invalid:8200")
    assert world.asked() == 0


def test_a_version_lies_where_the_page_says(world: VaultWorld) -> None:
    world.store().put("genai", 1, VALUE)
    told = world.kv.read_secret_version(PATH, raise_on_deleted_version=True)["data"]["data"]
    assert told == {"value": VALUE.reveal(), "version": 1, "installation": "ours"}


def test_a_new_secret_is_one_call_that_cannot_replace_another(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    before = world.asked()
    store.put("genai", 2, VALUE)
    assert world.asked() == before + 1
    world.kv.configure(cas_required=True)
    store.put("genai", 3, VALUE)
    store.put("genai", 3, OTHER)
    assert store.get("genai", 3) == OTHER


@pytest.mark.parametrize("way", ["delete_latest_version_of_secret", "destroy_secret_versions"])
def test_what_was_deleted_by_hand_is_absent_and_can_be_put_again(
    world: VaultWorld, way: str
) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    getattr(world.kv, way)(PATH, *([[1]] if way.startswith("destroy") else []))
    assert store.get("genai", 1) is None
    assert store.list() == []
    store.put("genai", 1, VALUE)
    assert store.get("genai", 1) == VALUE
    assert store.list() == [("genai", 1)]


def test_what_is_dropped_is_destroyed_with_all_that_it_was(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    store.put("genai", 1, OTHER)
    assert world.holds(VALUE)
    store.drop("genai", 1)
    assert world.sandbox.truth() == {}


def test_what_was_only_marked_as_deleted_is_destroyed_too(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    world.kv.delete_latest_version_of_secret(PATH)
    store.drop("genai", 1)
    assert not world.holds(VALUE)


def test_what_somebody_changed_is_damaged_and_says_so(world: VaultWorld) -> None:
    store = world.store()
    for document in ({"value": 1, "version": 1}, {"value": "x", "version": 2}, {"version": 1}):
        world.kv.create_or_update_secret(PATH, {**document, "installation": "ours"})
        with pytest.raises(SecretDamaged):
            store.get("genai", 1)
        assert store.list() == [("genai", 1)]
    store.put("genai", 1, VALUE)
    assert store.get("genai", 1) == VALUE


def test_other_things_under_the_prefix_are_no_secrets(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    for path in ("keyman/note", "keyman/genai/note", "keyman/Odd/versions/1"):
        world.kv.create_or_update_secret(path, {"installation": "ours"})
    for path in ("01", "x", "1/deeper", "-1"):
        world.kv.create_or_update_secret(f"keyman/genai/versions/{path}", {"installation": "ours"})
    assert store.list() == store.list("genai") == [("genai", 1)]


@pytest.mark.parametrize("name", ["", "../other", "a/b", "Genai", "a.b", "é", "half \ud83d"])
def test_a_name_that_leads_elsewhere_is_never_sent(world: VaultWorld, name: str) -> None:
    store = world.store()
    for act in (
        lambda: store.put(name, 1, VALUE),
        lambda: store.get(name, 1),
        lambda: store.drop(name, 1),
        lambda: store.point(name, 1),
        lambda: store.pointed(name),
        lambda: store.ready(name),
    ):
        failure(act)
    assert world.asked() == 0


# ----------------------------------------------------------------------------------- direct readers


def test_direct_readers_get_the_version_that_is_pointed_to(world: VaultWorld) -> None:
    store = world.store()
    assert store.pointed("genai") is None
    for number, value in ((1, VALUE), (2, OTHER)):
        store.put("genai", number, value)
        store.point("genai", number)
        assert store.pointed("genai") == number
        assert world.direct("genai") == {
            "value": value.reveal(),
            "version": number,
            "installation": "ours",
        }
    assert store.list() == [("genai", 1), ("genai", 2)]


def test_pointing_again_writes_nothing(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    store.point("genai", 1)
    before = world.asked("WriteSecret", "WriteMetadata")
    store.point("genai", 1)
    assert world.asked("WriteSecret", "WriteMetadata") == before


def test_pointing_to_nothing_leaves_nothing(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    store.point("genai", 1)
    for _ in range(2):
        store.point("genai", None)
        assert store.pointed("genai") is None
        assert world.direct("genai") is None
    store.point("genai", 1)
    assert store.pointed("genai") == 1


def test_only_what_is_kept_can_be_pointed_to(world: VaultWorld) -> None:
    store = world.store()
    assert "genai point to 1" in failure(lambda: store.point("genai", 1)).message
    assert world.direct("genai") is None


def test_a_pointer_that_was_deleted_by_hand_is_set_again(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    store.point("genai", 1)
    world.kv.delete_latest_version_of_secret("keyman/genai/current")
    assert store.pointed("genai") is None
    store.point("genai", 1)
    assert store.pointed("genai") == 1


def test_the_pointer_keeps_nothing_of_what_was_dropped(world: VaultWorld) -> None:
    store = world.store()
    for number, value in ((1, VALUE), (2, OTHER)):
        store.put("genai", number, value)
        store.point("genai", number)
    store.drop("genai", 1)
    assert not world.holds(VALUE)
    assert world.holds(OTHER)


# -------------------------------------------------------------------------------------- who else


def test_a_revision_that_moved_meanwhile_is_written_over_once_it_was_seen(tmp_path: Path) -> None:
    def rival(sandbox: HashicorpVaultSandbox) -> None:
        document = {"value": "x", "version": 1, "installation": "ours"}
        sandbox.engines["", "secret"].write(PATH, document, {})

    world = VaultWorld(tmp_path, Rival(rival, times=2))
    store = world.store()
    store.put("genai", 1, VALUE)
    assert store.get("genai", 1) == VALUE
    assert world.asked("WriteSecret") == 3
    world.close()


def test_who_is_always_a_moment_late_says_so_in_the_end(tmp_path: Path) -> None:
    def rival(sandbox: HashicorpVaultSandbox) -> None:
        document = {"value": "x", "version": 1, "installation": "ours"}
        sandbox.engines["", "secret"].write(PATH, document, {})

    world = VaultWorld(tmp_path, Rival(rival, times=1000))
    failed = failure(lambda: world.store().put("genai", 1, VALUE))
    assert "keeps writing" in failed.message
    world.close()


def test_another_installation_s_secret_is_absent_and_stays(world: VaultWorld) -> None:
    theirs, ours = world.store(installation="theirs"), world.store()
    theirs.put("genai", 1, OTHER)
    theirs.point("genai", 1)
    assert ours.get("genai", 1) is None
    assert ours.list() == []
    assert ours.pointed("genai") is None
    for act in (lambda: ours.put("genai", 1, VALUE), lambda: ours.ready("genai")):
        failed = failure(act)
        assert "not of this installation" in failed.message
        assert "`prefix`" in failed.hint
    ours.put("genai", 2, VALUE)
    assert "not of this installation" in failure(lambda: ours.point("genai", 2)).message
    ours.point("genai", None)
    ours.drop("genai", 1)
    assert theirs.get("genai", 1) == OTHER
    assert theirs.pointed("genai") == 1
    assert theirs.list() == [("genai", 1)]


def test_what_a_person_wrote_there_is_not_overwritten(world: VaultWorld) -> None:
    world.kv.create_or_update_secret(PATH, {"value": "by hand"})
    store = world.store()
    failure(lambda: store.put("genai", 1, VALUE))
    assert store.get("genai", 1) is None


def test_two_prefixes_have_nothing_to_do_with_each_other(world: VaultWorld) -> None:
    root = Auth("token", token=Secret(world.sandbox.root_token))
    one, other = (
        world.store(root, prefix=prefix, installation=prefix) for prefix in ("a", "a/genai")
    )
    one.put("genai", 1, VALUE)
    other.put("versions", 1, OTHER)
    assert one.list() == [("genai", 1)]
    assert other.list() == [("versions", 1)]


def test_a_namespace_is_named_in_each_call(world: VaultWorld) -> None:
    world.sandbox.enable_engine("secret", "team/a")
    token = Secret(world.sandbox.token(POLICY, namespace="team/a"))
    store = world.store(Auth("token", token=token), namespace="team/a")
    store.put("genai", 1, VALUE)
    assert store.list() == [("genai", 1)]
    assert list(world.sandbox.truth()) == [f"team/a|secret/{PATH}"]
    assert "403" in failure(lambda: world.store(Auth("token", token=token)).list()).message


# --------------------------------------------------------------------- configuration and the page


@pytest.mark.parametrize(
    "auth",
    [
        "kind: token, token: TOKEN",
        "kind: token, token_file: FILE",
        "kind: approle, role_id: ROLE, secret_id: SECRET",
        "kind: kubernetes, role: keyman, jwt: JWT",
    ],
)
def test_what_the_configuration_says_is_what_the_store_gets(
    world: VaultWorld, tmp_path: Path, auth: str
) -> None:
    token, (role, secret) = world.sandbox.token(POLICY), world.sandbox.approle(POLICY)
    (tmp_path / "token").write_text(token)
    (tmp_path / "jwt").write_text(world.sandbox.kubernetes(POLICY, "apps/keyman"))
    given = {"TOKEN": token, "FILE": tmp_path / "token", "JWT": tmp_path / "jwt"}
    for word, value in {**given, "ROLE": role, "SECRET": secret}.items():
        auth = auth.replace(word, str(value))
    settings = read(
        f"network: {{proxy: '{world.url}'}}\n"
        "stores: {team: {kind: vault, address: 'http://localhost:1', timeout: 3s,"
        f" auth: {{{auth}}}}}}}\n",
        tmp_path / "home",
    )
    with closing(
        open_the_store(settings.stores["team"], settings, "ours", read_only=False)
    ) as store:
        store.put("genai", 1, VALUE)
        assert store.list() == [("genai", 1)]


def test_the_policy_of_the_page_is_enough(world: VaultWorld) -> None:
    policy = PAGE.partition("```hcl\n")[2].partition("```")[0]
    store = world.store(Auth("token", token=Secret(world.sandbox.token(policy, name="page"))))
    store.ready("genai")
    for value in (VALUE, OTHER):
        store.put("genai", 1, value)
    for number in (1, None, 1):
        store.point("genai", number)
    assert store.pointed("genai") == 1
    assert store.list() == [("genai", 1)]
    store.drop("genai", 1)
    store.point("genai", None)
    assert world.sandbox.truth() == {}


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE))
    there = "".join(path.read_text() for path in Path(__file__).parent.glob("test_store_vault*.py"))
    assert {name for name in named if f"def {name}(" not in there} == set()
    assert len(named) > 20
