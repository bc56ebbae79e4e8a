"""The wheel, installed where nothing of this checkout is: alone, and with the daemon's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from keyman import __version__
from tests.commands.world import GENEROUS, ROOT, Done


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and not one package beside it."""
    folder = tmp_path_factory.mktemp("installed")
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    settings = {**os.environ, "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(folder / "cache")}
    for words in (
        ["venv", "--python", sys.executable, str(folder / "venv")],
        ["pip", "install", "--offline", "--no-deps", "--python", str(folder / "venv"), str(wheel)],
    ):
        subprocess.run([uv, *words], env=settings, check=True, capture_output=True)
    return folder / "venv"


def run(venv: Path, *command: str) -> Done:
    """As somebody types it who has that in PATH, and nothing of ours in the environment."""
    path = f"{venv / 'bin'}:{os.defpath}"
    found = shutil.which(command[0], path=path)
    assert found
    ran = subprocess.run(
        [found, *command[1:]],
        env={"PATH": path, "HOME": str(venv), "TMPDIR": "/tmp"},
        cwd=venv,
        check=False,
        capture_output=True,
        text=True,
        timeout=3 * GENEROUS,
    )
    return Done(ran.returncode, ran.stdout, ran.stderr)


def test_alone_it_is_the_client(alone: Path) -> None:
    assert run(alone, "python", "-I", "-c", "import keyman; keyman.get").status == 0
    assert run(alone, "keyman", "--version").out == f"keyman, version {__version__}\n"
    for name in ("get", "env", "run", "write"):
        assert run(alone, "keyman", name, "--help").out.startswith("Usage: keyman [--config FILE]")
    nobody = run(alone, "keyman", "get", "genai")
    assert (nobody.status, nobody.err.count("\n")) == (6, 2)
    assert "pip install 'keyman[daemon]'" in run(alone, "keyman", "status").err
    probe = run(alone, "python", "-P", "-m", "keyman.probe", "/healthz")
    assert (probe.status, probe.err.count("\n")) == (1, 1)


def test_it_brings_what_installs_it_as_a_service(alone: Path) -> None:
    """Every file of deploy/, where the pages say it is."""
    asked = "import keyman; print(keyman.__path__[0])"
    there = Path(run(alone, "python", "-I", "-c", asked).out.strip(), "_deploy")
    ours = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    assert ours
    for path in ours:
        copied = there / path.relative_to(ROOT / "deploy")
        assert copied.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_with_the_daemon_s_packages_it_runs_the_whole_system(alone: Path, tmp_path: Path) -> None:
    """Its own modules, migrations and sandbox: a key rotates through its slots."""
    venv = shutil.copytree(alone, tmp_path / "venv", symlinks=True)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    asked = "import keyman.daemon; print(keyman.daemon.__file__)"
    assert run(venv, "python", "-P", "-c", asked).out == f"{site / 'keyman/daemon.py'}\n"
    shown = run(venv, "python", "-P", "-m", "keyman", *["demo", "--rotations", "1", "--json"])
    assert shown.status == 0, shown.err
    assert shown.json["rejected"] == 0
    assert shown.json["rotations"] >= 1
