"""A vault of OCI of the test's own: the sandbox over HTTP, Oracle's SDK before it."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from keyman.sandbox.oci_vault import COMPARTMENT, KEY, REGION, TENANCY, USER, VAULT, OciVaultSandbox
from keyman.sandbox.oci_vault_behaviour import VaultBehaviour
from keyman.sandbox.profiles import Profile, write_profile


def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    return options_of(vault(request))


def vault(
    request: pytest.FixtureRequest, behaviour: VaultBehaviour | None = None
) -> OciVaultSandbox:
    """A sandbox that serves until the test is over."""
    sandbox = OciVaultSandbox(seed=1, behaviour=behaviour)
    sandbox.verifier.register_user(TENANCY, USER, signing_profile().public_key)
    sandbox.start()
    request.addfinalizer(sandbox.stop)
    return sandbox


def options_of(sandbox: OciVaultSandbox) -> dict[str, Any]:
    return {
        "region": REGION,
        "compartment_id": COMPARTMENT,
        "vault_id": VAULT,
        "key_id": KEY,
        "prefix": "keyman-",
        "auth": {"kind": "config-file", "file": signing_profile().config, "profile": "DEFAULT"},
        "management": sandbox.url,
        "retrieval": sandbox.url,
    }


@cache
def signing_profile() -> Profile:
    """Made once: making a key takes longer than most tests."""
    folder = tempfile.mkdtemp(prefix="keyman-test-")
    atexit.register(shutil.rmtree, folder)
    return write_profile(Path(folder), "DEFAULT", TENANCY, USER, REGION)
