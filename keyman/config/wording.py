"""What pydantic found, said in our words: the key is named, the value never.

Knows the sections, to say which key or word comes nearest to the one that was written.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum
from typing import Any, get_args

from pydantic.fields import FieldInfo

from keyman.config.schema import Section
from keyman.config.tree import Path


def words(section: type[Section], path: Path, found: Any, value: object) -> str:
    """The verdict of pydantic in our words; none of them contains the value."""
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), [_section_at(section, path[:-1])])
    if kind in ("literal_error", "enum"):
        keys = tuple(part for part in path if isinstance(part, str))  # without places in lists
        field = keys_of(_section_at(section, keys[:-1]))[keys[-1]]
        return one_of(_choices(field.annotation), value)
    if kind == "value_error":
        return str(context["error"])
    return _PLAIN.get(kind, _OTHERWISE).format(**context)


_OTHERWISE = "is not what belongs here"
_MAPPING = "must be a mapping of keys to values"
_INTEGER = "must be a whole number"
_NUMBER = "must be a number"
_PLAIN = {
    "missing": "is required",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "tuple_type": "must be a list",
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": _INTEGER,
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
}


def one_of(known: Iterable[str], value: object) -> str:
    choices = list(known)
    return f"must be one of {', '.join(choices)}" + _near(value, choices)


def _near(said: object, known: Iterable[str]) -> str:
    close = _closest(said, known)
    return f" (did you mean {close}?)" if close else ""


def _closest(said: object, known: Iterable[str]) -> str | None:
    if not isinstance(said, str):
        return None
    return next(iter(difflib.get_close_matches(said[:80].lower(), list(known), n=1)), None)


def unknown_key(key: str, sections: Iterable[type[Section]]) -> str:
    """Of a key that none of these sections has: the nearest here, else the nearest further in."""
    known = [named for section in sections for named in keys_of(section).items()]
    here = _near(key, [name for name, _ in known])
    if here:
        return f"unknown key{here}"
    for name, described in known:
        for inner in sections_of(described.annotation):
            close = _closest(key, keys_of(inner))
            if close:
                return f"unknown key (did you mean {close}, under {name}?)"
    return "unknown key"


def _section_at(section: type[Section], path: Path) -> type[Section]:
    for part in path:
        if isinstance(part, str):  # else it is a place in a list of sections
            section = sections_of(keys_of(section)[part].annotation)[0]
    return section


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """The section's keys as they are written in the file: `from` can't be a name in Python."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def sections_of(annotation: Any) -> list[type[Section]]:
    """The sections that a key of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for inner in get_args(annotation) for found in sections_of(inner)]


def _choices(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(choice) for choice in annotation]
    inner = get_args(annotation)
    words = [choice for choice in inner if isinstance(choice, str)]
    return words or [choice for one in inner for choice in _choices(one)]
