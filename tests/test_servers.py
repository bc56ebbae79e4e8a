"""The mechanism that finds real servers, tried on a real one and on one that nobody has."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    rows: dict[str, tuple[str, str]] = {}
    monkeypatch.setattr(servers, "asked", rows)
    monkeypatch.delenv("KEYMAN_REQUIRE", raising=False)
    return rows


def test_a_server_that_is_found_is_listed_with_its_place(
    asked: dict[str, tuple[str, str]],
) -> None:
    servers.require("nginx", found="/usr/sbin/nginx", hint="apt-get install nginx")
    assert asked == {"nginx": ("used", "/usr/sbin/nginx")}


def test_an_absent_server_skips_with_the_command_that_brings_it(
    asked: dict[str, tuple[str, str]],
) -> None:
    with pytest.raises(pytest.skip.Exception, match="apt-get install nginx"):
        servers.require("nginx", found=None, hint="apt-get install nginx")
    assert asked == {"nginx": ("skipped", "apt-get install nginx")}


@pytest.mark.parametrize("wanted", ["all", "nginx", "postgres, nginx"])
def test_an_absent_server_fails_where_it_is_required(
    wanted: str, asked: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYMAN_REQUIRE", wanted)
    with pytest.raises(pytest.fail.Exception, match="KEYMAN_REQUIRE"):
        servers.require("nginx", found=None, hint="apt-get install nginx")
    assert set(asked) == {"nginx"}


def test_requiring_another_server_does_not_require_this_one(
    asked: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYMAN_REQUIRE", "postgres")
    with pytest.raises(pytest.skip.Exception):
        servers.require("nginx", found=None, hint="apt-get install nginx")
    assert set(asked) == {"nginx"}


def test_the_table_lists_what_was_used_first() -> None:
    lines = servers.table({"nginx": ("skipped", "apt-get install nginx"), "vim": ("used", "/x")})
    assert lines == [
        "vim    used     /x",
        "nginx  skipped  apt-get install nginx",
    ]


def ran(where: Path, *words: str) -> str:
    """What pytest says of a run of its own, with the real plugin hooks and two workers."""
    command = [sys.executable, "-m", "pytest", "-n2", "-ra", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, *words, str(where)],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return run.stdout + run.stderr


@pytest.mark.slow
def test_a_summary_over_workers_names_skip_and_command(pytester_root: Path) -> None:
    said = ran(pytester_root)
    assert "real servers" in said, said
    assert "no-such-server  skipped  apt-get install no-such-server" in said
    assert "2 passed, 1 skipped" in said


@pytest.mark.slow
def test_what_is_slow_is_left_out_of_a_quick_run_which_says_how_to_take_it(
    pytester_root: Path,
) -> None:
    said = ran(pytester_root, "--quick")
    assert "1 passed, 2 skipped" in said, said
    assert "takes long: make test QUICK=" in said


@pytest.fixture
def pytester_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", str(here.parent))
    monkeypatch.delenv("KEYMAN_REQUIRE", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    (tmp_path / "conftest.py").write_text("from tests.conftest import *  # noqa: F403\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "from tests.servers import require\n"
        "def test_one():\n"
        "    require('no-such-server', found=None, hint='apt-get install no-such-server')\n"
        "def test_two():\n"
        "    pass\n"
        "@pytest.mark.slow\n"
        "def test_three():\n"
        "    pass\n"
    )
    return tmp_path


def test_the_secret_service_keeps_what_it_is_given(
    secret_service: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyring.backends.SecretService import Keyring

    for name, value in secret_service.items():
        monkeypatch.setenv(name, value)
    ring = Keyring()
    ring.set_password("keyman-test", "genai/1", "sk-ü 'quoted'\n")
    assert ring.get_password("keyman-test", "genai/1") == "sk-ü 'quoted'\n"
    ring.delete_password("keyman-test", "genai/1")
    assert ring.get_password("keyman-test", "genai/1") is None
