"""Single values taken out of a configuration that is not judged, so whatever else is wrong with it.

Raises ConfigError only where the file can't be read or isn't YAML, or where a value that was asked
for stands somewhere else (`!env`, `!file`) and isn't there.
"""

from __future__ import annotations

import os
from pathlib import Path

from keyman.config import environment, find_config, find_home, places
from keyman.config.tree import Node
from keyman.config.yaml_source import read_yaml
from keyman.errors import ConfigError


def section(config: str | None, *keys: str) -> Node | None:
    """What stands below these keys, with what its tags bring; None if nothing does."""
    environ, path, top = _tree(config)
    found = below(top, *keys)
    if found is None:
        return None
    problems = environment.resolve(found, environ, path.parent if path else find_home(environ))
    if problems:
        raise ConfigError(f"{'.'.join(keys)}: {problems[0].text}", hint=problems[0].remedy or None)
    return found


def agent_socket(config: str | None) -> Path | None:
    """Where it says that the agent is; None if it doesn't, or that can't be told."""
    try:
        found = section(config, "agent", "socket")
        if found is None or not isinstance(found.value, str):
            return None
        environ, path, _ = _tree(config)
        home = find_home(environ)
    except ConfigError:
        return None
    anchor = places.Anchor(home, path.absolute().parent if path else home, environ.get("HOME"))
    return anchor.path(found.value)


def credentials(config: str | None) -> list[str]:
    """Their names; none where they can't be told."""
    try:
        found = below(_tree(config)[2], "credentials")
    except ConfigError:
        return []
    return sorted(found.value) if found and isinstance(found.value, dict) else []


def below(node: Node, *keys: str) -> Node | None:
    for key in keys:
        inner = node.value.get(key) if isinstance(node.value, dict) else None
        if inner is None:
            return None
        node = inner
    return node


def _tree(config: str | None) -> tuple[dict[str, str], Path | None, Node]:
    """The environment, the file, and what both say together."""
    environ = dict(os.environ)
    path = find_config(Path(config) if config else None, environ)
    top, _ = read_yaml(_text(path) if path else "", path.name if path else "defaults")
    environment.overlay(top, environ)
    return environ, path, top


def _text(path: Path) -> str:
    try:
        return places.read_trusted(path, places.CONFIG_LIMIT).text
    except ConfigError as error:
        raise ConfigError(f"{path} {error.message}", hint=error.hint) from None
