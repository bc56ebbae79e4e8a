"""What a shell offers behind a command: the names in the configuration, judged or not.

Asks no daemon and complains of nothing: somebody is in the middle of a line.
"""

from __future__ import annotations

import click

from keyman.cli.unjudged import credentials


def names(ctx: click.Context, _: click.Parameter | None, incomplete: str) -> list[str]:
    """The credentials whose names begin so."""
    found = credentials(ctx.find_root().params.get("config"))
    return [name for name in found if name.startswith(incomplete)]
