"""A configuration that is taken up while a turn is under way: lookups follow the newer one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keyman.app import App, open_app
from keyman.config import Settings
from keyman.core.model import Secret
from keyman.stores.memory import Memory
from tests.configs import read

BOTH = """\
store: {kind: memory}
credentials:
  partner: {provider: static, base_url: "https://one.example/v1"}
"""
MOVED = BOTH.replace("one.example", "two.example")
NONE = "store: {kind: memory}\n"


class Meanwhile(Memory):
    """While a secret is read from it, the configuration is replaced."""

    def __init__(self, app: App, by: Settings) -> None:
        super().__init__()
        self._app, self._by = app, by

    def get(self, name: str, number: int) -> Secret | None:
        found = super().get(name, number)
        self._app.use(self._by)
        return found


def turned(home: Path, by: str) -> App:
    """An app in which that configuration was taken up while a turn's record was being published."""
    home.mkdir(exist_ok=True)
    app = open_app(read(BOTH, home))
    managed = app.rotator.managed["partner"]
    app.rotator.put("partner", Secret("sk-one"), None, by="test")
    record = app.journal.load(managed.spec)[0]
    app.publisher.withdraw("partner")
    store = Meanwhile(app, read(by, home))
    store.put("partner", 1, Secret("sk-one"))
    app.rotator.managed = {"partner": replace(managed, store=store)}
    app._changed(record)
    return app


def test_what_left_the_configuration_is_not_published_again(tmp_path: Path) -> None:
    with turned(tmp_path / "home", NONE) as app:
        assert not app.snapshot.knows("partner")


def test_what_is_published_is_as_the_newer_configuration_says(tmp_path: Path) -> None:
    with turned(tmp_path / "home", MOVED) as app:
        assert b"two.example" in (app.snapshot.wire("partner", plain=False) or b"")
