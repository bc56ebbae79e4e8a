"""Questions about `notify`: is anybody told, and does it arrive?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from keyman.checkup.finding import Finding
from keyman.config import Settings
from keyman.errors import ConfigError
from keyman.notify.courier import Judging
from keyman.notify.standing import FAILING
from keyman.views import Json


def of_targets(settings: Settings) -> Iterator[Finding]:
    """Asks apprise whether it can read the addresses; sends nothing."""
    if not settings.notify:
        yield Finding(
            "info",
            "notify_empty",
            "nobody is told when something goes wrong: `notify` is empty",
            "docs/notify.md has examples for mail, chat and pagers",
        )
        return
    try:
        problems = Judging(settings.notify, settings.network).problems()
    except ConfigError as missing:
        yield Finding("error", "notify_missing", missing.message, missing.hint)
        return
    for said in problems:
        yield Finding("error", "notify_unreadable", said, "docs/notify.md has examples")


def of_the_told(standing: Iterable[Json]) -> Iterator[Finding]:
    for one in standing:
        if one["state"] == FAILING:
            yield Finding(
                "warning",
                "notify_failing",
                f"{one['name']} can't be told since {one['since']}: {one['error']}",
                f"`keyman notify test --to {one['name']}` tries it now",
            )
