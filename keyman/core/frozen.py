"""Copies of frozen records with some fields changed, in a third of the time of the standard ones.

A rotation makes over a hundred such copies, and a simulated year some hundred thousand. What
`dataclasses.replace` spends most on is asking each field how it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["replace"]

Setter = Callable[[object, Any], None]


def _replace(record: Any, /, **changes: Any) -> Any:
    """As `dataclasses.replace`, for records with slots and with at least two fields.

    Raises KeyError for a field that there is not.
    """
    kind: type = type(record)
    values_of, setters, setter_of = _parts(kind)
    copy: Any = object.__new__(kind)
    for put, value in zip(setters, values_of(record), strict=True):
        put(copy, value)
    for name, value in changes.items():
        setter_of[name](copy, value)
    return copy


@cache
def _parts(kind: type) -> tuple[Callable[[object], Any], tuple[Setter, ...], dict[str, Setter]]:
    setter_of = {field.name: getattr(kind, field.name).__set__ for field in fields(kind)}
    assert len(setter_of) > 1, "an attrgetter of one field gives no tuple"
    return attrgetter(*setter_of), tuple(setter_of.values()), setter_of


if TYPE_CHECKING:
    from dataclasses import replace  # so that what is changed is checked against its field
else:
    replace = _replace
