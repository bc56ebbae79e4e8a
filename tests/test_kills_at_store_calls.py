"""A rotation is killed at a call to its store, or to a mirror, and begun again.

Nothing is promoted whose secret is not in the store, and nobody who reads a vault directly is ahead
of it. This is a slice: all calls that change something at one kind of vault, some of them
elsewhere, and some of those that look. `python -m tests.store_calls` takes every call everywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store_calls.rotating import Instants, Rotating

CHANGES = (Instants(after=False, changes=True), Instants(after=True, changes=True))
EVERY_OTHER = (
    Instants(after=False, changes=True, step=2),
    Instants(after=True, changes=True, first=2, step=2),
)
SOME = (
    Instants(after=False, changes=True, step=5),
    Instants(after=True, changes=True, first=3, step=5),
)
KINDS = {
    "sealed-file": EVERY_OTHER,
    "vault": CHANGES,
    "oci-vault": SOME,
    "aws-secrets-manager": SOME,
}


def assert_holds(rotating: Rotating, *every: Instants, at_least: int) -> None:
    for instants in every:
        for _ in rotating.killed_at_each(instants):
            assert not rotating.broken, "\n".join(rotating.broken)
    assert not rotating.broken, "\n".join(rotating.broken)
    assert len(rotating.killed_at) >= at_least, rotating.killed_at


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind == "sealed-file" else pytest.param(kind, marks=pytest.mark.slow)
        for kind in KINDS
    ],
)
def test_nothing_is_promoted_that_is_not_kept(tmp_path: Path, kind: str) -> None:
    with Rotating(tmp_path, kind) as rotating:
        assert_holds(rotating, *KINDS[kind], at_least=2)


@pytest.mark.slow
def test_nor_if_it_is_killed_while_it_looks(tmp_path: Path) -> None:
    with Rotating(tmp_path, "vault") as rotating:
        assert_holds(rotating, Instants(after=False, first=3, step=6), at_least=2)


@pytest.mark.slow
def test_a_mirror_has_what_was_promoted_and_nothing_else(tmp_path: Path) -> None:
    with Rotating(tmp_path, "sealed-file", "vault") as rotating:
        assert_holds(rotating, *CHANGES, at_least=2)
