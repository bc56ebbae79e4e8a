"""Commands that take their words as they come: those of bare.py, in the command table of click."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import click


class Unparsed(click.Command):
    """`main(words, config)` does the work; its help is the module's HELP."""

    def __init__(self, name: str, module: ModuleType) -> None:
        self._main: Callable[[list[str], str | None], int] = module.main
        super().__init__(name, help=module.HELP, add_help_option=False)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []

    def invoke(self, ctx: click.Context) -> Any:
        return self._main(ctx.args, ctx.obj["config"])

    def get_help(self, ctx: click.Context) -> str:
        return str(self.help)
