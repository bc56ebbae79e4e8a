"""The environment variables of a credential: their names as configured, and what they are set to.

Most configurations rename nothing, and a text that nowhere says "env" cannot: then no YAML is read
and no package needed. Otherwise the two names are taken out and the rest is not judged: whoever
runs a command may lack variables and files that the daemon has.
"""

from __future__ import annotations

import os
import sys

from keyman.cli.get import not_installed
from keyman.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USUAL = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
# Left over from another cloud, the SDK would send them along to this one.
STRAY = ("OPENAI_PROJECT_ID", "OPENAI_ORG_ID")
HOW_TO_RENAME = "name them in the configuration of one of the two: env: {key: …, base_url: …}"
OVERLAID = "KEYMAN__CREDENTIALS"
CONFIG_LIMIT = 4 * 1024 * 1024


class Names:
    """What one credential's secret and address are called."""

    __slots__ = ("base_url", "credential", "key")

    def __init__(self, credential: str, key: str, base_url: str) -> None:
        self.credential = credential
        self.key = key
        self.base_url = base_url

    def values(self, answer: Mapping[str, object]) -> dict[str, str | None]:
        """Variable → value. An address that nobody knows is not touched."""
        known: dict[str, str | None] = {self.key: str(answer["value"])}
        if answer["base_url"] is not None:
            known[self.base_url] = str(answer["base_url"])
        return known


def names_of(credentials: Sequence[str], config: str | None, key: str | None = None) -> list[Names]:
    """For each credential; `key` names the secret of a single one instead of what is configured.

    Raises UsageError if two of them would share a variable, ConfigError.
    """
    if key is not None and len(credentials) > 1:
        raise UsageError("--var is for one name", hint=HOW_TO_RENAME)
    if key is not None and not (key.isascii() and key.isidentifier()):
        raise UsageError(f"{key!r} cannot be the name of an environment variable")
    found = [Names(name, *_names(name, config)) for name in dict.fromkeys(credentials)]
    if key is not None:
        found[0].key = key
    _refuse_shared(found)
    return found


def _refuse_shared(found: list[Names]) -> None:
    owner: dict[str, str] = {}
    for one in found:
        for variable in (one.key, one.base_url):
            other = owner.setdefault(variable, one.credential)
            if other != one.credential:
                said = f"{other} and {one.credential} would both be {variable}"
                raise UsageError(said, hint=HOW_TO_RENAME)
        if one.key == one.base_url:
            raise UsageError(f"secret and address of {one.credential} would both be {one.key}")


def with_strays(values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Besides, None for what must not be set unless it is configured."""
    return {**values, **{name: None for name in STRAY if name not in values}}


# Where names are configured.


def _names(name: str, config: str | None) -> tuple[str, str]:
    if _renames_nothing(config):
        return USUAL
    try:
        from keyman.cli.configured_names import configured_names
    except ModuleNotFoundError as missing:
        raise not_installed("the configuration names variables", missing) from None
    return configured_names(name, config, USUAL)


def _renames_nothing(config: str | None) -> bool:
    """Whether that is certain. No `env` and no escape that could spell it: no such key."""
    if any(variable.upper().startswith(OVERLAID) for variable in os.environ):
        return False
    named = config or os.environ.get("KEYMAN_CONFIG")
    try:
        opened = os.open(named or _usual_config(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return not named  # whoever named one that is not there has to be told
    except OSError:
        return False
    try:
        with os.fdopen(opened, "rb") as file:
            text = file.read(CONFIG_LIMIT)
    except OSError:
        return False
    return len(text) < CONFIG_LIMIT and b"env" not in text and b"\\" not in text


def _usual_config() -> str:
    """What platformdirs says, without it."""
    folder = os.environ.get("XDG_CONFIG_HOME", "").strip()
    if not folder.startswith("/"):
        mac = sys.platform == "darwin"
        folder = os.path.expanduser("~/Library/Application Support" if mac else "~/.config")  # noqa: PTH111 pathlib costs
    return f"{folder}/keyman/config.yaml"
