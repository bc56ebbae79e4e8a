"""Sentences that people read, and hints that can help them."""

from __future__ import annotations

from typing import Any

import pytest

from keyman.cli import demo
from keyman.cli.demo_clients import Count
from keyman.cli.demo_view import Watch
from tests.commands.world import Home


def slot(name: str, state: str | None, stage: str | None) -> dict[str, Any]:
    return {"name": name, "state": state, "stage": stage}


def told(capsys: pytest.CaptureFixture[str], *slots: dict[str, Any], version: int | None) -> str:
    """The line that a piped demo says of a credential."""
    current = {"version": version} if version else None
    with Watch(quiet=False) as watch:
        watch.show([{"name": "genai", "current": current, "slots": slots}], {}, 0, 0)
    return capsys.readouterr().out


def test_a_piped_demo_says_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = slot("key-one", None, None), slot("key-two", None, None)
    assert told(capsys, one, two, version=None) == "genai: no version is current yet\n"
    one["stage"] = "requested"
    said = "genai: no version is current yet; key-one requested\n"
    assert told(capsys, one, two, version=None) == said
    one |= {"state": "ACTIVE", "stage": "current"}
    two["state"] = "INACTIVE"
    said = "genai: version 1 is current; key-one ACTIVE current, key-two INACTIVE\n"
    assert told(capsys, one, two, version=1) == said
    assert told(capsys, version=3) == "genai: version 3 is current\n"


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (Count(1, 1, 0, 0, {1, 2}), "1 rotation, 1 lookup and 1 request in 5 s: 0 rejected\n"),
        (
            Count(2, 2, 1, 0, {1, 2, 3}),
            "2 rotations, 2 lookups and 2 requests in 5 s: 1 rejected\n",
        ),
    ],
)
def test_a_demo_counts_in_good_grammar(
    capsys: pytest.CaptureFixture[str], count: Count, said: str
) -> None:
    demo._report({"genai": count}, 5, as_json=False)
    assert capsys.readouterr().out == said


def test_a_slot_that_there_is_not_hints_at_those_there_are(place: Home) -> None:
    place.start()
    done = place.keyman("revoke", "genai", "--slot", "nope", "--yes")
    hint = "its slots: key-one, key-two; `keyman status genai` shows what is in them"
    assert (done.status, done.err.splitlines()[1]) == (3, f"keyman: hint: {hint}")


def test_forgetting_what_was_never_known_hints_at_what_can_be_forgotten(place: Home) -> None:
    place.start()
    done = place.keyman("forget", "nope")
    hint = "keyman: hint: known and not configured any more: "
    assert (done.status, done.err.splitlines()[1]) == (3, f"{hint}none")
    place.edit("  genai:", "  other:")
    assert place.keyman("forget", "nope").err.splitlines()[1] == f"{hint}genai"
