"""Several stores, as people meet them: changed, named twice, out of reach, edited by a stranger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from keyman.core.model import Secret, Stage
from keyman.errors import ConfigError
from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox
from tests.commands.kinds import home_with
from tests.commands.test_mirrors import held
from tests.commands.world import Home, until

VAULT = """\
  partner: {{provider: static, store: team{mirrors}}}
stores:
  team:
    kind: vault
    address: {address}
    auth: {{kind: token, token: {token}}}
"""
AGAIN = """\
  again:
    kind: vault
    address: {address}
    auth: {{kind: token, token: {token}}}
"""


@contextmanager
def with_vault(*, again: str = "") -> Iterator[tuple[Home, HashicorpVaultSandbox]]:
    """A home whose one credential rests in a vault; `again` is a mirror at that address."""
    sandbox = HashicorpVaultSandbox()
    with sandbox.serve() as address:
        found = {"address": address, "token": sandbox.root_token}
        config = VAULT.format(**found, mirrors=", mirrors: [again]" if again else "")
        if again:
            config += AGAIN.format(**found | {"address": address.replace("127.0.0.1", again)})
        with home_with(config) as place:
            yield place, sandbox


def once(place: Home) -> str:
    return place.keyman("daemon", "--once").err


def put(place: Home, secret: str) -> None:
    done = place.keyman("put", "partner", stdin=secret + "\n")
    assert done.status == 0, done.err


def shown(sandbox: HashicorpVaultSandbox, name: str = "partner") -> str | None:
    """What a stranger reads."""
    with sandbox.lock:
        found, there = sandbox.engines["", "secret"].read(f"keyman/{name}/current")
    return str(found["data"]["value"]) if found and there else None


def edit(sandbox: HashicorpVaultSandbox, path: str, **changes: object) -> None:
    """As `vault kv patch` does."""
    with sandbox.lock:
        key = sandbox.engines["", "secret"].keys[path]
        document = key.versions[key.current].data
        assert document is not None
        document |= changes


# ----------------------------------------------------------------------------- the store is changed


FILES = """\
  partner: {provider: static}
stores:
  other: {kind: sealed-file, path: other.db}
"""


def test_a_changed_store_has_what_the_one_before_has() -> None:
    with home_with(FILES) as place:
        put(place, "sk-one")
        place.edit("{provider: static}", "{provider: static, store: other}")
        said = once(place)
        assert "version 1 was not in other: put there, out of default" in said
        assert place.keyman("get", "partner").out == "sk-one\n"
        assert held(place, "other") == {1: Secret("sk-one")}


def test_what_no_store_has_is_said_with_what_helps_and_comes_back() -> None:
    with home_with(FILES) as place:
        put(place, "sk-one")
        there = place.state / "secrets.db"
        aside = there.rename(place.folder / "aside.db")
        once(place)
        status = place.keyman("status", "partner", "--json").json
        assert status["health"] == "down"
        assert "in no store that is configured" in status["last_error"]
        assert "keyman store copy" in status["hint"]
        aside.rename(there)
        once(place)
        assert place.keyman("get", "partner").out == "sk-one\n"
        assert place.keyman("status", "partner", "--json").json["health"] == "ok"


# ----------------------------------------------------------------------------- one place, two names


def test_the_file_of_another_store_is_refused() -> None:
    with home_with("  partner: {provider: static}\n") as place:
        place.state.mkdir()
        (place.folder / "link").symlink_to(place.state)
        stores = "stores: {two: {kind: sealed-file, path: %s}}\n"
        for path in ('"{home}/secrets.db"', place.folder / "link" / "secrets.db"):
            place.config.write_text(place.config.read_text().partition("stores:")[0])
            with place.config.open("a") as file:
                file.write(stores % path)
            with pytest.raises(ConfigError, match="is the very place that default is"):
                _ = place.settings


def test_the_path_of_another_vault_store_is_refused() -> None:
    with with_vault(again="127.0.0.1") as (place, _):
        done = place.keyman("check")
        assert done.status == 2
        assert "stores.again: is the very place that team is" in done.err


def test_a_mirror_that_is_the_store_by_another_name_drops_nothing(place: Home) -> None:
    sandbox = HashicorpVaultSandbox()
    place.configure(overlap="1s", store="team", mirrors="[again]")
    with sandbox.serve() as address, place.config.open("a") as file:
        auth = f"auth: {{kind: token, token: {sandbox.root_token}}}"
        other = address.replace("127.0.0.1", "localhost")
        file.write("stores:\n")
        for name, where in (("team", address), ("again", other)):
            file.write(f"  {name}: {{kind: vault, address: '{where}', {auth}}}\n")
        file.flush()
        place.start()
        assert place.keyman("rotate", "genai").status == 0
        until(lambda: retired(place))
        assert "genai: its mirror again fails: it is the very place" in once(place)
        assert shown(sandbox, "genai") == place.keyman("get", "genai").out.strip()
        done = place.keyman("rollback", "genai")
        assert done.status == 0, done.err


def retired(place: Home) -> bool:
    once(place)
    with place.open_as_command() as app:
        record, _ = app.journal.load(app.rotator.managed["genai"].spec)
    return record.versions[0].stage is Stage.RETIRED


# ----------------------------------------------------------------------------- strangers and sieges


def test_an_edited_current_secret_is_put_right() -> None:
    with with_vault() as (place, sandbox):
        put(place, "sk-one")
        edit(sandbox, "keyman/partner/current", value="a stranger's")
        assert shown(sandbox) == "a stranger's"
        once(place)
        assert shown(sandbox) == "sk-one"


@pytest.mark.slow
def test_an_edited_version_is_handed_out_by_nobody() -> None:
    with with_vault() as (place, sandbox):
        put(place, "sk-one")
        edit(sandbox, "keyman/partner/versions/1", value="a stranger's")
        for _ in range(2):
            got = place.keyman("get", "partner")
            assert (got.status, got.out) == (4, "")
            assert "stranger's" not in got.err
            once(place)
        assert place.keyman("status", "partner", "--json").json["health"] == "down"


def test_a_sealed_vault_is_named_and_not_an_absent_secret() -> None:
    with with_vault() as (place, sandbox):
        put(place, "sk-one")
        sandbox.sealed = True
        got = place.keyman("get", "partner")
        assert got.status == 4
        assert "vault is sealed" in got.err
        assert "not in the store" not in got.err


# --------------------------------------------------------------------------------------- forgetting


def test_a_store_that_is_away_holds_up_no_farewell() -> None:
    with with_vault() as (place, sandbox):
        put(place, "sk-one")
        place.edit("  partner: {provider: static, store: team}\n", "  other: {provider: static}\n")
        sandbox.sealed = True
        done = place.keyman("forget", "partner", "--json")
        assert done.status == 1
        assert done.json["forgotten"] is False
        (left,) = done.json["left"]
        assert left["store"] == "team"
        assert "sealed" in left["error"]
        assert "keyman forget partner" in left["hint"]
        plain = place.keyman("forget", "partner")
        assert plain.status == 1
        assert "partner: not all forgotten" in plain.out + plain.err
        sandbox.sealed = False
        done = place.keyman("forget", "partner", "--json")
        assert (done.status, done.json["forgotten"], done.json["left"]) == (0, True, [])
        assert shown(sandbox) is None
        assert place.keyman("forget", "partner").status == 3


def test_what_is_to_be_revoked_is_revoked_while_a_store_is_away(place: Home) -> None:
    key_id, sandbox = place.start(), HashicorpVaultSandbox()
    assert "ACTIVE" in place.cloud.states(key_id).values()
    place.edit("  genai:", "  another:")
    with sandbox.serve() as address, place.config.open("a") as file:
        auth = f"auth: {{kind: token, token: {sandbox.root_token}}}"
        file.write(f"stores: {{team: {{kind: vault, address: '{address}', {auth}}}}}\n")
        file.flush()
        sandbox.sealed = True
        done = place.keyman("forget", "genai", "--revoke", "--json")
        assert (done.status, len(done.json["revoked"])) == (1, 1), done.err
        assert "ACTIVE" not in place.cloud.states(key_id).values()
        assert ("genai", 1) not in every_secret(place)
        sandbox.sealed = False
        done = place.keyman("forget", "genai", "--revoke", "--json")
        assert (done.status, done.json["forgotten"], done.json["revoked"]) == (0, True, [])


def every_secret(place: Home) -> list[tuple[str, int]]:
    """What lies in the usual store."""
    with place.open_as_command() as app:
        return app.store.list()
