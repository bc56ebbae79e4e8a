"""A vault of the test's own: the sandbox over HTTP, and a token that may do what is needed."""

from pathlib import Path
from typing import Any

import pytest

from keyman.sandbox.hashicorp_vault import HashicorpVaultSandbox

POLICY = """
path "secret/data/keyman/*"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/keyman/*" { capabilities = ["create", "update", "list", "delete"] }
"""


def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    folder: Path = request.getfixturevalue("tmp_path")
    sandbox = HashicorpVaultSandbox()
    request.addfinalizer(sandbox.stop)
    token = folder / "vault-token"
    token.write_text(f"{sandbox.token(POLICY)}\n")
    return {
        "address": sandbox.start(),
        "mount": "secret",
        "prefix": "keyman",
        "auth": {"kind": "token", "token_file": token},
    }
