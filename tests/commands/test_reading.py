"""Commands that only look: their JSON, and that looking leaves no trace."""

from __future__ import annotations

import os

import pytest

from tests.commands.shapes import CREDENTIAL, LOOKUP, STATUS, mistakes
from tests.commands.world import Home


def files(place: Home) -> dict[str, tuple[int, int]]:
    """Every file of the home with its size and time of change."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(place.folder.rglob("*"))
    }


def test_get_prints_the_secret_and_a_newline(place: Home, sky: object) -> None:
    place.start()
    done = place.run("get", "genai")
    secret = place.keyman("get", "genai", "--field", "value").out
    assert (done.status, done.err) == (0, "")
    assert done.out == secret
    assert done.out.startswith("sk-sandbox-")
    assert done.out.count("\n") == 1


def test_the_lookups_json(place: Home) -> None:
    place.start()
    alone = place.keyman("get", "genai", "--json").json
    with place.daemon():
        served = place.keyman("get", "genai", "--json").json
    assert mistakes(alone, LOOKUP) == []
    assert served == alone
    assert set(alone) == set(LOOKUP)
    assert (alone["stage"], alone["slot"], alone["version"]) == ("current", "key-one", 1)


def test_the_previous_version_is_there_during_the_overlap(place: Home) -> None:
    place.start()
    first = place.keyman("get", "genai").out
    assert place.keyman("rotate", "genai").status == 0
    before = place.keyman("get", "genai", "--previous", "--json").json
    assert mistakes(before, LOOKUP) == []
    assert (before["stage"], before["version"], before["value"] + "\n") == ("previous", 1, first)
    assert place.keyman("get", "genai").out != first


@pytest.mark.parametrize(
    "words",
    [
        ("get", "genai"),
        ("get", "genai", "--json"),
        ("get", "genai", "--previous"),
        ("status",),
        ("status", "genai"),
        ("list",),
        ("check",),
        ("policy", "genai", "--one-key"),
        ("rotate", "genai", "--dry-run"),
    ],
    ids=" ".join,
)
def test_looking_changes_no_file_and_makes_none(place: Home, words: tuple[str, ...]) -> None:
    place.start()
    before = files(place)
    place.keyman(*words)
    assert files(place) == before


@pytest.mark.parametrize("words", [("get", "genai"), ("status",), ("list",), ("check",)])
def test_looking_at_a_home_that_is_not_there_makes_none(
    place: Home, words: tuple[str, ...]
) -> None:
    place.keyman(*words)
    assert not place.state.exists()


def test_status_with_nothing_known(place: Home) -> None:
    """Unknown is null, and every member is there."""
    said = place.keyman("status", "--json").json
    assert mistakes(said, STATUS) == []
    assert said["daemon"] == {"running": False, "since": None}
    [one] = said["credentials"]
    assert (one["health"], one["current"], one["next"], one["order"]) == ("down", None, None, None)
    assert [slot["name"] for slot in one["slots"]] == ["key-one", "key-two"]
    assert {slot["state"] for slot in one["slots"]} == {None}


def test_status_of_a_rotated_credential_with_and_without_a_daemon(place: Home) -> None:
    place.start()
    place.keyman("rotate", "genai")
    place.keyman("rotate", "genai", "--no-wait")
    alone = place.keyman("status", "genai", "--json").json
    assert mistakes(alone, CREDENTIAL) == []
    assert alone["order"]["state"] == "waiting"
    with place.daemon():
        everything = place.keyman("status", "--json").json
        served = place.keyman("status", "genai", "--json").json
    assert mistakes(everything, STATUS) == []
    assert everything["daemon"]["running"] is True
    assert set(served) == set(alone)
    assert served["current"] == alone["current"]


def test_nothing_in_json_moves_a_cursor(place: Home) -> None:
    """Standard output is ASCII: what a provider says can neither colour nor turn it."""
    place.start()
    done = place.keyman("status", "--json")
    assert done.out.isascii()
    assert done.out.isprintable() or done.out.rstrip("\n").isprintable()


@pytest.mark.parametrize("name", ["genai\n", "GENAI", "../genai", "gen ai", "", "-genai", "génai"])
@pytest.mark.parametrize("command", ["get", "rotate", "policy", "rollback"])
def test_names_are_matched_whole_before_any_lookup(place: Home, command: str, name: str) -> None:
    assert place.keyman(command, "--", name).status == 3


def test_list_needs_no_home(place: Home) -> None:
    place.edit("  genai:", "  zeta: {}\n  genai:")
    done = place.keyman("list")
    assert done.status == 2
    place.edit("  zeta: {}\n", "")
    assert place.keyman("list").out == "genai\n"


def test_a_home_with_wide_rights_is_tightened_with_a_warning(place: Home) -> None:
    place.start()
    place.state.chmod(0o755)
    done = place.keyman("rotate", "genai")
    assert "was open to others" in done.err
    assert os.stat(place.state).st_mode & 0o777 == 0o700  # noqa: PTH116
