"""What comes from outside the file: `!env`, `!file`, and KEYMAN__… variables laid over it.

A variable's name is a path: KEYMAN__STORE__KEY__KIND sets store.key.kind, in any case of letters;
in a credential's name `-` is written `_`. Its value is one scalar, or a list or mapping in
brackets. What `!env` and `!file` bring is text and nothing but text, whatever it looks like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from keyman.config import places
from keyman.config.tree import Node, Problem, Where, dotted, shown
from keyman.config.yaml_source import read_yaml
from keyman.errors import ConfigError

PREFIX = "KEYMAN__"
FILE_LIMIT = 64 * 1024
NOT_SET = "export it where this runs, or write `!file PATH`, which every shell and service can read"


def resolve(top: Node, environ: Mapping[str, str], folder: Path) -> list[Problem]:
    """Replace each `!env NAME` and `!file PATH` by its text; relative paths lie below `folder`."""
    problems = []
    for path, node in top.leaves():
        tag, node.tag = node.tag, None
        if tag is None:
            continue
        try:
            named = str(node.value or "")
            node.value = _variable(named, environ) if tag == "!env" else _content(named, folder)
        except ConfigError as error:
            problems.append(Problem(node.where, dotted(path), error.message, _remedy(error)))
            # Something has to stand there, and it must not give rise to a second complaint.
            node.value, node.failed = None, True
    return problems


def _variable(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        said = f"the environment variable {shown(name)} is not set"
        raise ConfigError(said, hint=NOT_SET)
    return _plain(environ[name], f"the environment variable {shown(name)}")


def _remedy(error: ConfigError) -> str:
    return "" if error.hint == error.default_hint else error.hint


def _content(name: str, folder: Path) -> str:
    try:
        path = folder / Path(name).expanduser()
    except RuntimeError:
        raise ConfigError("the file's path cannot be followed") from None
    if not path.is_absolute() or not name:
        raise ConfigError("names no file")
    if not Path(name).is_absolute() and not name.startswith("~") and not places.below(path, folder):
        raise ConfigError("a relative path must stay below the configuration's folder")
    try:
        text = places.read_trusted(path, FILE_LIMIT).text
    except ConfigError as error:
        raise ConfigError(f"the file {shown(name)} {error.message}") from None
    return _plain(text.removesuffix("\n").removesuffix("\r"), f"the file {shown(name)}")


def _plain(text: str, source: str) -> str:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise ConfigError(f"{source} holds something that is not text")
    return text


def overlay(top: Node, environ: Mapping[str, str]) -> list[Problem]:
    """Lay the KEYMAN__… variables over the tree, in the order of their names."""
    problems: list[Problem] = []
    seen: dict[tuple[str, ...], str] = {}
    for name in sorted(environ, key=lambda name: (name.upper(), name)):
        if not name.upper().startswith(PREFIX):
            continue
        where = Where(shown(name), 0)
        try:
            path = _path(name[len(PREFIX) :].lower(), top)
            _put(top, path, _value(environ[name], where))
            if seen.setdefault(path, name) != name:
                problems.append(Problem(where, "", f"set twice (also by {shown(seen[path])})"))
        except ConfigError as error:
            problems.append(Problem(where, "", error.message))
    return problems


def _path(rest: str, top: Node) -> tuple[str, ...]:
    head, _, tail = rest.partition("__")
    if head != "credentials" or not tail:
        return tuple(rest.split("__"))
    names = sorted(_named(tail, top), key=len)
    if not names:
        return ("credentials", *tail.split("__"))
    if len(names) > 1 and len(names[-1]) == len(names[-2]):
        raise ConfigError(f"may mean {shown(names[-2])} or {shown(names[-1])}")
    after = tail[len(names[-1]) :].removeprefix("__")
    return ("credentials", names[-1], *(after.split("__") if after else ()))


def _named(tail: str, top: Node) -> Iterator[str]:
    """Names of the credentials that the variable may mean (a name may hold `__` itself)."""
    listed = top.value.get("credentials") if isinstance(top.value, dict) else None
    for name in listed.value if listed and isinstance(listed.value, dict) else ():
        written = name.lower().replace("-", "_")
        if tail == written or tail.startswith(written + "__"):
            yield name


def _put(top: Node, path: tuple[str, ...], value: Node) -> None:
    # Mappings on the way are copied: an alias may have put the same one in two places.
    node = top
    for part in path[:-1]:
        items = node.value if isinstance(node.value, dict) else {}
        inner = items.get(part)
        kept = dict(inner.value) if inner and isinstance(inner.value, dict) else {}
        fresh = Node(inner.where if inner else value.where, dict(kept))
        node.value = items | {part: fresh}
        node = fresh
    node.value = (node.value if isinstance(node.value, dict) else {}) | {path[-1]: value}


def _value(text: str, where: Where) -> Node:
    _plain(text, "it")
    if text[:1] in ("[", "{", '"', "'"):
        try:
            node, problems = read_yaml(text, where.source)
        except ConfigError:
            problems, node = [], Node(where, text)  # then it is text that looks odd
        if problems:
            raise ConfigError(problems[0].text)
        return _moved(node, where)
    return Node(where, None if text in ("", "~", "null") else text, literal=False)


def _moved(node: Node, where: Where) -> Node:
    """The same values, standing in an environment variable."""
    node.where, node.literal = where, False
    if isinstance(node.value, dict):
        for inner in node.value.values():
            _moved(inner, where)
    elif isinstance(node.value, list):
        for inner in node.value:
            _moved(inner, where)
    return node
