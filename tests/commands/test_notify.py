"""Telling people as it is lived: a daemon that is killed, reloads, mistakes, what `check` says."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from tests.commands.kinds import findings, home_with
from tests.commands.world import Cloud, Home, until
from tests.notify.receiver import Receiver, receiver

TOKEN = "T0psecretT0ken"
PARTNER = "  partner: {provider: static, expires_at: 2027-01-01T00:00:00Z}\n"


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def alone() -> Iterator[Home]:
    """A home with one credential that needs no cloud."""
    with home_with(PARTNER) as made:
        yield made


def tell(place: Home, *urls: str) -> None:
    """Write who is told into the configuration, in place of whoever was told before."""
    text = place.config.read_text()
    rest = text.partition("#told\n")[2] if text.startswith("notify:") else text
    listed = "".join(f"- {{url: '{url}', name: t{n}}}\n" for n, url in enumerate(urls))
    place.config.write_text(f"notify:\n{listed}#told\n{rest}" if urls else rest)


def states(place: Home) -> list[str]:
    """What the daemon says of everybody who is told."""
    return [one["state"] for one in place.keyman("status", "--json").json["notify"]]


def log_of(place: Home) -> str:
    return (place.folder / "daemon.log").read_text()


@pytest.mark.slow
def test_a_daemon_tells_once_whatever_befalls_it(place: Home, sky: Cloud, hook: Receiver) -> None:
    """Killed after it told, started again, reloaded with one more who is told, and mended."""
    place.start()
    tell(place, hook.url(TOKEN))
    with sky.fault(effect="status", status=500, operation="RenewApiKey"):
        with place.daemon() as daemon:
            place.keyman("rotate", "genai", "--no-wait")
            until(lambda: hook.got, lambda: log_of(place))
            # What the receiver has is noted here a moment after it had it.
            until(lambda: states(place) == ["ok"], lambda: log_of(place))
            daemon.kill()
            daemon.wait()
        with place.daemon():
            tell(place, hook.url(TOKEN), hook.url("second"))
            assert place.keyman("reload").status == 0
            until(lambda: len(hook.got) > 1, lambda: log_of(place))
            until(lambda: states(place) == ["ok", "ok"], lambda: log_of(place))
    with place.daemon():
        until(lambda: len(hook.got) > 3, lambda: log_of(place))
    told = [(one["path"], one["title"]) for one in hook.got]
    failing = [(path, title) for path, title in told if "is failing: OCI" in title]
    assert [path for path, _ in failing] == [f"/{TOKEN}", "/second"]
    over = sorted((path, title) for path, title in told if (path, title) not in failing)
    well = "keyman: genai is well again"
    assert over == [(f"/{TOKEN}", well), ("/second", well)]
    assert TOKEN not in log_of(place)
    assert all(
        TOKEN.encode() not in file.read_bytes()
        for file in place.state.rglob("*")
        if stat.S_ISREG(file.stat().st_mode)
    )


@pytest.mark.slow
def test_a_key_that_was_deleted_is_told_as_down_also_after_what_passed(
    place: Home, sky: Cloud, hook: Receiver
) -> None:
    """Told when it is known: however short before that something failed and was well again."""
    key_id = place.start()
    tell(place, hook.url())
    place.edit("max_client_staleness: 1s", "max_client_staleness: 1s, observe_every: 10s")
    with place.daemon():
        with sky.fault(effect="status", status=500, operation="RenewApiKey"):
            place.keyman("rotate", "genai", "--no-wait")
            until(lambda: len(hook.got) == 1, lambda: log_of(place))
        until(lambda: len(hook.got) == 2, lambda: log_of(place))
        sky.ask("POST", "drift", {"action": "delete", "key_id": key_id})
        until(lambda: health(place) == "down", lambda: log_of(place))
        until(lambda: len(hook.got) == 3, lambda: f"{hook.titles} {log_of(place)}")
    failing, well, down = hook.titles
    assert failing.startswith("genai is failing: OCI")
    assert well == "genai is well again"
    assert down.startswith("genai is down: no usable secret: ")
    assert "`keyman rotate genai --new-key`\n" in str(hook.got[2]["message"]), (
        "the next move, whole"
    )


def health(place: Home) -> str:
    return str(place.keyman("status", "genai", "--json").json["health"])


def test_what_is_due_once_is_told_as_well(alone: Home, hook: Receiver) -> None:
    assert alone.keyman("put", "partner", stdin="sk-1\n").status == 0
    alone.edit("2027-01-01", "2026-11-25")
    tell(alone, hook.url())
    assert alone.keyman("put", "partner", stdin="sk-2\n").status == 0
    alone.run("daemon", "--once")
    alone.run("daemon", "--once")
    (said,) = hook.got
    assert said["title"].startswith("keyman: partner: version 2 ends in ")


def test_an_address_that_apprise_can_t_read_is_a_mistake_for_check(alone: Home) -> None:
    tell(alone, f"slack://{TOKEN}")
    done = alone.run("check")
    said = done.out + done.err
    assert "t0: apprise can't read this slack address" in said
    assert TOKEN not in said
    assert done.status == 1
    assert findings(alone)["notify_unreadable"] == [("error", None)]


@pytest.mark.slow
@pytest.mark.parametrize("lacking", [False, True], ids=["unreadable", "no apprise"])
def test_a_daemon_starts_all_the_same_and_says_whom_it_can_t_tell(
    alone: Home, *, lacking: bool
) -> None:
    """A newer apprise, or none, must not keep anybody's lookups from being answered."""
    assert alone.keyman("put", "partner", stdin="sk-1\n").status == 0
    tell(alone, f"slack://{TOKEN}")
    if lacking:
        hide_apprise(alone)
    with alone.daemon() as daemon:
        assert alone.keyman("get", "partner").out == "sk-1\n"
        until(lambda: states(alone) == ["failing"], lambda: log_of(alone))
        assert daemon.poll() is None
    why = "needs the package apprise" if lacking else "apprise can't read its address"
    assert log_of(alone).count("t0 can't be told: ") == 1
    assert why in log_of(alone)
    assert why in findings_text(alone)
    assert TOKEN not in log_of(alone)


def findings_text(place: Home) -> str:
    """Of those who can't be told, whatever `check` makes of their addresses."""
    found = place.run("check", "--json").json["findings"]
    return "".join(one["message"] for one in found if one["code"] == "notify_failing")


def hide_apprise(place: Home) -> None:
    without = place.folder / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['apprise'] = None\n")
    place.environ["PYTHONPATH"] = f"{without}:{place.variables['PYTHONPATH']}"


def test_a_reload_refuses_it_and_goes_on_as_before(alone: Home, hook: Receiver) -> None:
    tell(alone, hook.url())
    with alone.daemon():
        tell(alone, hook.url(), f"slack://{TOKEN}")
        done = alone.keyman("reload")
        assert done.status == 2
        assert "notify: t1: apprise can't read this slack address" in done.err
        assert TOKEN not in done.err
        status = alone.keyman("status", "--json").json
        assert [one["name"] for one in status["notify"]] == ["t0"]


@pytest.mark.slow
def test_without_the_package_two_lines_say_how_to_get_it(alone: Home) -> None:
    hide_apprise(alone)
    tell(alone, "json://localhost")
    done = alone.run("notify", "test")
    assert done.status == 2
    assert done.err.endswith(
        "keyman: error: telling people needs the package apprise, which is not installed\n"
        "keyman: hint: pip install 'keyman[notify]'\n"
    )
    assert "notify_missing" in alone.run("check", "--json").out
    assert alone.run("status").status == 0, "looking needs no apprise"


@pytest.mark.slow
def test_check_says_that_nobody_is_told_and_who_can_t_be(alone: Home, hook: Receiver) -> None:
    assert "notify_empty" in alone.keyman("check", "--json").out
    alone.keyman("put", "partner", stdin="sk-1\n")
    alone.edit("2027-01-01", "2026-11-25")
    hook.status = 500
    tell(alone, hook.url(TOKEN))
    alone.keyman("put", "partner", stdin="sk-2\n")
    alone.run("daemon", "--once")
    assert findings(alone)["notify_failing"] == [("warning", None)]
    listed = alone.keyman("notify", "list")
    assert "t0: fails since " in listed.out
    assert "error=500" in listed.out
    assert TOKEN not in listed.out
    assert "t0 can't be told what happens: " in alone.keyman("status").err
    assert alone.keyman("notify", "test").status == 1
    hook.status = 200
    assert alone.keyman("notify", "test").status == 0
    alone.run("daemon", "--once")
    assert "notify_failing" not in findings(alone)
