"""Homes with credentials of other kinds than OCI's, and what `check` finds in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.commands.shapes import FINDING, mistakes
from tests.commands.world import Cloud, Home
from tests.scratch import short_folder

QUICK = (
    "log: {level: warning}\ndefaults: {max_client_staleness: 1s, retry: {first: 200ms, max: 2s}}\n"
)
NO_CLOUD = Cloud("http://127.0.0.1:9", Path("/nowhere"))


@contextmanager
def home_with(credentials: str, **environ: str) -> Iterator[Home]:
    """A fresh home with that below `credentials:`; `{folder}` is the folder it lies in."""
    folder = short_folder()
    try:
        made = Home(NO_CLOUD, folder, dict(environ))
        made.config.write_text(QUICK + "credentials:\n" + credentials)
        made.config.chmod(0o600)
        yield made
    finally:
        shutil.rmtree(folder)


def findings(place: Home) -> dict[str, list[tuple[str, str | None]]]:
    """Code → (severity, credential) of each finding; the exit status is checked on the way."""
    done = place.keyman("check", "--json")
    said: list[dict[str, Any]] = done.json["findings"]
    assert [mistake for one in said for mistake in mistakes(one, FINDING)] == []
    assert done.status == (1 if any(one["severity"] == "error" for one in said) else 0)
    found: dict[str, list[tuple[str, str | None]]] = {}
    for one in said:
        found.setdefault(one["code"], []).append((one["severity"], one["credential"]))
    for usual in ("key_beside_store", "notify_empty"):
        found.pop(usual, None)
    return found
