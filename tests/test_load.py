"""A slice of `python -m tests.load.crowd`, and proof that both parts would notice.

`python -m tests.load.soak` takes minutes: here only what it judges by.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.load import crowd, soak
from tests.load.soak import Asked, Look


@pytest.fixture(scope="module")
def found() -> crowd.Found:
    return crowd.run(200, watched=0.5)


@pytest.mark.slow
def test_everybody_gets_their_own(found: crowd.Found) -> None:
    assert not [one for one in found.broken if "at rest" not in one]
    assert found.lookups == 201


def test_it_would_be_seen_if_somebody_got_another_s() -> None:
    seen = crowd.Found(3)
    crowd.everybody_has_their_own(crowd.names(3), seen, lambda _: crowd.secret("app-000001"))
    assert len(seen.broken) == 2


STEADY = [Look(100_000_000 + n, 20, 10) for n in range(90)]


def judged(looks: list[Look], failed: tuple[str, ...] = ()) -> list[str]:
    seen: Any = SimpleNamespace(looks=looks, asked=Asked(1, list(failed)))
    return list(soak.broken(seen))


def test_what_stays_as_it_was_is_no_growth() -> None:
    filling = [Look(50_000_000, 5, 3), *STEADY[1:]]
    assert judged(filling) == []


@pytest.mark.parametrize(
    "growing",
    [
        [Look(100_000_000 + 200_000 * n, 20, 10) for n in range(90)],
        [Look(100_000_000, 20 + n // 4, 10) for n in range(90)],
        [Look(100_000_000, 20, 10 + n // 4) for n in range(90)],
    ],
    ids=["memory", "descriptors", "threads"],
)
def test_growth_is_seen(growing: list[Look]) -> None:
    (said,) = judged(growing)
    assert "grow" in said


def test_a_lookup_that_failed_is_seen() -> None:
    assert judged(STEADY, ("/api/v1/secrets/genai: status 503",)) != []
