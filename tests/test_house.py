"""The repository itself: its locks, its wheel, its walls, its Makefile."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = sorted(ROOT.glob("requirements/*.lock"))


# ----------------------------------------------------------------------------------------- locks


def test_there_is_a_lock_for_each_set() -> None:
    assert [lock.name for lock in LOCKS] == [
        "daemon.lock",
        "proof.lock",
        "sbom.lock",
        "test.lock",
        "tools.lock",
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_versions_and_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(
        r"--(extra-)?index-url|--find-links|^-f |^-i |@ (file|/)", text, re.MULTILINE
    )
    for entry in entries(lock):
        assert re.match(r"[a-z0-9][a-z0-9.-]*==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_test_set_contains_the_daemon_s_set() -> None:
    """So that `make run` may use the .venv that `make test` made."""
    daemon, test = (pins(ROOT / f"requirements/{name}.lock") for name in ("daemon", "test"))
    assert daemon.items() <= test.items()


def test_every_direct_dependency_is_pinned() -> None:
    project = PROJECT["project"]
    groups = PROJECT["dependency-groups"]
    wanted = [*project["optional-dependencies"]["daemon"], *groups["build"], *groups["test"]]
    names = {
        re.split(r"[<>=;\[ ]", line)[0].lower().replace("_", "-")
        for line in wanted
        if isinstance(line, str)
    }
    assert names <= pins(ROOT / "requirements/test.lock").keys()


def entries(lock: Path) -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [entry for entry in re.split(r"\n(?=\S)", text.strip()) if entry]


def pins(lock: Path) -> dict[str, str]:
    found = {}
    for entry in entries(lock):
        name, _, version = entry.split()[0].partition("==")
        found[name] = version
    return found


# --------------------------------------------------------------------------------------- package


def test_the_client_has_no_dependencies() -> None:
    assert PROJECT["project"]["dependencies"] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_package_migrations_example_and_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "keyman/__init__.py",
        "keyman/_migrations/env.py",
        "keyman/_config.example.yaml",
    } <= names
    assert any(name.startswith("keyman/_migrations/versions/") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    ours = {name.split("/")[0] for name in names}
    named = f"keyman-{PROJECT['project']['version']}"
    assert ours == {"keyman", f"{named}.dist-info", f"{named}.data"}
    assert [name for name in names if ".data/" in name] == [f"{named}.data/scripts/keyman-get"]
    assert not any("__pycache__" in name for name in names)


def test_an_installed_wheel_says_where_its_example_is(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site packages")
    told = subprocess.run(
        [sys.executable, "-P", "-m", "keyman", "--config", "/nowhere", "list"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site packages")},
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    example = tmp_path / "site packages/keyman/_config.example.yaml"
    assert example.is_file()
    assert told.endswith(f": cat '{example}'\n")


def test_the_wheel_alone_is_a_working_client(wheel: Path, tmp_path: Path) -> None:
    """As `pip install keyman` does it: no dependency is installed beside it."""
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    venv = tmp_path / "venv"
    environment = {**os.environ, "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    for command in (
        [uv, "venv", "--python", sys.executable, str(venv)],
        [uv, "pip", "install", "--offline", "--no-deps", "--python", str(venv), str(wheel)],
    ):
        subprocess.run(command, check=True, capture_output=True, env=environment)
    shown = subprocess.run(
        [str(venv / "bin/python"), "-I", "-c", "import keyman; print(keyman.__file__, keyman.get)"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert shown.stdout.startswith(str(venv))
    assert list(venv.glob("lib/python*/site-packages/keyman/_migrations/env.py"))
    assert (venv / "bin/keyman").exists()
    assert os.access(venv / "bin/keyman-get", os.X_OK)


# ----------------------------------------------------------------------------------------- walls


def test_every_top_level_module_has_its_floor() -> None:
    (layers,) = (
        contract["layers"]
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["keyman"]
    )
    placed = {name.strip(" ()") for floor in layers for name in floor.split("|")}
    there = {
        path.stem
        for path in (ROOT / "keyman").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - {"__init__"} == placed


def test_only_the_clock_and_the_client_may_ask_the_time() -> None:
    """Nobody else switches ruff's ban off, neither in the configuration nor in place."""
    ignores = PROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    excused = {pattern for pattern, codes in ignores.items() if "TID251" in codes}
    assert excused == {
        "keyman/clock.py",
        "keyman/client/**",
        "keyman/sandbox/**",
        "tests/**",
        "benchmarks/**",
    }
    for path in (ROOT / "keyman").rglob("*.py"):
        assert not re.search(r"noqa.*TID251", path.read_text(encoding="utf-8")), path


def test_every_ruff_ignore_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    start = lines.index("ignore = [")
    for line in lines[start + 1 : lines.index("]", start)]:
        assert re.search(r",\s+# [\w`]", line), line


def test_every_noqa_names_its_rule() -> None:
    blanket = re.compile(r"#\s*(noqa(?!:)|type:\s*ignore(?!\[))")
    for path in our_files():
        if path.suffix == ".py" and path != Path(__file__).resolve():
            assert not blanket.search(path.read_text(encoding="utf-8")), path


# ------------------------------------------------------------------------------------ repository


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    home = re.compile(r"(?<![\w.>}-])/(?:work|root)/")
    for path in our_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = home.search(text)
        assert not found, f"{path}:{text.count(chr(10), 0, found.start()) + 1}"


def test_every_python_file_says_what_it_is_for() -> None:
    """An empty package marker may stay silent; what holds code opens with a sentence."""
    for path in (ROOT / "keyman").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), path


def test_make_alone_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("install", "run", "test", "check", "sim", "bench", "lock", "clean"):
        assert re.search(rf"^  make {target} ", shown, re.MULTILINE), shown


def test_a_python_that_makes_no_venv_is_met_with_two_lines(tmp_path: Path) -> None:
    """Debian's python3 without python3-venv, and no uv: what to install, and no traceback."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "pyproject.toml").touch()
    for tool in ("make", "sh", "env", "sed", "touch", "echo"):
        if found := shutil.which(tool):
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / tool).symlink_to(found)
    python = tmp_path / "bin" / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    ran = subprocess.run(
        [str(tmp_path / "bin/make"), "run"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin"), "HOME": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    first, second, *_ = ran.stderr.splitlines()
    assert first.startswith("keyman: error: python3 cannot make a virtual environment")
    assert second == "keyman: hint: apt-get install python3-venv, or: pipx install uv"
    assert "Traceback" not in ran.stderr


def our_files() -> Iterator[Path]:
    """What belongs to the repository: what git knows or would, else all but what is made."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-coz", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().rstrip("\0").split("\0")
        return (path for name in names if (path := ROOT / name).is_file())
    made = {".git", ".venv", ".tools", "build", "dist", "__pycache__"}
    return (
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not made & set(path.relative_to(ROOT).parts)
        and not re.search(r"/\.\w+_cache/|\.hypothesis/", str(path))
    )
