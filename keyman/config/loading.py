"""From a file, the environment and a home to `Settings`, or every mistake at once.

The order: read → lay the environment over it → follow `!env` and `!file` → check the shape →
put together. Shape and meaning are judged in one go, so that a person sees all there is to
mend; only what can't be parsed at all ends it early. Whatever goes wrong is a ConfigError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from keyman.config import assembly, environment, places, values
from keyman.config.kinds import PROVIDERS
from keyman.config.schema import FileShape, Section, StoreSection
from keyman.config.settings import CredentialSettings, Settings
from keyman.config.store_settings import DEFAULT, StoreSettings
from keyman.config.stores import STORES, USUAL
from keyman.config.stores.local import LocalSection
from keyman.config.tree import Node, Problem, dotted, shown
from keyman.config.tree import Path as Keys
from keyman.config.wording import keys_of, one_of, unknown_key, words
from keyman.config.yaml_source import read_yaml
from keyman.core.policy import Policy
from keyman.errors import ConfigError

PROBLEMS_SHOWN = 100
SECRET_KEYS = ("passphrase", "admin_key", "secret_id")

Shape = TypeVar("Shape", bound=Section)


def load(path: Path | None, *, home: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of that file (None: defaults and the environment alone).

    Raises ConfigError with every mistake in `problems`, each `file:LINE: key: what is wrong`.
    """
    return _judged(_document(path), path, home, environ)


def judge(text: str, path: Path, *, home: Path, environ: Mapping[str, str]) -> Settings:
    """The settings that such a text would be as the file at that path, which need not be there.

    Raises ConfigError as `load` does.
    """
    return _judged(places.Document(text, open_to_others=False), path, home, environ)


def _judged(
    document: places.Document, path: Path | None, home: Path, environ: Mapping[str, str]
) -> Settings:
    source = shown(path.name) if path else "defaults"
    top, problems = _tree(document.text, source, path)
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


def _tree(text: str, source: str, path: Path | None) -> tuple[Node, list[Problem]]:
    try:
        return read_yaml(text, source)
    except ConfigError as error:
        [line] = error.problems
        raise ConfigError(f"1 mistake in {path}: {line}", problems=[line]) from None


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
        if _secret(top, path) and node.literal and node.value is not None
    ]


def _secret(top: Node, path: Keys) -> bool:
    """Whether what stands there is one. The `token` of other sections is a path or an address."""
    if path[-2:] == ("auth", "token"):
        return top.nearest((*path[:-2], "kind")).value == "vault"
    if path[:1] == ("notify",) and path[-1] == "url":
        return True
    return bool(path) and path[-1] in SECRET_KEYS


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
    remedies = {found.remedy for found in ordered}
    hint = remedies.pop() if len(remedies) == 1 else None  # else each line is to be mended
    return ConfigError(f"{counted} in {where}:{listed}", hint=hint, problems=lines)


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
        stores = self.stores(anchor)
        listed = self.listed("credentials")
        found = [self.credential(name, node, usual, anchor) for name, node in listed]
        if not found and usual:
            self.say_all(("defaults", "policy"), usual.problems())
        credentials = {credential.name: credential for credential in found if credential}
        for path, text in assembly.references(credentials, dict(listed)):
            self.say(path, text)
        for path, text in assembly.resting(credentials, {DEFAULT, *dict(self.listed("stores"))}):
            self.say(path, text)
        if "agent" not in broken:
            for path, text in assembly.strangers(credentials, shape.agent.allow_uids):
                self.say(path, text)
        settings, said = assembly.settings(shape, stores, credentials, anchor, source)
        said += assembly.told_of(settings.notify, dict(listed))
        for path, text in said:
            if path[0] not in broken:
                self.say(path, text)
        return settings

    def listed(self, part: str) -> list[tuple[str, Node]]:
        """The entries of `credentials` or `stores`."""
        node = self.top.nearest((part,))
        if node is self.top or node.value is None:
            return []
        if not isinstance(node.value, dict):
            self.say((part,), f"must be a mapping of names to {part}")
            return []
        return list(node.value.items())

    def stores(self, anchor: places.Anchor) -> dict[str, StoreSettings]:
        """By name; the usual one where nothing, or nothing readable, is said of `store`."""
        node = self.top.nearest(("store",))
        node = Node(self.top.where, {}) if node is self.top else node
        usual = StoreSettings(DEFAULT, USUAL, LocalSection().place(anchor))
        written = self.store(DEFAULT, ("store",), node, anchor) if node.value is not None else None
        found = {DEFAULT: written or usual}
        for name, entry in self.listed("stores"):
            path = ("stores", name)
            if not values.NAME.fullmatch(name) or name == DEFAULT:
                text = f"a name is 1 to 63 of a-z, 0-9, - and _, and not {DEFAULT}: that is `store`"
                self.say(path, text)
            elif made := self.store(name, path, entry, anchor):
                found[name] = made
        for keys, text in assembly.one_place(found):
            self.say(keys, text)
        return found

    def store(
        self, name: str, path: Keys, node: Node, anchor: places.Anchor
    ) -> StoreSettings | None:
        section: type[StoreSection] | None
        if path == ("store",) and isinstance(node.value, dict) and "kind" not in node.value:
            section = STORES[USUAL]
        else:
            section = self.section(path, node, "kind", STORES)
        if section and not node.nearest(("kind",)).where.line:
            node = _fitting(node, section)
        shape, broken = self.shape(section, path, node) if section else (None, set())
        if shape is None:
            return None
        for wrong in shape.contradictions():
            if not broken.intersection(wrong.about):
                self.say((*path, *wrong.at), wrong.text)
        return StoreSettings(name, shape.kind, shape.place(anchor))

    def credential(
        self, name: str, node: Node, usual: Policy | None, anchor: places.Anchor
    ) -> CredentialSettings | None:
        path = ("credentials", name)
        if not values.NAME.fullmatch(name):
            self.say(path, "a name is 1 to 63 of a-z, 0-9, - and _, beginning with a-z or 0-9")
        section = self.section(path, node, "provider", PROVIDERS)
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

    def section(
        self, path: Keys, node: Node, key: str, kinds: Mapping[str, type[Shape]]
    ) -> type[Shape] | None:
        """The section that fits the kind named."""
        if not isinstance(node.value, dict):
            self.say(path, f"must be a mapping with at least `{key}`")
            return None
        named = node.nearest((key,))
        kind = None if named is node else named.value
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind]
        if named is node:
            self.say(path, f"{key} is required")
        else:
            self.say((*path, key), one_of(kinds, kind))
        for other in node.value:
            if not any(other in keys_of(section) for section in kinds.values()):
                self.say((*path, other), unknown_key(other, kinds.values()))
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
                if found["type"] != "extra_forbidden" or "policy" in inner:
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


def _fitting(node: Node, section: type[StoreSection]) -> Node:
    """A store whose kind a variable changed, without what was written for the kind before."""
    assert isinstance(node.value, dict)
    others = {key for other in STORES.values() for key in keys_of(other)} - keys_of(section).keys()
    return replace(node, value={k: v for k, v in node.value.items() if k not in others})


def _leave_out(data: object, path: Keys) -> None:
    """Take the key at that path away; of a list, the whole list."""
    for depth, part in enumerate(path):
        if not isinstance(data, dict) or part not in data:
            return
        inner = data[part]
        if depth == len(path) - 1 or not isinstance(inner, dict):
            del data[part]
        data = inner
