"""Where secrets rest: the kinds of store there are, and how one is opened.

Only the module of the kind in use is imported. What a kind needs of the configuration is picked
out here, so that a store is built from plain arguments and never sees a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from keyman.errors import ConfigError
from keyman.stores.protocol import Store

Options = Mapping[str, Any]

KINDS: dict[str, str] = {
    "memory": "keyman.stores.memory:Memory",
    "keyring": "keyman.stores.os_keyring:OsKeyring",
    "sealed-file": "keyman.stores.sealed_file:SealedFile",
}


def open_store(kind: str, options: Options) -> Store:
    """Open a store of that kind.

    `options` is the configuration's `store` section, and beside it what only the wiring knows:
    `installation` (its name), `home` (a Path) and `read_only` (default False). Raises ConfigError
    for an unknown kind or option, StoreFailed if the place does not open.
    """
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigError(f"there is no store of kind {kind!r}", hint=f"the kinds are: {known}")
    module, _, name = KINDS[kind].partition(":")
    store = getattr(import_module(module), name)
    return cast("Store", store(**_ARGUMENTS[kind](options)))


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


_ARGUMENTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "memory": _of_memory,
    "keyring": _of_keyring,
    "sealed-file": _of_sealed_file,
}
