"""YAML text to a small tree that remembers where every value stood.

Only what a configuration needs: mappings, lists and scalars, one document, no merge keys, no
tags but `!env` and `!file`. A scalar stays the text that was written (a plain null becomes None):
what it means is for the schema to say. Everything is bounded: bytes by whoever reads the file,
depth and number of values here, with an alias counting as often as it is used.

No message repeats a value, only keys; the parser's own words are stripped of what they quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import yaml

from keyman.config.tree import Node, Path, Problem, Where, dotted
from keyman.errors import ConfigError

DEPTH_LIMIT = 24
NODE_LIMIT = 400_000  # ten thousand credentials of forty values

_NULLS = ("", "~", "null", "Null", "NULL")
_STRINGS = (None, "!", "tag:yaml.org,2002:str")
_TAGS = ("!env", "!file")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_HARMLESS = re.compile(r"'(<[a-z ]+>|[,:\[\]{}-]|\\t)'")


def read_yaml(text: str, source: str) -> tuple[Node, list[Problem]]:
    """The document and what is wrong with it short of its syntax. A null document is empty.

    Raises ConfigError where reading on makes no sense: bad syntax, too deep, too much.
    """
    strange = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if strange:
        where = Where(source, text.count("\n", 0, strange.start()) + 1)
        raise stop(Problem(where, "", "a control character has no place here"))
    return _Reader(source).document(text)


def stop(problem: Problem) -> ConfigError:
    """The error for a mistake after which nothing else can be said."""
    return ConfigError(f"1 mistake: {problem}", problems=[str(problem)])


@dataclass(slots=True)
class _Reader:
    """One pass over the parser's events, which come one by one and so stop where we stop."""

    source: str
    line: int = 1
    count: int = 0
    anchors: dict[str, Node | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def document(self, text: str) -> tuple[Node, list[Problem]]:
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        try:
            top = self._documents(events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.line = mark.line + 1 if mark else self.line
            raise self._stop("not valid YAML: " + _words(error)) from None
        except (yaml.YAMLError, ValueError, OverflowError):
            # PyYAML lets chr() and int() complain about absurd escapes and versions.
            raise self._stop("not valid YAML") from None
        if top.value is None:
            top.value = {}
        return top, self.problems

    def _documents(self, events: Iterator[yaml.Event]) -> Node:
        top = Node(self._where(), None)
        seen = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                seen += 1
                self._at(event)
                if seen > 1:
                    raise self._stop("one document is enough: remove this one")
                top = self._node(next(events), events, (), 0)
        return top

    def _node(
        self,
        event: yaml.Event,
        events: Iterator[yaml.Event],
        path: Path,
        depth: int,
    ) -> Node:
        self._at(event)
        if depth > DEPTH_LIMIT:
            raise self._stop("nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            return self._counted(self._alias(event.anchor or ""))
        assert isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent))
        anchor = event.anchor
        if anchor:
            self.anchors[anchor] = None
        node = self._counted(Node(self._where(), None))
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(node, event, path)
        else:
            if event.tag not in (None, "!"):
                self._say(path, "a tag belongs before a single value")
            fill = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._list
            fill(node, events, path, depth + 1)
        if anchor:
            self.anchors[anchor] = node
        return node

    def _alias(self, anchor: str) -> Node:
        node = self.anchors.get(anchor)
        if node is None:
            raise self._stop("an alias (*) that names nothing before it")
        return replace(node, where=self._where())

    def _counted(self, node: Node) -> Node:
        self.count += node.size
        if self.count > NODE_LIMIT:
            raise self._stop(f"more than {NODE_LIMIT} values")
        return node

    def _scalar(self, node: Node, event: yaml.ScalarEvent, path: Path) -> None:
        tag = event.tag
        if tag in _TAGS:
            node.tag, node.literal = tag, False
        elif tag not in _STRINGS:
            self._say(path, "the only tags are !env NAME and !file PATH")
        plain_null = event.style is None and tag is None and event.value in _NULLS
        node.value = None if plain_null else self._text(event.value)

    def _text(self, text: str) -> str:
        # An escape such as "\ud800" makes half a character, which nobody can write down again.
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise self._stop("an escape that stands for no character")
        return text

    def _list(
        self,
        node: Node,
        events: Iterator[yaml.Event],
        path: Path,
        depth: int,
    ) -> None:
        items: list[Node] = []
        node.value = items
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, (*path, len(items)), depth))
        node.size += sum(item.size for item in items)

    def _mapping(
        self,
        node: Node,
        events: Iterator[yaml.Event],
        path: Path,
        depth: int,
    ) -> None:
        items: dict[str, Node] = {}
        node.value = items
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            self._at(event)
            if not isinstance(event, yaml.ScalarEvent) or event.tag not in _STRINGS:
                raise self._stop("a key must be plain text")
            key, where = self._text(event.value), self._where()
            if event.anchor:
                self.anchors[event.anchor] = Node(where, key)
            value = self._node(next(events), events, (*path, key), depth)
            if key in items:
                first = items[key].where.line
                self._say((*path, key), f"written twice (first in line {first})", where)
            items[key] = replace(value, where=where)
        node.size += sum(item.size for item in items.values())

    def _at(self, event: yaml.Event) -> None:
        self.line = event.start_mark.line + 1 if event.start_mark else self.line

    def _where(self) -> Where:
        return Where(self.source, self.line)

    def _say(self, path: Path, said: str, where: Where | None = None) -> None:
        self.problems.append(Problem(where or self._where(), dotted(path), said))

    def _stop(self, said: str) -> ConfigError:
        return stop(Problem(self._where(), "", said))


def _words(error: yaml.MarkedYAMLError) -> str:
    """The parser's complaint; what it quotes from the text is left out, it may be a secret."""
    said = f"{error.problem or 'unreadable'} {error.context or ''}".strip()
    return _QUOTED.sub(lambda q: q[0] if _HARMLESS.fullmatch(q[0]) else "'…'", said)
