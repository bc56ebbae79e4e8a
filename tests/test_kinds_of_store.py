"""What a store of each kind is built from, as the configuration and the wiring say.

The names of tests here leave out the words by which tests/mutation/rooms.py leaves out tests.
"""

from __future__ import annotations

import base64
import string
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman.core.model import Secret
from keyman.errors import ConfigError, StoreFailed
from keyman.stores import _ARGUMENTS, EXTRAS, KINDS, open_store
from keyman.stores.limits import MAX_BYTES, fitting
from keyman.stores.memory import Memory
from keyman.vendors.aws import Account
from keyman.vendors.network import Direct
from keyman.vendors.oci_identity import SignIn
from keyman.vendors.oci_vaults import Where
from keyman.vendors.vault_outcomes import Place
from keyman.vendors.vault_sign_in import Auth
from keyman.vendors.vault_wire import Reach

HOME = Path("/home/of/keyman")
WIRING = {"installation": "here", "home": HOME}
BUNDLE = Path("/etc/ssl/ours.pem")
NETWORK = Direct("http://proxy.example:3128", str(BUNDLE))
SOON = timedelta(minutes=1, milliseconds=500)
VAULT = {"address": "https://vault.example", "mount": "secret", "prefix": "keyman"}
OCI = {"compartment_id": "ocid1.c", "vault_id": "ocid1.v", "key_id": "ocid1.k", "prefix": "k-"}


@pytest.mark.parametrize(
    ("kind", "said", "built"),
    [
        ("memory", {}, {}),
        (
            "keyring",
            {},
            {"backend": None, "service": "keyman/here", "lock": HOME / "keyring.lock"},
        ),
        (
            "keyring",
            {"backend": "kwallet", "service": "elsewhere"},
            {"backend": "kwallet", "service": "elsewhere", "lock": HOME / "keyring.lock"},
        ),
        (
            "aws-secrets-manager",
            {"region": "eu-central-1", "prefix": "keyman/"},
            {
                "account": Account("eu-central-1", timeout=10.0),
                "prefix": "keyman/",
                "installation": "here",
                "kms_key_id": None,
                "read_only": False,
            },
        ),
        (
            "aws-secrets-manager",
            {
                "region": "eu-central-1",
                "prefix": "keyman/",
                "profile": "team",
                "endpoint": "https://aws.example",
                "timeout": SOON,
                "network": Direct("http://proxy.example:3128", BUNDLE),  # type: ignore[arg-type]
                "kms_key_id": "alias/ours",
                "read_only": True,
            },
            {
                "account": Account(
                    "eu-central-1",
                    profile="team",
                    endpoint="https://aws.example",
                    timeout=60.5,
                    proxy="http://proxy.example:3128",
                    ca_bundle=str(BUNDLE),
                ),
                "prefix": "keyman/",
                "installation": "here",
                "kms_key_id": "alias/ours",
                "read_only": True,
            },
        ),
        (
            "aws-secrets-manager",
            {"region": "eu-central-1", "prefix": "keyman/", "network": Direct()},
            {
                "account": Account("eu-central-1"),
                "prefix": "keyman/",
                "installation": "here",
                "kms_key_id": None,
                "read_only": False,
            },
        ),
        (
            "vault",
            {**VAULT, "auth": {"kind": "token-file", "token_file": "/run/token"}},
            {
                "place": Place("https://vault.example", "secret", "keyman"),
                "auth": Auth("token-file", token_file="/run/token"),
                "installation": "here",
                "reach": Reach(timeout=10.0),
            },
        ),
        (
            "vault",
            {
                **VAULT,
                "auth": {"kind": "approle", "role_id": "r", "secret_id": Secret("s")},
                "namespace": "team",
                "ca_bundle": "/etc/ssl/the-vault-s.pem",
                "timeout": SOON,
                "network": NETWORK,
            },
            {
                "place": Place("https://vault.example", "secret", "keyman"),
                "auth": Auth("approle", role_id="r", secret_id=Secret("s")),
                "installation": "here",
                "reach": Reach(
                    namespace="team",
                    ca_bundle="/etc/ssl/the-vault-s.pem",
                    proxy="http://proxy.example:3128",
                    timeout=60.5,
                ),
            },
        ),
        (
            "vault",
            {**VAULT, "auth": {"kind": "token"}, "network": NETWORK},
            {
                "place": Place("https://vault.example", "secret", "keyman"),
                "auth": Auth("token"),
                "installation": "here",
                "reach": Reach(ca_bundle=str(BUNDLE), proxy="http://proxy.example:3128"),
            },
        ),
        (
            "oci-vault",
            {**OCI, "auth": {"kind": "instance"}},
            {
                "where": Where(None, "ocid1.c", "ocid1.v", "ocid1.k", SignIn("instance")),
                "prefix": "k-",
                "installation": "here",
                "network": Direct(),
                "timeout": 20.0,
                "read_only": False,
            },
        ),
        (
            "oci-vault",
            {
                **OCI,
                "auth": {"kind": "profile", "file": "/etc/oci", "profile": "team"},
                "region": "eu-frankfurt-1",
                "management": "https://kms.example",
                "retrieval": "https://secrets.example",
                "network": NETWORK,
                "timeout": SOON,
                "read_only": True,
            },
            {
                "where": Where(
                    "eu-frankfurt-1",
                    "ocid1.c",
                    "ocid1.v",
                    "ocid1.k",
                    SignIn("profile", "/etc/oci", "team"),
                    "https://kms.example",
                    "https://secrets.example",
                ),
                "prefix": "k-",
                "installation": "here",
                "network": NETWORK,
                "timeout": 60.5,
                "read_only": True,
            },
        ),
    ],
    ids=[
        *("memory", "the system's", "the system's by name", "Amazon", "Amazon with everything"),
        *("Amazon without a proxy", "HashiCorp", "HashiCorp with everything"),
        *("HashiCorp behind a proxy", "Oracle", "Oracle with everything"),
    ],
)
def test_a_store_is_built_from_what_was_said(
    kind: str, said: dict[str, Any], built: dict[str, Any]
) -> None:
    assert _ARGUMENTS[kind]({**WIRING, **said}) == built


KEY = bytes(range(32))
TEXT = base64.urlsafe_b64encode(KEY)


def sealed_in(folder: Path, **more: Any) -> dict[str, Any]:
    key = {"kind": "file", "path": folder / "store.key"}
    return {**WIRING, "path": str(folder / "secrets.db"), "key": key, **more}


@pytest.mark.parametrize("read_only", [False, True])
def test_a_sealed_file_is_built_with_its_key(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "store.key").touch(mode=0o600)
    (tmp_path / "store.key").write_bytes(TEXT)
    assert _ARGUMENTS["sealed-file"](sealed_in(tmp_path, read_only=read_only)) == {
        "path": tmp_path / "secrets.db",
        "key": KEY,
        "installation": "here",
        "read_only": read_only,
    }


@pytest.mark.parametrize(
    ("there", "read_only", "made"),
    [(None, False, True), (b"", False, True), (b"x", False, False), (None, True, False)],
    ids=["no file", "an empty one", "one that was begun", "reading only"],
)
def test_a_key_is_made_for_a_new_file_alone(
    tmp_path: Path, there: bytes | None, read_only: bool, made: bool
) -> None:
    if there is not None:
        (tmp_path / "secrets.db").write_bytes(there)
    options = sealed_in(tmp_path, read_only=read_only)
    if made:
        assert len(_ARGUMENTS["sealed-file"](options)["key"]) == len(KEY)
    else:
        with pytest.raises(StoreFailed, match="is missing"):
            _ARGUMENTS["sealed-file"](options)
    assert (tmp_path / "store.key").exists() == made


def test_a_key_in_the_system_s_own_place_is_told_whose_it_is(tmp_path: Path) -> None:
    """Where it is filed is named by the installation, and the lock lies in the home."""
    options = sealed_in(tmp_path, key={"kind": "keyring", "backend": "nobody's"})
    with pytest.raises(ConfigError, match='there is no keyring backend "nobody\'s"'):
        _ARGUMENTS["sealed-file"](options)


@pytest.mark.parametrize(
    "kind", sorted(KINDS), ids=lambda kind: f"kind {sorted(KINDS).index(kind)}"
)
def test_a_kind_whose_package_is_missing_says_which_to_install(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = KINDS[kind].partition(":")[0]
    monkeypatch.setitem(sys.modules, module, None)  # as if nothing were installed that it needs
    with pytest.raises((ConfigError, ModuleNotFoundError)) as refused:
        open_store(kind, WIRING)
    if kind in EXTRAS:
        error = refused.value
        assert isinstance(error, ConfigError)
        assert error.message == (
            f"stores of kind {kind} need a package that is not installed ({module})"
        )
        assert error.hint == f"pip install 'keyman[{EXTRAS[kind]}]'"
    else:
        assert isinstance(refused.value, ModuleNotFoundError)


def test_a_store_in_memory_keeps_what_fits_until_it_is_closed() -> None:
    with closing(open_store("memory", WIRING)) as store:
        assert isinstance(store, Memory)
        for name, number in (("b", 10), ("b", 9), ("a", 2)):
            store.put(name, number, Secret(f"{name}{number}"))
        with pytest.raises(StoreFailed):
            store.put("a", 3, Secret("a\nb"))
        store.drop("b", 10)
        store.drop("b", 10)
        assert (store.list(), store.list("b")) == ([("a", 2), ("b", 9)], [("b", 9)])
        assert (store.get("a", 2), store.get("b", 10)) == (Secret("a2"), None)
    assert (store.list(), store.get("a", 2)) == ([], None)


@pytest.mark.parametrize(
    "value",
    [
        *("", string.printable.replace("\n", "").replace("\r", "")),
        *("k" * MAX_BYTES, "é" * (MAX_BYTES // 2)),
    ],
    ids=["empty", "every character of a line", "as long as may be", "so many bytes"],
)
def test_one_line_of_text_fits(value: str) -> None:
    assert fitting("genai", Secret(value)) == value


@pytest.mark.parametrize(
    ("value", "why"),
    [
        *((f"a{end}b", "contains a line end or a NUL character") for end in "\n\r\0"),
        ("half \ud83d pair", "is not valid text"),
        ("k" * (MAX_BYTES + 1), "has 16385 bytes, more than 16384"),
        ("é" * (MAX_BYTES // 2 + 1), "has 16386 bytes, more than 16384"),
    ],
    ids=["line end", "return", "NUL", "no text", "a byte too many", "a character too many"],
)
def test_what_does_not_fit_is_refused_with_the_reason(value: str, why: str) -> None:
    with pytest.raises(StoreFailed) as refused:
        fitting("genai", Secret(value))
    assert refused.value.message == f"the secret for 'genai' was not kept: it {why}"
    assert refused.value.hint == (
        "a secret is one line of text; look for a stray line end where it comes from"
    )
