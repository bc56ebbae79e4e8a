"""Commands that take their words as they come: those of bare.py, in the command table of click."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import click
from click.shell_completion import CompletionItem

from keyman.cli.completion import names

_OPTIONS = re.compile(r"^  (--[a-z-]+)", re.MULTILINE)


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if "--" in ctx.args:
            return []  # what follows is somebody else's command
        if incomplete.startswith("-"):
            offered = [
                one for one in _OPTIONS.findall(str(self.help)) if one.startswith(incomplete)
            ]
        else:
            offered = names(ctx, None, incomplete)
        return [CompletionItem(one) for one in offered]

    def get_help(self, ctx: click.Context) -> str:
        return str(self.help)
