"""`make proof`: every part is there, and a part that breaks, or ends without figures, is seen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.proof.__main__ import figures, table
from tests.proof.parts import PARTS, Part

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_part_is_a_module_that_can_be_run(part: Part) -> None:
    module = part.words[0]
    found = find_spec(f"{module}.__main__") if _is_package(module) else find_spec(module)
    assert found is not None
    assert part.command(long=False).startswith(f"python -m {module}")
    assert part.command(long=True).startswith(part.command(long=False))


def _is_package(module: str) -> bool:
    return (ROOT / Path(*module.split("."))).is_dir()


def test_names_are_told_apart() -> None:
    assert len({part.name for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize(
    ("said", "status", "broken"),
    [
        ('proof: {"tried": {"kills": 3}, "broken": 0, "seconds": 1}', 0, 0),
        ('proof: {"tried": {"kills": 3}, "broken": 2, "seconds": 1}', 1, 2),
        ('proof: {"tried": {"kills": 3}, "broken": 0, "seconds": 1}', 1, 1),
        ("killed in the middle", 0, None),
    ],
    ids=["well", "broken", "a status alone", "no figures"],
)
def test_what_a_part_says_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: int, broken: int | None
) -> None:
    (tmp_path / "a_part.py").write_text(f"import sys\nprint({said!r})\nsys.exit({status})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = figures(Part("a", "a part", ("a_part",)), long=False)
    assert found.broken == broken
    assert table([found]).row_count == 1
    assert found.command == "python -m a_part"
