"""What the shell offers behind `keyman`, asked the way bash's completion asks."""

from __future__ import annotations

import pytest

from tests.commands.world import Home


def offered(place: Home, line: str) -> list[str]:
    words = line.split(" ")
    place.environ |= {
        "_KEYMAN_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    said = place.run().out.splitlines()
    return [one.partition(",")[2] for one in said if one]


@pytest.mark.parametrize(
    "command", ["get", "env", "run", "write", "status", "rotate", "revoke", "put", "policy"]
)
def test_names_of_credentials(place: Home, command: str) -> None:
    """Also of a configuration with mistakes: nothing is done with it here."""
    place.edit("region:", "regoin: !env NOBODY_SET_THIS\n    region:")
    assert offered(place, f"keyman {command} ge") == ["genai"]


def test_options_and_what_is_behind(place: Home) -> None:
    assert offered(place, "keyman get --pre") == ["--previous"]
    assert offered(place, "keyman rotate --dry") == ["--dry-run"]
    assert offered(place, "keyman run genai -- ge") == []


def test_the_configuration_that_the_line_names(place: Home) -> None:
    other = place.folder / "other.yaml"
    other.write_text("credentials: {elsewhere: {provider: static}}\n")
    assert offered(place, f"keyman --config {other} get ") == ["elsewhere"]


def test_without_a_configuration_nothing_is_said(place: Home) -> None:
    place.config.write_text("{")
    assert offered(place, "keyman get ") == []
