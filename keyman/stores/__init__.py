"""Where secrets rest: the kinds of store there are, and how one is opened.

Only the module of the kind in use is imported. What a kind needs of the configuration is picked
out here, so that a store is built from plain arguments and never sees a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from keyman.errors import ConfigError
from keyman.stores.protocol import Store

Options = Mapping[str, Any]

KINDS: dict[str, str] = {
    "aws-secrets-manager": "keyman.stores.aws_secrets_manager:AwsSecretsManager",
    "memory": "keyman.stores.memory:Memory",
    "oci-vault": "keyman.stores.oci_vault:OciVault",
    "keyring": "keyman.stores.os_keyring:OsKeyring",
    "sealed-file": "keyman.stores.sealed_file:SealedFile",
    "vault": "keyman.stores.hashicorp_vault:HashicorpVault",
}

EXTRAS = {"aws-secrets-manager": "aws", "oci-vault": "oci-vault", "vault": "vault"}
"""What has to be installed for a kind beyond `keyman[daemon]`."""


def open_store(kind: str, options: Options) -> Store:
    """Open a store of that kind.

    `options` is the configuration's `store` section, and beside it what only the wiring knows:
    `installation` (its name), `home` (a Path) and `read_only` (default False). Raises ConfigError
    for an unknown kind or option, StoreFailed if the place does not open.
    """
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigError(f"there is no store of kind {kind!r}", hint=f"the kinds are: {known}")
    store = _imported(kind)
    return cast("Store", store(**_ARGUMENTS[kind](options)))


def _imported(kind: str) -> Any:
    module, _, name = KINDS[kind].partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        if kind not in EXTRAS:
            raise
        raise ConfigError(
            f"stores of kind {kind} need a package that is not installed ({missing.name})",
            hint=f"pip install 'keyman[{EXTRAS[kind]}]'",
        ) from None


def _of_aws_secrets_manager(options: Options) -> dict[str, Any]:
    from keyman.vendors.aws import Account

    network = options.get("network")
    ca_bundle = network.ca_bundle if network else None
    return {
        "account": Account(
            options["region"],
            profile=options.get("profile"),
            endpoint=options.get("endpoint"),
            timeout=options.get("timeout", timedelta(seconds=10)).total_seconds(),
            proxy=network.proxy if network else None,
            ca_bundle=str(ca_bundle) if ca_bundle else None,
        ),
        "prefix": options["prefix"],
        "installation": options["installation"],
        "kms_key_id": options.get("kms_key_id"),
        "read_only": bool(options.get("read_only")),
    }


def _of_memory(_options: Options) -> dict[str, Any]:
    return {}


def _of_keyring(options: Options) -> dict[str, Any]:
    return {
        "backend": options.get("backend"),
        "service": options.get("service") or f"keyman/{options['installation']}",
        "lock": Path(options["home"]) / "keyring.lock",
    }


def _of_sealed_file(options: Options) -> dict[str, Any]:
    from keyman.stores.sealing_key import load_key

    path, read_only = Path(options["path"]), bool(options.get("read_only"))
    # A new key beside an existing file could open nothing, and would hide that the key is gone.
    begun = path.exists() and path.stat().st_size > 0
    whereabouts = {"installation": options["installation"], "home": options["home"]}
    return {
        "path": path,
        "key": load_key({**whereabouts, **options["key"]}, make=not read_only and not begun),
        "installation": options["installation"],
        "read_only": read_only,
    }


def _of_vault(options: Options) -> dict[str, Any]:
    from keyman.vendors.vault_outcomes import Place
    from keyman.vendors.vault_sign_in import Auth
    from keyman.vendors.vault_wire import Reach

    network = options.get("network")
    return {
        "place": Place(options["address"], options["mount"], options["prefix"]),
        "auth": Auth(**options["auth"]),
        "installation": options["installation"],
        "reach": Reach(
            namespace=options.get("namespace"),
            ca_bundle=options.get("ca_bundle") or (network.ca_bundle if network else None),
            proxy=network.proxy if network else None,
            timeout=options.get("timeout", timedelta(seconds=10)).total_seconds(),
        ),
    }


def _of_oci_vault(options: Options) -> dict[str, Any]:
    from keyman.vendors.network import Direct
    from keyman.vendors.oci_identity import SignIn
    from keyman.vendors.oci_vaults import Where

    return {
        "where": Where(
            region=options.get("region"),
            compartment_id=options["compartment_id"],
            vault_id=options["vault_id"],
            key_id=options["key_id"],
            auth=SignIn(**options["auth"]),
            management=options.get("management"),
            retrieval=options.get("retrieval"),
        ),
        "prefix": options["prefix"],
        "installation": options["installation"],
        "network": options.get("network") or Direct(),
        "timeout": options.get("timeout", timedelta(seconds=20)).total_seconds(),
        "read_only": bool(options.get("read_only")),
    }


_ARGUMENTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "aws-secrets-manager": _of_aws_secrets_manager,
    "memory": _of_memory,
    "oci-vault": _of_oci_vault,
    "keyring": _of_keyring,
    "sealed-file": _of_sealed_file,
    "vault": _of_vault,
}
