"""The store in HashiCorp Vault while things fail: lost answers, refusals, nothing given away."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import urllib3

from keyman.core.model import Secret
from keyman.errors import StoreFailed
from keyman.sandbox.faults import Effect
from keyman.sandbox.hashicorp_vault import VaultBehaviour
from keyman.vendors.vault_outcomes import NoAnswerError
from keyman.vendors.vault_sign_in import Auth
from keyman.vendors.vault_wire import received
from tests.contract.places.vault import POLICY
from tests.contract.store_process import ROOT
from tests.contract.vault_world import (
    OTHER,
    VALUE,
    Forgetful,
    Overheard,
    Standby,
    VaultWorld,
    failure,
)
from tests.serving.tcp_world import Authority

PATH = "keyman/genai/versions/1"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[VaultWorld]:
    made = VaultWorld(tmp_path)
    yield made
    made.close()


def words(failed: StoreFailed) -> str:
    return f"{failed.message}\n{failed.hint}"


# ------------------------------------------------------------------------------------ lost answers


@pytest.mark.parametrize(
    ("effect", "more"),
    [
        ("lost_after", {}),
        ("truncated", {}),
        ("garbage", {}),
        ("status", {"status": 500, "done": True}),
        ("status", {"status": 503, "done": True}),
        ("html", {"status": 200, "done": True}),
        ("html", {"status": 502, "done": True}),
        ("delay", {"seconds_after": 0.5}),
    ],
)
def test_what_was_written_without_an_answer_is_found_by_looking(
    world: VaultWorld, effect: Effect, more: dict[str, Any]
) -> None:
    store = world.store(timeout=0.3 if effect == "delay" else 5.0)
    world.breaks(effect, "WriteSecret", count=1, **more)
    store.put("genai", 1, VALUE)
    assert world.asked("WriteSecret") == 1
    assert store.get("genai", 1) == VALUE


@pytest.mark.parametrize(
    ("effect", "more"),
    [("lost_before", {}), ("status", {"status": 500}), ("html", {}), ("throttle", {})],
)
def test_what_was_not_written_is_told_and_can_be_repeated(
    world: VaultWorld, effect: Effect, more: dict[str, Any]
) -> None:
    store = world.store()
    world.breaks(effect, "WriteSecret", count=1, **more)
    assert "could not put 'genai'/1" in failure(lambda: store.put("genai", 1, VALUE)).message
    assert store.list() == []
    store.put("genai", 1, VALUE)
    assert store.get("genai", 1) == VALUE


def test_where_looking_fails_as_well_it_failed(world: VaultWorld) -> None:
    store = world.store()
    store.list()
    world.breaks("lost_after")
    failure(lambda: store.put("genai", 1, VALUE))
    world.sandbox.faults.clear()
    store.put("genai", 1, VALUE)
    assert store.get("genai", 1) == VALUE


def test_an_old_value_is_not_taken_for_the_new_one(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, OTHER)
    world.breaks("lost_before", "WriteSecret", nth=2)
    failure(lambda: store.put("genai", 1, VALUE))
    assert store.get("genai", 1) == OTHER


@pytest.mark.parametrize("effect", ["lost_after", "truncated", "garbage"])
def test_a_drop_and_a_pointer_without_an_answer_are_looked_at_too(
    world: VaultWorld, effect: Effect
) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    store.put("genai", 2, OTHER)
    world.breaks(effect, "WriteSecret", count=1)
    store.point("genai", 1)
    assert world.direct("genai")["version"] == 1
    world.breaks("lost_after", "DeleteMetadata", count=1)
    store.drop("genai", 2)
    world.breaks("lost_before", "DeleteMetadata", count=1)
    failure(lambda: store.point("genai", None))
    assert store.pointed("genai") == 1


def test_an_answer_that_drips_for_ever_is_given_up(world: VaultWorld) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_drip, args=(listener,), daemon=True).start()
        store = world.store(address=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
        assert "nothing within 0.3 s" in failure(lambda: store.get("genai", 1)).message


def test_a_connection_is_not_trusted_after_a_pause(tmp_path: Path) -> None:
    sandbox = Forgetful()
    world = VaultWorld(tmp_path, sandbox)
    store = world.store(timeout=1.0)
    store.put("genai", 1, VALUE)
    world.passes(60)
    sandbox.forget()
    assert store.get("genai", 1) == VALUE
    sandbox.forget()
    failure(lambda: store.get("genai", 1))
    world.close()


@pytest.mark.parametrize("module", [requests.exceptions, urllib3.exceptions])
def test_every_error_of_the_libraries_has_a_meaning(module: ModuleType) -> None:
    """Who may have sent something says so; the others may."""
    unsent = {"SSLError", "ProxyError", "ConnectTimeout", "InvalidProxyURL"}
    kinds = [each for each in vars(module).values() if isinstance(each, type)]
    for kind in kinds:
        if issubclass(kind, Exception) and not issubclass(kind, Warning):

            def fail(kind: type[Exception] = kind) -> requests.Response:
                raise kind.__new__(kind)

            with pytest.raises(NoAnswerError) as none:
                received(fail, 5.0)
            assert none.value.lost or kind.__name__ in unsent, kind


def _drip(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            try:
                peer.sendall(b" ")
            except OSError:
                return
            threading.Event().wait(0.05)


# ----------------------------------------------------------------------- refusals and what to do


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (400, "failed to parse JSON input", "log"),
        (403, "1 error occurred:\n\t* permission denied\n\n", 'path "secret/data/keyman/*"'),
        (404, 'no handler for route "secret/data/x". route entry not found.', "secrets enable"),
        (405, "1 error occurred:\n\t* unsupported operation\n\n", "version 2"),
        (412, "required index state not present", "behind"),
        (413, "too large", "proxy"),
        (429, 'request path "x": rate limit quota exceeded', "quota"),
        (472, "", "disaster recovery"),
        (473, "", "standby"),
        (500, "internal error", "log"),
        (501, "Vault is not initialized", "operator init"),
        (502, "", "log"),
        (503, "Vault is sealed", "operator unseal"),
        (503, "error performing token check: Vault is sealed", "operator unseal"),
        (503, "", "vault status"),
    ],
)
def test_each_refusal_has_a_next_move(world: VaultWorld, status: int, said: str, hint: str) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    body = json.dumps({"errors": [said] if said else ["canary"]})
    world.breaks("status", status=status, body=body)
    for act in (
        lambda: store.put("genai", 2, VALUE),
        lambda: store.get("genai", 1),
        lambda: store.drop("genai", 1),
        lambda: store.pointed("genai"),
    ):
        failed = failure(act)
        assert str(status) in failed.message
        assert world.url in failed.message
        assert hint in failed.hint
        assert "canary" not in words(failed)


def test_a_line_that_a_policy_lacks_is_shown_as_it_is_to_be_added(world: VaultWorld) -> None:
    data, metadata = (line.replace("     {", " {") for line in POLICY.strip().splitlines())
    of_data = world.store(Auth("token", token=Secret(world.sandbox.token(data, name="data"))))
    of_data.put("genai", 1, VALUE)
    for act in (
        lambda: of_data.drop("genai", 1),
        of_data.list,
        lambda: of_data.point("genai", 1),
    ):
        assert failure(act).hint.endswith(metadata)
    of_nothing = world.store(Auth("token", token=Secret(world.sandbox.token(metadata, name="m"))))
    assert failure(lambda: of_nothing.put("genai", 2, VALUE)).hint.endswith(data)
    assert failure(lambda: of_nothing.get("genai", 1)).hint.endswith(data)


def test_permission_that_is_lost_in_the_middle_is_told_at_the_next_call(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    world.sandbox.tokens.allow("keyman", {"secret/data/keyman/*": ["read"]})
    assert store.get("genai", 1) == VALUE
    assert "403" in failure(lambda: store.put("genai", 2, VALUE)).message
    assert "403" in failure(store.list).message
    world.sandbox.tokens.allow("keyman", POLICY)
    store.put("genai", 2, VALUE)


def test_a_captive_portal_is_neither_success_nor_absence(world: VaultWorld) -> None:
    store = world.store()
    store.put("genai", 1, VALUE)
    for status in (200, 404):
        world.breaks("html", status=status)
        for act in (
            lambda: store.get("genai", 1),
            lambda: store.put("genai", 2, VALUE),
            lambda: store.drop("genai", 1),
            store.list,
            lambda: store.pointed("genai"),
        ):
            assert "captive portal" in failure(act).hint
        world.sandbox.faults.clear()
    world.breaks("status", status=404, body='{"message": "no Route matched"}')
    failure(lambda: store.get("genai", 1))


def test_an_engine_of_version_1_is_not_taken_for_one_of_version_2(world: VaultWorld) -> None:
    store = world.store()
    store.list()
    world.breaks("status", "WriteSecret", status=204)
    assert "no KV of version 2" in failure(lambda: store.put("genai", 1, VALUE)).hint


def test_a_redirect_is_not_followed(world: VaultWorld) -> None:
    standby = Standby(world.url)
    with standby.serve() as address:
        store = world.store(address=address)
        for act in (lambda: store.get("genai", 1), lambda: store.put("genai", 1, VALUE)):
            assert "no redirect" in failure(act).hint
    assert world.asked() == 0


def test_nobody_there_is_told(world: VaultWorld) -> None:
    store = world.store()
    world.sandbox.stop()
    failed = failure(lambda: store.put("genai", 1, VALUE))
    assert world.url in failed.message
    assert "nobody took the call" in failed.message
    assert "is it running" in failed.hint


def test_a_port_that_speaks_no_tls_is_not_called_untrusted(world: VaultWorld) -> None:
    store = world.store(address=world.url.replace("http://", "https://"))
    failed = failure(lambda: store.put("genai", 1, VALUE))
    assert "nothing that is TLS" in failed.message
    assert "`address`" in failed.hint


def test_a_certificate_counts_if_the_bundle_says_so(world: VaultWorld, tmp_path: Path) -> None:
    world.sandbox.stop()
    authority = Authority(tmp_path)
    files = authority.issue("vault", "127.0.0.1")
    world.sandbox.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    world.sandbox.tls.load_cert_chain(files.cert, files.key)
    address = world.sandbox.start()
    failed = failure(lambda: world.store(address=address).put("genai", 1, VALUE))
    assert "not trusted" in failed.message
    assert "`ca_bundle`" in failed.hint
    world.store(address=address, ca_bundle=authority.file).put("genai", 1, VALUE)
    missing = world.store(address=address, ca_bundle=tmp_path / "missing.pem")
    assert "`ca_bundle`" in failure(lambda: missing.get("genai", 1)).hint
    assert world.holds(VALUE)


def test_what_is_wrong_with_a_certificate_is_told_apart(world: VaultWorld, tmp_path: Path) -> None:
    world.sandbox.stop()
    authority, junk = Authority(tmp_path), tmp_path / "junk.pem"
    for name, hosts, ends in (
        ("elsewhere", ("vault.example.com",), 1),
        ("other-address", ("127.0.0.2",), 1),
        ("ended", ("127.0.0.1",), -1),
    ):
        files = authority.issue(name, *hosts, ends=timedelta(days=ends))
        world.sandbox.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        world.sandbox.tls.load_cert_chain(files.cert, files.key)
        address = world.sandbox.start()
        store = world.store(address=address, ca_bundle=authority.file)
        failed = failure(partial(store.get, "genai", 1))
        assert ("has ended" if name == "ended" else "for other names") in failed.message
        assert ("clock" if name == "ended" else "let `address` name") in failed.hint
        for content in ("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            junk.write_text(content)
            store = world.store(address=address, ca_bundle=junk)
            failed = failure(partial(store.get, "genai", 1))
            assert "no certificate can be read in `ca_bundle`" in failed.message
            assert "(PEM)" in failed.hint
        world.sandbox.stop()


def test_variables_of_the_environment_move_no_call(tmp_path: Path) -> None:
    sandbox = Overheard()
    lures = {
        "HOME": str(tmp_path),
        "VAULT_ADDR": "http://127.0.0.1:9",
        "VAULT_TOKEN": "hvs.lure",
        "VAULT_NAMESPACE": "lure",
        "VAULT_CACERT": "/nowhere",
        "VAULT_CLIENT_CERT": "/nowhere",
        "VAULT_CLIENT_KEY": "/nowhere",
        "REQUESTS_CA_BUNDLE": "/nowhere",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    program = (
        "import sys; from keyman.core.model import Secret; from keyman.stores import open_store;"
        "address, role_id, secret_id = sys.argv[1:];"
        "auth = {'kind': 'approle', 'role_id': role_id, 'secret_id': Secret(secret_id)};"
        "store = open_store('vault', {'address': address, 'mount': 'secret', 'auth': auth,"
        "  'prefix': 'keyman', 'installation': 'ours'});"
        "store.put('genai', 1, Secret('x')); print(store._client.adapter._kwargs['cert'] or '')"
    )
    with sandbox.serve() as address:
        ran = subprocess.run(
            [sys.executable, "-c", program, address, *sandbox.approle(POLICY)],
            cwd=ROOT,
            env={**os.environ, **lures},
            check=True,
            capture_output=True,
            text=True,
        )
    assert ran.stdout == "\n"
    assert not {"hvs.lure", "lure"} & sandbox.heard
    assert f"secret/{PATH}" in "".join(sandbox.truth())


def test_the_configured_proxy_is_used(world: VaultWorld) -> None:
    store = world.store(address="http://vault.invalid:8200", proxy=world.url)
    store.put("genai", 1, VALUE)
    assert world.holds(VALUE)


# ------------------------------------------------------------------------------------------- ready


def test_being_ready_changes_nothing(world: VaultWorld) -> None:
    store = world.store()
    store.ready("genai")
    store.put("genai", 1, VALUE)
    store.point("genai", 1)
    before = world.sandbox.truth()
    store.ready("genai")
    assert world.sandbox.truth() == before


@pytest.mark.parametrize("told", [True, False])
def test_what_a_token_may_not_do_is_known_before_a_secret_is_there(
    world: VaultWorld, told: bool
) -> None:
    world.sandbox.behaviour = VaultBehaviour(capabilities_repeated=told)
    read_only = world.sandbox.token({"secret/data/keyman/*": ["read", "create"]}, name="r")
    failed = failure(lambda: world.store(Auth("token", token=Secret(read_only))).ready("genai"))
    assert "may not update" in failed.message
    assert 'path "secret/data/keyman/*"' in failed.hint
    world.store(Auth("token", token=Secret(world.sandbox.root_token))).ready("genai")


def test_who_could_put_and_never_destroy_is_not_ready(world: VaultWorld) -> None:
    """What is revoked would stay readable, and only later would anybody hear of it."""
    every = ["create", "read", "update"]
    half = {"secret/data/keyman/*": every, "secret/metadata/keyman/*": ["create", "update", "list"]}
    token = Auth("token", token=Secret(world.sandbox.token(half, name="half")))
    failed = failure(lambda: world.store(token).ready("genai"))
    assert "may not delete in metadata/" in failed.message
    assert 'path "secret/metadata/keyman/*"' in failed.hint


@pytest.mark.parametrize("status", [403, 404])
def test_who_may_not_ask_what_it_may_do_is_ready_all_the_same(
    world: VaultWorld, status: int
) -> None:
    body = json.dumps({"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
    world.breaks("status", "CapabilitiesSelf", status=status, body=body)
    world.store().ready("genai")


def test_an_engine_that_deletes_by_itself_is_refused_if_it_may_be_asked(world: VaultWorld) -> None:
    world.kv.configure(delete_version_after="720h")
    world.store().ready("genai")
    asks = world.sandbox.token(POLICY + 'path "secret/config" { capabilities = ["read"] }')
    failed = failure(lambda: world.store(Auth("token", token=Secret(asks))).ready("genai"))
    assert "deletes by itself" in failed.message
    world.kv.configure(delete_version_after="0s")
    world.store(Auth("token", token=Secret(asks))).ready("genai")


def test_a_vault_that_cannot_take_anything_is_not_ready(world: VaultWorld) -> None:
    root = Auth("token", token=Secret(world.sandbox.root_token))
    assert "secrets enable" in failure(lambda: world.store(root, mount="kv").ready("a")).hint
    store = world.store()
    world.sandbox.sealed = True
    assert "unseal" in failure(lambda: store.ready("genai")).hint
    world.sandbox.sealed = False
    store.ready("genai")
    world.breaks("throttle", "CapabilitiesSelf")
    assert "429" in failure(lambda: store.ready("genai")).message
    world.sandbox.stop()
    failure(lambda: store.ready("genai"))


# ------------------------------------------------------------------------------- nothing secret


def test_nothing_secret_is_logged_or_in_an_error(
    world: VaultWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = world.sandbox.token(POLICY)
    store = world.store(Auth("token", token=Secret(token)))
    store.put("genai", 1, VALUE)
    told = [repr(store)]
    echo = json.dumps({"errors": [f"bad {VALUE.reveal()} {token}"], "data": VALUE.reveal()})
    effects: list[tuple[Effect, dict[str, Any]]] = [
        *(("status", {"status": status, "body": echo}) for status in (200, 400, 403, 404, 500)),
        ("lost_before", {}),
        ("truncated", {}),
        ("garbage", {"body": echo}),
        ("html", {}),
    ]
    for effect, more in effects:
        world.breaks(effect, **more)
        for act in (lambda: store.put("genai", 2, VALUE), lambda: store.get("genai", 1)):
            failed = failure(act)
            told += ["".join(traceback.format_exception(failed)), words(failed), repr(failed)]
        world.sandbox.faults.clear()
    for text in (*told, caplog.text):
        assert VALUE.reveal() not in text
        assert token not in text
