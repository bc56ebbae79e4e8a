"""Vaults that people check before they start, copy out of and name twice, by the real commands."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from keyman.cli.terminal import complain
from keyman.errors import StoreFailed
from tests.commands.kinds import home_with
from tests.commands.world import Home
from tests.vaults.kinds import REMOTE, place_of

PARTNER = "  partner: {provider: static}\n"


def stores(**sections: object) -> str:
    return PARTNER + f"stores: {json.dumps(sections)}\n"


def ok(place: Home, *words: str, stdin: str = "") -> None:
    done = place.keyman(*words, stdin=stdin)
    assert done.status == 0, done.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", REMOTE)
def test_a_check_before_the_first_start_leaves_nothing_in_the_way_of_later_ones(
    kind: str, tmp_path: Path
) -> None:
    there = place_of(kind, tmp_path / "there")
    with there.served():
        text = stores(team=there.section()).replace("static}", "static, store: team}")
        with home_with(text, **there.environment()) as place:
            ok(place, "store", "check", "team")
            ok(place, "put", "partner", stdin="sk-1\n")
            ok(place, "store", "check", "team")
            ok(place, "store", "check", "team")


@pytest.mark.parametrize("kind", REMOTE)
def test_a_check_asks_a_vault_before_the_first_start(kind: str, tmp_path: Path) -> None:
    """That is when people want to know, and it leaves nothing there."""
    there = place_of(kind, tmp_path / "there")
    with there.served():
        text = stores(team=there.section()).replace("static}", "static, store: team}")
        with home_with(text, **there.environment()) as place:
            done = place.keyman("check", "--json")
            found = {one["code"]: one for one in done.json["findings"]}
            assert (done.status, "store_failed" in found) == (0, False), done.out
            assert not (place.state / "keyman.db").exists()
    with home_with(text, **there.environment()) as place:  # and now nobody answers
        done = place.keyman("check", "--json")
        [one] = [one for one in done.json["findings"] if one["code"] == "store_failed"]
        assert (done.status, one["severity"]) == (1, "error")
        assert not (place.state / "keyman.db").exists()


def test_one_file_under_two_names_is_not_emptied(tmp_path: Path) -> None:
    text = stores(other={"kind": "sealed-file", "path": "other.db"})
    with home_with(text) as place:
        ok(place, "put", "partner", stdin="sk-1\n")
        os.link(place.state / "secrets.db", place.folder / "other.db")
        place.edit("static}", "static, store: other}")
        done = place.keyman("store", "copy", "--from", "default", "--to", "other", "--move")
        assert done.status == 1
        assert "the very place in which partner rests" in done.err
        assert place.keyman("get", "partner").out == "sk-1\n"


def test_nor_is_one_vault_under_two_addresses(tmp_path: Path) -> None:
    there = place_of("vault", tmp_path / "there")
    with there.served():
        one = there.section()
        two = {**one, "address": str(one["address"]).replace("127.0.0.1", "localhost")}
        text = stores(one=one, two=two).replace("static}", "static, store: one}")
        with home_with(text, **there.environment()) as place:
            ok(place, "put", "partner", stdin="sk-1\n")
            place.edit("store: one}", "store: two}")
            done = place.keyman("store", "copy", "--from", "one", "--to", "two", "--move")
            assert (done.status, "by another name" in done.err) == (1, True)
            assert place.keyman("get", "partner").out == "sk-1\n"


def test_what_only_a_daemon_does_again_is_not_promised_by_a_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hint = "nothing to do: keyman tries again later"
    assert complain(StoreFailed("the vault is busy", hint=hint)) == 1
    assert capsys.readouterr().err.splitlines()[1] == "keyman: hint: run it again in a while"
    assert complain(StoreFailed("it is sealed", hint="unseal it")) == 1
    assert capsys.readouterr().err.splitlines()[1] == "keyman: hint: unseal it"
