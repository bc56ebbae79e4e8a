"""What an application goes on with once its daemon was killed: never what was replaced or revoked.

The real daemon and commands, against the sandbox; the client in this process is the application.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import keyman
from keyman.client.held import HELD
from tests.commands.world import Home


@pytest.fixture
def place(place: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Started once, and where this process's client looks for an agent."""
    place.start()
    HELD.clear()
    monkeypatch.setenv("KEYMAN_HOME", str(place.state))
    yield place
    HELD.clear()


def stands_in(held: str) -> bool:
    try:
        return keyman.get("genai") == held
    except keyman.NoUsableSecret:
        return False


@pytest.mark.parametrize("order", ["revoke --yes", "rotate"])
def test_what_was_ordered_before_the_daemon_died_counts(place: Home, order: str) -> None:
    verb, *words = order.split()
    with place.daemon() as daemon:
        held = keyman.get("genai")
        assert place.run(verb, "genai", *words).status == 0
        daemon.kill()
        daemon.wait()
    assert not stands_in(held)


@pytest.mark.parametrize(
    ("order", "used"),
    [(["daemon", "--once"], True), (["revoke", "genai", "--now", "--yes"], False)],
    ids=["nothing to do", "revoke"],
)
def test_what_a_command_did_while_no_daemon_ran_counts(
    place: Home, order: list[str], used: bool
) -> None:
    with place.daemon() as daemon:
        held = keyman.get("genai")
        daemon.kill()
        daemon.wait()
    assert place.run(*order).status == 0
    assert not HELD["genai"].fresh()
    assert stands_in(held) is used
