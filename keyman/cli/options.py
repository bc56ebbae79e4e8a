"""What options of several commands take, checked as the configuration checks its own values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import click

from keyman.config import values

LONGEST_REASON = 500
T = TypeVar("T")


class Checked(click.ParamType[T]):
    """A text that the given function turns into a value, or refuses in words."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> T:
        if not isinstance(value, str):
            return value  # type: ignore[return-value]  # a default, converted already
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _reason(raw: str) -> str:
    if len(raw) > LONGEST_REASON:
        raise ValueError(f"must not be longer than {LONGEST_REASON} characters")
    return values.text(raw) if raw else raw


DURATION = Checked("duration", values.duration)
REASON = click.option("--reason", type=Checked("text", _reason), default="", help="for the journal")
TIMEOUT = click.option(
    "--timeout",
    type=DURATION,
    default=timedelta(minutes=5),
    help="how long to wait; 5m unless given",
)
