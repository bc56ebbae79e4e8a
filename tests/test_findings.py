"""Every finding of `check` is on the page of findings, and has a test that makes it appear."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_docs import ROOT, table_rows, text_of

PAGE = ROOT / "docs/findings.md"
SOURCES = [*sorted((ROOT / "keyman/checkup").glob("*.py")), ROOT / "keyman/examining.py"]
SEVERITIES = ("error", "warning", "info")
TESTS = sorted((ROOT / "tests").glob("**/test_*.py"))


def codes() -> set[str]:
    """As the source has them: the second argument of a Finding, or of what becomes one."""
    return {code for file in SOURCES for code in in_source(ast.parse(text_of(file)))}


def in_source(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and named(node.func) in ("Finding", "finding"):
            yield from code_of(node.args[1:2])
        elif isinstance(node, ast.Tuple) and len(node.elts) == 4 and is_severity(node.elts[:1]):
            yield from code_of(node.elts[1:2])
        elif isinstance(node, ast.FunctionDef) and node.name == "failed":
            yield from code_of(node.args.defaults)


def named(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def is_severity(found: list[ast.expr]) -> bool:
    return any(isinstance(one, ast.Constant) and one.value in SEVERITIES for one in found)


def code_of(found: list[ast.expr]) -> Iterator[str]:
    for one in found:
        match one:
            case ast.Constant(value=str(code)) if re.fullmatch(r"[a-z_]+", code):
                yield code
            case ast.JoinedStr(values=[ast.Constant(value=str(beginning)), *_]):
                yield f"{beginning}…"


def documented() -> dict[str, str]:
    """Code → severities."""
    rows = table_rows(text_of(PAGE))
    return {code.strip("`"): severity for row in rows for code, severity in [row[:2]]}


def test_every_finding_is_on_the_page() -> None:
    found = codes()
    assert len(found) > 40, "the source was understood"
    assert documented().keys() == found | {"config"}


def test_the_page_says_how_bad_each_is_and_what_to_do() -> None:
    for row in table_rows(text_of(PAGE)):
        assert set(row[1].split(", ")) <= set(SEVERITIES)
        assert all(len(cell) >= 5 for cell in row[2:])
        assert len(row) == 4


def test_a_test_makes_each_appear() -> None:
    tested = "".join(text_of(file) for file in TESTS if file != Path(__file__))
    quoted = set(re.findall(r"\"([a-z_]+)\"", tested))
    mirrors = {"mirror_…"}  # by their states, which tests/test_mirroring.py goes through
    assert codes() - mirrors - quoted == set()
