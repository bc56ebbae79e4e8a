"""How the store in HashiCorp Vault signs in: three ways, leases, tokens that end in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyman.core.model import Secret
from keyman.sandbox.hashicorp_vault import VaultBehaviour
from keyman.vendors.vault_sign_in import Auth
from tests.contract.places.vault import POLICY
from tests.contract.vault_world import OTHER, VALUE, VaultWorld, failure

ACCOUNT = "apps/keyman"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VaultWorld]:
    made = VaultWorld(tmp_path)
    yield made
    made.close()


def token(world: VaultWorld, **more: Any) -> Auth:
    return Auth("token", token=Secret(world.sandbox.token(POLICY, **more)))


def token_file(world: VaultWorld, **more: Any) -> Auth:
    path = world.folder / "token"
    path.write_text(f"{world.sandbox.token(POLICY, **more)}\n")
    return Auth("token", token_file=path)


def approle(world: VaultWorld, **more: Any) -> Auth:
    role_id, secret_id = world.sandbox.approle(POLICY, **more)
    return Auth("approle", role_id=role_id, secret_id=Secret(secret_id))


def kubernetes(world: VaultWorld, **more: Any) -> Auth:
    path = world.folder / "jwt"
    path.write_text(world.sandbox.kubernetes(POLICY, ACCOUNT, **more))
    return Auth("kubernetes", role="keyman", jwt=path)


LOGINS = ("AppRoleLogin", "KubernetesLogin")
each_way = pytest.mark.parametrize("way", [token, token_file, approle, kubernetes])
each_login = pytest.mark.parametrize("way", [approle, kubernetes])
Way = Callable[..., Auth]


@each_way
def test_each_way_in_leads_in_once_for_many_calls(world: VaultWorld, way: Way) -> None:
    store = world.store(way(world))
    assert world.asked() == 0
    for number in range(3):
        store.put("genai", number, VALUE)
    assert len(store.list()) == 3
    assert world.asked(*LOGINS, "LookupSelf") == 1


@each_login
@pytest.mark.parametrize("told", [True, False])
def test_a_token_that_is_gone_is_replaced_in_the_middle(
    world: VaultWorld, way: Way, told: bool
) -> None:
    world.sandbox.behaviour = VaultBehaviour(invalid_token_told=told)
    store = world.store(way(world))
    for logins in (1, 2, 3):
        store.put("genai", logins, VALUE)
        assert store.get("genai", 1) == VALUE
        assert world.asked(*LOGINS) == logins
        world.sandbox.tokens.tokens.clear()


@pytest.mark.parametrize("told", [True, False])
def test_a_token_in_a_file_is_read_anew_when_it_is_refused(world: VaultWorld, told: bool) -> None:
    world.sandbox.behaviour = VaultBehaviour(invalid_token_told=told)
    auth = token_file(world)
    store = world.store(auth)
    store.put("genai", 1, VALUE)
    world.sandbox.tokens.tokens.clear()
    assert "403" in failure(lambda: store.get("genai", 1)).message
    token_file(world)
    assert store.get("genai", 1) == VALUE


def test_a_token_that_ended_says_what_lasts_longer(world: VaultWorld) -> None:
    store = world.store(token(world, ttl=60, renewable=False))
    store.put("genai", 1, VALUE)
    world.passes(61)
    failed = failure(lambda: store.get("genai", 1))
    assert "invalid token" in failed.message
    assert "approle" in failed.hint


def test_a_token_of_few_uses_is_replaced_when_they_are_over(world: VaultWorld) -> None:
    store = world.store(approle(world, token_uses=2))
    for number in range(5):
        store.put("genai", number, VALUE)
    assert world.asked(*LOGINS) == 3


# ----------------------------------------------------------------------------------------- leases


@each_way
def test_a_lease_is_renewed_before_it_ends(world: VaultWorld, way: Way) -> None:
    store = world.store(way(world, ttl=90.0))
    store.put("genai", 1, VALUE)
    for _ in range(5):
        world.passes(61)
        assert store.get("genai", 1) == VALUE
    assert world.asked("RenewSelf") == 5
    assert world.asked(*LOGINS, "LookupSelf") == 1


@each_login
def test_at_the_end_of_its_longest_life_another_token_is_fetched(
    world: VaultWorld, way: Way
) -> None:
    store = world.store(way(world, ttl=90.0, longest=150.0))
    store.put("genai", 1, VALUE)
    for logins in (1, 2, 2, 3, 3, 4):
        world.passes(61)
        assert store.get("genai", 1) == VALUE
        assert world.asked(*LOGINS) == logins
    assert not [call for call in world.sandbox.calls("ReadSecret") if call.status != 200]


@each_login
def test_a_token_that_cannot_be_renewed_is_replaced_before_it_ends(
    world: VaultWorld, way: Way
) -> None:
    store = world.store(way(world, ttl=90.0, renewable=False))
    store.put("genai", 1, VALUE)
    world.passes(61)
    assert store.get("genai", 1) == VALUE
    assert (world.asked("RenewSelf"), world.asked(*LOGINS)) == (0, 2)


def test_a_secret_id_that_serves_once_lasts_as_long_as_its_token_can(world: VaultWorld) -> None:
    store = world.store(approle(world, ttl=90.0, uses=1))
    store.put("genai", 1, VALUE)
    for _ in range(5):
        world.passes(61)
        assert store.get("genai", 1) == VALUE
    world.sandbox.tokens.tokens.clear()
    failed = failure(lambda: store.get("genai", 1))
    assert "sign in by approle" in failed.message
    assert "used up" in failed.hint


NO_LOOK = """
path "auth/token/renew-self"     { capabilities = ["update"] }
path "sys/capabilities-self"     { capabilities = ["update"] }
"""
LOOKS = pytest.mark.parametrize("looks", [True, False])


def may_look(world: VaultWorld, *, looks: bool) -> None:
    """Whether tokens may look at themselves; where they may not, older releases tell least."""
    if not looks:
        world.sandbox.tokens.allow("default", NO_LOOK)
    world.sandbox.behaviour = VaultBehaviour(invalid_token_told=looks)


@LOOKS
def test_the_policy_of_the_page_and_a_secret_id_that_serves_once_are_enough(
    world: VaultWorld, looks: bool
) -> None:
    may_look(world, looks=looks)
    store = world.store(approle(world, ttl=90.0, uses=1))
    for number in (1, 2):
        store.ready("genai")
        store.put("genai", number, VALUE)
        store.point("genai", number)
        world.passes(61)
    assert store.list() == [("genai", 1), ("genai", 2)]


@LOOKS
@pytest.mark.parametrize("uses", [0, 1])
def test_a_line_that_is_missing_is_told_and_not_the_way_in(
    world: VaultWorld, looks: bool, uses: int
) -> None:
    may_look(world, looks=looks)
    store = world.store(approle(world, uses=uses))
    world.sandbox.tokens.allow("approle", 'path "secret/data/keyman/*" { capabilities = ["read"] }')
    failed = failure(lambda: store.put("genai", 1, VALUE))
    assert "could not put 'genai'/1" in failed.message
    assert 'path "secret/data/keyman/*" { capabilities = ["create"' in failed.hint


@LOOKS
@each_login
def test_what_a_token_may_not_do_makes_no_new_ones(
    world: VaultWorld, way: Way, looks: bool
) -> None:
    may_look(world, looks=looks)
    store = world.store(way(world, ttl=90.0))
    for _ in range(10):
        store.ready("genai")  # `secret/config` is refused each time
    logins = 1 if looks else 2  # where nobody can tell, another token is tried once a lease
    assert world.asked(*LOGINS) == logins
    world.passes(61)
    for _ in range(10):
        store.ready("genai")
    assert world.asked(*LOGINS) == logins + (not looks)


def test_a_sign_in_that_fails_in_doubt_is_not_tried_at_each_call(world: VaultWorld) -> None:
    """Vault shuts out whoever fails to sign in again and again."""
    may_look(world, looks=False)
    store = world.store(approle(world, uses=1))
    for _ in range(10):
        store.ready("genai")
    assert world.asked(*LOGINS) == 2


def test_whether_it_is_the_token_that_was_refused_may_not_be_told(world: VaultWorld) -> None:
    store = world.store(approle(world))
    store.list()
    world.breaks("status", "LookupSelf", status=500)
    world.sandbox.tokens.allow("approle", {})
    assert "add to the policy" in failure(store.list).hint
    world.sandbox.faults.clear()
    world.breaks("lost_before", "LookupSelf")
    assert "add to the policy" in failure(store.list).hint
    assert world.asked(*LOGINS) == 1


@each_login
def test_while_renewing_fails_the_old_token_serves_to_its_end(world: VaultWorld, way: Way) -> None:
    store = world.store(way(world, ttl=90.0))
    store.put("genai", 1, VALUE)
    for operation in ("RenewSelf", *LOGINS):
        world.breaks("status", operation, status=500)
    world.passes(61)
    assert store.get("genai", 1) == VALUE
    assert store.get("genai", 1) == VALUE
    assert world.asked("RenewSelf") == 1
    world.passes(30)
    assert "500" in failure(lambda: store.get("genai", 1)).message
    world.sandbox.faults.clear()
    assert store.get("genai", 1) == VALUE


def test_a_token_without_an_end_is_left_alone(world: VaultWorld) -> None:
    store = world.store(Auth("token", token=Secret(world.sandbox.root_token)))
    store.put("genai", 1, VALUE)
    world.passes(1e9)
    assert store.get("genai", 1) == VALUE
    assert world.asked("RenewSelf", "LookupSelf") == 1


def test_who_may_not_look_at_its_token_gets_on_without(world: VaultWorld) -> None:
    auth = token(world)
    world.sandbox.tokens.policies["default"] = {}
    world.store(auth).put("genai", 1, VALUE)


@each_way
def test_a_lease_is_learnt_after_a_vault_was_sealed(world: VaultWorld, way: Way) -> None:
    store = world.store(way(world, ttl=90.0))
    world.sandbox.sealed = True
    assert "unseal" in failure(lambda: store.put("genai", 1, VALUE)).hint
    world.sandbox.sealed = False
    store.put("genai", 1, VALUE)
    world.passes(61)
    store.put("genai", 1, OTHER)
    assert world.asked("RenewSelf") == 1


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"role_id": "wrong"}, "`role_id`"),
        ({"secret_id": Secret("wrong")}, "`secret_id`"),
        ({"secret_id": None}, "`secret_id`"),
        ({"mount": "elsewhere"}, "auth/elsewhere"),
    ],
)
def test_an_approle_that_is_not_let_in_says_what_to_correct(
    world: VaultWorld, change: dict[str, Any], hint: str
) -> None:
    good = approle(world)
    auth = Auth(
        **{"kind": "approle", "role_id": good.role_id, "secret_id": good.secret_id} | change
    )
    failed = failure(lambda: world.store(auth).put("genai", 1, VALUE))
    assert "could not sign in by approle" in failed.message
    assert hint in failed.hint


def test_a_role_may_need_no_secret_id(world: VaultWorld) -> None:
    auth = approle(world)
    world.sandbox.tokens.approles["", "approle", "keyman"].needs_secret_id = False
    world.store(Auth("approle", role_id=auth.role_id)).put("genai", 1, VALUE)


def test_a_method_may_be_mounted_elsewhere(world: VaultWorld) -> None:
    auth = kubernetes(world)
    tokens = world.sandbox.tokens
    tokens.kubernetes["", "cluster/a", "keyman"] = tokens.kubernetes.pop(
        ("", "kubernetes", "keyman")
    )
    world.sandbox.methods["", "cluster/a"] = "kubernetes"
    elsewhere = Auth("kubernetes", role="keyman", jwt=auth.jwt, mount="cluster/a")
    world.store(elsewhere).put("genai", 1, VALUE)
    assert "auth/kubernetes" in failure(lambda: world.store(auth).get("genai", 1)).hint


def test_a_service_account_s_token_is_read_at_each_sign_in(world: VaultWorld) -> None:
    store = world.store(kubernetes(world))
    store.put("genai", 1, VALUE)
    world.sandbox.tokens.jwts.clear()
    world.sandbox.tokens.tokens.clear()
    failed = failure(lambda: store.get("genai", 1))
    assert "could not sign in by kubernetes" in failed.message
    assert "service account" in failed.hint
    kubernetes(world)
    assert store.get("genai", 1) == VALUE


@pytest.mark.parametrize("content", ["", "two\nlines", "naïve", "x" * 9000, None])
def test_a_file_without_a_token_is_told_and_not_shown(
    world: VaultWorld, content: str | None
) -> None:
    path = world.folder / "token"
    if content is not None:
        path.write_text(content)
    failed = failure(lambda: world.store(Auth("token", token_file=path)).get("genai", 1))
    assert str(path) in failed.message
    assert not content or content not in failed.message + failed.hint
    assert world.asked() == 0


@each_way
def test_no_token_of_any_kind_is_in_what_is_printed(world: VaultWorld, way: Way) -> None:
    auth = way(world)
    store = world.store(auth)
    store.put("genai", 1, VALUE)
    grant = store._kv._sign_in._grant
    assert grant is not None
    for text in (repr(auth), repr(grant), repr(store), repr(store._kv)):
        assert grant.token not in text
