"""The names under `env` of one credential, taken out of a configuration that is not judged."""

from __future__ import annotations

from keyman.cli.unjudged import below, section
from keyman.config import values
from keyman.config.tree import Node
from keyman.errors import ConfigError


def configured_names(name: str, config: str | None, usual: tuple[str, str]) -> tuple[str, str]:
    """The variables of secret and address; raises ConfigError if they can't be told."""
    found = section(config, "credentials", name, "env")
    if found is None:
        return usual
    return _one(found, name, "key", usual[0]), _one(found, name, "base_url", usual[1])


def _one(found: Node, name: str, key: str, usual: str) -> str:
    node = below(found, key)
    if node is None:
        return usual
    try:
        return values.variable(node.value if isinstance(node.value, str) else "")
    except ValueError as error:
        raise ConfigError(f"credentials.{name}.env.{key} {error}") from None
