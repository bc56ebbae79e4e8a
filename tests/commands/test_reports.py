"""What clients report, to the real desk: versions that were refused, and some that never were."""

from __future__ import annotations

import pytest

from keyman import client
from keyman.errors import NotFound
from tests.commands.world import Home


def test_a_version_that_never_was_is_not_found(place: Home) -> None:
    place.start()
    with place.open() as app:
        for version in (2, 99):
            with pytest.raises(NotFound, match=f"genai never had a version {version}"):
                app.desk.rejected("genai", version, "uid 1")
        assert app.desk.status("genai")["health"] == "ok"
        app.desk.rejected("genai", 1, "uid 1")


def test_the_agent_says_so(place: Home) -> None:
    place.start()
    with place.daemon():
        status, said = client.call(
            "POST",
            "/api/v1/secrets/genai/rejected",
            {"version": 99},
            path_to_socket=str(place.state / "agent.sock"),
        )
    assert (status, said["error"]["code"]) == (404, "not_found")


def test_of_a_credential_without_any_version_none_is_found(place: Home) -> None:
    with place.open() as app, pytest.raises(NotFound):
        app.desk.rejected("genai", 1, "uid 1")


def test_reports_about_one_version_cost_one_probe_for_a_while(place: Home) -> None:
    place.start()
    with place.open() as app:
        before = place.cloud.ask("GET", "counts")["accepted"]
        for _ in range(5):
            app.desk.rejected("genai", 1, "uid 1")
            app.rotator.advance("genai")
        assert place.cloud.ask("GET", "counts")["accepted"] - before == 1
