"""The names under `env` of one credential, taken out of a configuration that is not judged."""

from __future__ import annotations

import os
from pathlib import Path

from keyman.config import environment, find_config, find_home, places, values
from keyman.config.tree import Node
from keyman.config.yaml_source import read_yaml
from keyman.errors import ConfigError


def configured_names(name: str, config: str | None, usual: tuple[str, str]) -> tuple[str, str]:
    """The variables of secret and address; raises ConfigError if they can't be told."""
    environ = dict(os.environ)
    path = find_config(Path(config) if config else None, environ)
    top, _ = read_yaml(_text(path) if path else "", path.name if path else "defaults")
    environment.overlay(top, environ)
    found = _below(top, "credentials", name, "env")
    if found is None:
        return usual
    problems = environment.resolve(found, environ, path.parent if path else find_home(environ))
    if problems:
        raise ConfigError(f"the variables of {name}: {problems[0].text}")
    return _one(found, name, "key", usual[0]), _one(found, name, "base_url", usual[1])


def _text(path: Path) -> str:
    try:
        return places.read_trusted(path, places.CONFIG_LIMIT).text
    except ConfigError as error:
        raise ConfigError(f"{path} {error.message}", hint=error.hint) from None


def _below(node: Node, *keys: str) -> Node | None:
    for key in keys:
        inner = node.value.get(key) if isinstance(node.value, dict) else None
        if inner is None:
            return None
        node = inner
    return node


def _one(section: Node, name: str, key: str, usual: str) -> str:
    found = _below(section, key)
    if found is None:
        return usual
    try:
        return values.variable(found.value if isinstance(found.value, str) else "")
    except ValueError as error:
        raise ConfigError(f"credentials.{name}.env.{key} {error}") from None
