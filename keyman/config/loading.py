"""From a file, the environment and a home to `Settings`, or every mistake at once.

The order: read → lay the environment over it → follow `!env` and `!file` → check the shape →
put together. Shape and meaning are judged in one go, so that a person sees all there is to
mend; only what can't be parsed at all ends it early. Whatever goes wrong is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from keyman.config import assembly, environment, places, values
from keyman.config.kinds import PROVIDERS
from keyman.config.schema import CredentialSection, FileShape, Section
from keyman.config.settings import CredentialSettings, Settings
from keyman.config.tree import Node, Problem, dotted, shown
from keyman.config.tree import Path as Keys
from keyman.config.wording import keys_of, one_of, unknown_key, words
from keyman.config.yaml_source import read_yaml
from keyman.core.policy import Policy
from keyman.errors import ConfigError

PROBLEMS_SHOWN = 100
SECRET_KEYS = ("passphrase", "admin_key")

Shape = TypeVar("Shape", bound=Section)


def load(path: Path | None, *, home: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of that file (None: defaults and the environment alone).

    Raises ConfigError with every mistake in `problems`, each `file:LINE: key: what is wrong`.
    """
    document = _document(path)
    source = shown(path.name) if path else "defaults"
    top, problems = read_yaml(document.text, source)
    folder = path.absolute().parent if path else home
    problems += environment.overlay(top, environ)
    problems += environment.resolve(top, environ, folder)
    if document.open_to_others:
        problems += _exposed(top)
    reading = _Reading(top, problems)
    anchor = places.Anchor(home, folder, environ.get("HOME"))
    settings = reading.settings(anchor, path)
    if settings is None or reading.problems:
        raise _all(reading.problems, path)
    return settings


def _document(path: Path | None) -> places.Document:
    if path is None:
        return places.Document("", open_to_others=False)
    try:
        return places.read_trusted(path, places.CONFIG_LIMIT)
    except ConfigError as error:
        said = f"{path}: {error.message}"
        raise ConfigError(said, hint=error.hint, problems=[said]) from None


def _exposed(top: Node) -> list[Problem]:
    """Secrets written out in a file that others may read."""
    said = "a secret is written out in a file that others can read (chmod go-r, !env or !file)"
    return [
        Problem(node.where, dotted(path), said)
        for path, node in top.leaves()
        if path and path[-1] in SECRET_KEYS and node.literal and node.value is not None
    ]


def _all(problems: Iterable[Problem], path: Path | None) -> ConfigError:
    # In the order of the file, then what variables brought; each once, however it came about.
    ordered = sorted(
        dict.fromkeys(problems), key=lambda found: (not found.where.line, found.where.line)
    )
    lines = [str(found) for found in ordered]
    counted = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    if len(lines) > PROBLEMS_SHOWN:
        lines = [*lines[:PROBLEMS_SHOWN], f"… and {len(lines) - PROBLEMS_SHOWN} more"]
    where = path or "the environment"
    listed = f" {lines[0]}" if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
    return ConfigError(f"{counted} in {where}:{listed}", problems=lines)


@dataclass(slots=True)
class _Reading:
    """Turns the tree into settings and collects what is wrong on the way."""

    top: Node
    problems: list[Problem] = field(default_factory=list)

    def settings(self, anchor: places.Anchor, source: Path | None) -> Settings | None:
        if not isinstance(self.top.value, dict):
            self.say((), "the file must be a mapping of keys to values")
            return None
        shape, broken = self.shape(FileShape, (), self.top)
        if shape is None:
            return None
        usual = None if "defaults" in broken else assembly.default_policy(shape)
        found = [self.credential(name, node, usual, anchor) for name, node in self.listed()]
        if not found and usual:
            self.say_all(("defaults", "policy"), usual.problems())
        credentials = {credential.name: credential for credential in found if credential}
        for path, text in assembly.references(credentials, dict(self.listed())):
            self.say(path, text)
        if "agent" not in broken:
            for path, text in assembly.strangers(credentials, shape.agent.allow_uids):
                self.say(path, text)
        settings, said = assembly.settings(shape, credentials, anchor, source)
        for path, text in said:
            if path[0] not in broken:
                self.say(path, text)
        return settings

    def listed(self) -> list[tuple[str, Node]]:
        node = self.top.nearest(("credentials",))
        if node is self.top or node.value is None:
            return []
        if not isinstance(node.value, dict):
            self.say(("credentials",), "must be a mapping of names to credentials")
            return []
        return list(node.value.items())

    def credential(
        self, name: str, node: Node, usual: Policy | None, anchor: places.Anchor
    ) -> CredentialSettings | None:
        path = ("credentials", name)
        if not values.NAME.fullmatch(name):
            self.say(path, "a name is 1 to 63 of a-z, 0-9, - and _, beginning with a-z or 0-9")
        section = self.section(path, node)
        shape, broken = self.shape(section, path, node) if section else (None, set())
        if shape is None:
            return None
        policy = shape.over(usual or Policy())
        # A policy of which a part could not be read is not judged: what is missing is in doubt.
        if usual and "policy" not in broken:
            self.say_all((*path, "policy"), shape.policy_problems(policy))
        for wrong in shape.contradictions():
            if not broken.intersection(wrong.about):
                self.say((*path, *wrong.at), wrong.text)
        return assembly.credential(name, shape, policy, anchor)

    def section(self, path: Keys, node: Node) -> type[CredentialSection] | None:
        """The section that fits the provider named."""
        if not isinstance(node.value, dict):
            self.say(path, "must be a mapping with at least `provider`")
            return None
        named = node.nearest(("provider",))
        kind = None if named is node else named.value
        if isinstance(kind, str) and kind in PROVIDERS:
            return PROVIDERS[kind]
        if named is node:
            self.say(path, "provider is required")
        else:
            self.say((*path, "provider"), one_of(PROVIDERS, kind))
        for key in node.value:
            if not any(key in keys_of(section) for section in PROVIDERS.values()):
                self.say((*path, key), unknown_key(key, PROVIDERS.values()))
        return None

    def shape(self, section: type[Shape], path: Keys, node: Node) -> tuple[Shape | None, set[str]]:
        """What could be read of the section, and the keys of it that hold something unreadable.

        What is wrong is reported and left out, so that the rest can be judged as well.
        """
        data = node.plain()
        broken = {str(keys[0]) for keys, leaf in node.leaves() if keys and leaf.failed}
        try:
            return section.model_validate(data), broken
        except ValidationError as error:
            for found in error.errors(include_url=False):
                inner = found["loc"]
                value = self.top.nearest((*path, *inner)).value
                self.say((*path, *inner), words(section, inner, found, value))
                _leave_out(data, inner)
                if found["type"] != "extra_forbidden":
                    broken.add(str(inner[0]) if inner else "")
        try:
            return section.model_validate(data), broken
        except ValidationError:
            return None, broken

    def say_all(self, path: Keys, said: Iterable[str]) -> None:
        for text in said:
            self.say(path, text)

    def say(self, path: Keys, text: str) -> None:
        node = self.top.nearest(path)
        if not node.failed:
            self.problems.append(Problem(node.where, dotted(path), text))


def _leave_out(data: object, path: Keys) -> None:
    """Take the key at that path away; of a list, the whole list."""
    for depth, part in enumerate(path):
        if not isinstance(data, dict) or part not in data:
            return
        inner = data[part]
        if depth == len(path) - 1 or not isinstance(inner, dict):
            del data[part]
        data = inner
