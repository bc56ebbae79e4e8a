"""The pages say what is so: commands, error codes, examples, links and paths.

docs/commands.md is written from the commands' own help:

    KEYMAN_DOCS=write pytest tests/test_docs.py

That config.example.yaml loads, and names every key of the configuration, is in test_config.py.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import subprocess
import textwrap
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

import keyman as package
from keyman.cli import AT_ONCE
from keyman.cli.main import COMMANDS, keyman
from keyman.config import load
from keyman.errors import INTERRUPTED, NOT_FINISHED_IN_TIME, STATUSES, Error
from tests.commands.forked import Forked

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS_PAGE = ROOT / "docs/commands.md"
HOW = "KEYMAN_DOCS=write pytest tests/test_docs.py"
WIDTH = 78  # what click takes where there is no terminal

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# ---------------------------------------------------------------------------------------- commands
THEIR_OWN = {  # what a reader has set
    "OPENAI_ADMIN_KEY": "sk-admin-of-the-reader",
    "KEYMAN_SLACK_URL": "slack://of/the/reader",
    "KEYMAN_PAGER_URL": "pagerduty://of-the-reader",
}


def test_the_page_of_commands_is_what_their_help_says() -> None:
    said = commands_page()
    if os.environ.get("KEYMAN_DOCS") == "write":
        COMMANDS_PAGE.write_text(said, encoding="utf-8")
    assert text_of(COMMANDS_PAGE) == said, f"{HOW} writes the page anew"


def commands_page() -> str:
    settings = {**keyman.context_settings, "terminal_width": WIDTH}
    top = click.Context(keyman, info_name="keyman", **settings)
    where = "Exit statuses and error codes: [errors.md](errors.md)."
    parts = ["# Commands\n", f"What `keyman COMMAND --help` says. {where}\n"]
    parts += [f"## {path}\n\n```text\n{said.rstrip()}\n```\n" for path, said in helps(top)]
    return "\n".join(parts)


def helps(context: click.Context) -> Iterator[tuple[str, str]]:
    """A command's path and help, then those of the commands under it."""
    path = context.command_path
    yield path, context.get_help()
    for inner in under(context):
        yield from helps(inner)


def under(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            yield click.Context(command, parent=context, info_name=name)


@each_page
def test_every_command_that_a_page_shows_can_be_typed(page: Path) -> None:
    """In the middle of a sentence a command may go without the NAME that it needs."""
    said = text_of(page)
    refused = []
    for line in shown_commands(said):
        try:
            parse(line)
        except (click.UsageError, Error) as error:
            if not (isinstance(error, click.MissingParameter) and f"`keyman {line}`" in said):
                refused.append(f"keyman {line}: {error}")
    assert refused == []


def shown_commands(page: str) -> list[str]:
    """What follows `keyman` in blocks and in the middle of sentences, up to the end of a pipe."""
    lines = [line for kind, text in blocks(page) if kind in SHELL for line in text.splitlines()]
    spans = re.findall(r"`([^`]+)`", without_blocks(page).replace("\\|", "|"))
    found = (re.search(r"(?:^|\| |\$ |bin/)keyman (.+)", text) for text in [*lines, *spans])
    return [match[1].partition(" | ")[0] for match in found if match]


SHELL = ("", "sh", "ini")
STANDS_FOR = {"N": "7", "D": "1h", "COMMAND": "status"}


def parse(line: str) -> None:
    """As the command line does it, without running anything. Raises what it would refuse with."""
    words = [word.strip("[]") for word in shlex.split(line, comments=True)]
    context = keyman.make_context("keyman", [STANDS_FOR.get(word, word) for word in words])
    while isinstance(context.command, click.Group):
        name, *rest = [*context._protected_args, *context.args]
        command = context.command.get_command(context, name)
        if command is None:
            raise click.UsageError(f"there is no command {name}")
        if not rest or "--help" in rest:
            return  # it is only named
        context = command.make_context(name, rest, parent=context)
    if str(context.info_name) in AT_ONCE:
        importlib.import_module(f"keyman.cli.{context.info_name}").parsed(context.args)


@each_page
def test_every_option_that_a_page_mentions_exists(page: Path) -> None:
    mentioned = set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", without_blocks(text_of(page))))
    known = {option for _, said in helps(click.Context(keyman)) for option in OPTION.findall(said)}
    assert mentioned - known == set()


OPTION = re.compile(r"--[a-z][a-z-]*")


@pytest.mark.slow
@each_page
def test_every_other_command_that_a_page_shows_exists(page: Path) -> None:
    """`make TARGET`, and `python -m MODULE` with options that its --help knows."""
    said = text_of(page)
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", said, re.MULTILINE)) <= targets
    for module, rest in re.findall(r"`python -m ([\w.]+)([^`]*)`", said):
        assert set(OPTION.findall(rest)) <= set(OPTION.findall(help_of(module)))


@cache
def help_of(module: str) -> str:
    with Forked(module, ["--help"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        shown = process.communicate()[0]
    assert process.returncode == 0
    return shown


# ------------------------------------------------------------------------------------------ errors


def test_every_error_code_is_documented_as_it_is() -> None:
    rows = [row for row in table_rows(text_of(ROOT / "docs/errors.md")) if len(row) == 5]
    documented = {code.strip("`"): (int(status), int(http)) for code, _, status, http, _ in rows}
    assert documented == STATUSES
    assert all(means and do for _, means, _, _, do in rows)


def test_every_error_class_has_a_code_of_the_table() -> None:
    classes, waiting = set[type[Error]](), [Error]
    while waiting:
        classes.add(kind := waiting.pop())
        waiting += kind.__subclasses__()
    assert {kind.code for kind in classes} == set(STATUSES)


def test_every_exit_status_is_documented() -> None:
    rows = table_rows(text_of(ROOT / "docs/errors.md"))
    documented = {int(row[2] if len(row) == 5 else row[0]) for row in rows}
    assert documented == {status for status, _ in STATUSES.values()} | {
        0,
        NOT_FINISHED_IN_TIME,
        INTERRUPTED,
    }


def table_rows(page: str) -> list[list[str]]:
    """The cells of every row of every table, headings left out."""
    found = []
    lines = page.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("| ") and not following.startswith("|--"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


# ---------------------------------------------------------------------------------------- examples


@each_page
def test_yaml_loads_as_configuration(page: Path, tmp_path: Path) -> None:
    for kind, text in blocks(text_of(page)):
        if kind == "yaml":
            written = tmp_path / "config.yaml"
            written.write_text(text)
            written.chmod(0o600)
            load(written, home=tmp_path / "home", environ=THEIR_OWN)


@each_page
def test_python_compiles_and_uses_what_there_is(page: Path) -> None:
    for kind, text in blocks(text_of(page)):
        if kind == "python":
            missing = [name for name in names_of_ours(ast.parse(text)) if not exists(name)]
            assert missing == []


def names_of_ours(tree: ast.AST) -> Iterator[str]:
    """`keyman.get`, and `keyman.secret().base_url` for what is asked of a result."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "keyman":
            yield from (f"keyman.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Attribute):
            inner = node.value.func if isinstance(node.value, ast.Call) else node.value
            called = "()" if isinstance(node.value, ast.Call) else ""
            path = f"{ast.unparse(inner)}{called}.{node.attr}"
            if path.startswith("keyman."):
                yield path


def exists(name: str) -> bool:
    _, first, *rest = name.split(".")
    found = getattr(package, first.removesuffix("()"), None)
    if found is None or not rest:
        return found is not None
    makes = first.endswith("()") and not isinstance(found, type)
    gives = typing.get_type_hints(found).get("return") if makes else found
    return hasattr(gives, rest[0])


# ----------------------------------------------------------------------------------- links, paths


@each_page
def test_every_relative_link_resolves(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page)))
    broken = [target for target in targets if not resolves(page, target)]
    assert broken == []


def resolves(page: Path, target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme:
        return True
    there = page.parent / unquote(parts.path) if parts.path else page
    return there.exists() and (not parts.fragment or parts.fragment in anchors(text_of(there)))


def anchors(page: str) -> set[str]:
    """The names that headings get where Markdown is shown as a web page."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_path_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    """Files as they are named from the top, or from inside the package."""
    spans = re.findall(r"`([\w./*-]+)`", without_blocks(text_of(page)))
    named = {span for span in spans if is_path(span)}
    assert [span for span in sorted(named) if not there(span)] == []


def is_path(span: str) -> bool:
    return bool(re.fullmatch(r"\w[\w.-]*(/[\w.*-]+)*(/|\.(py|md|yaml|toml))", span))


def there(span: str) -> bool:
    span = span.rstrip("/")
    return any(next(iter(above.glob(span)), None) for above in (ROOT, ROOT / "keyman"))


def test_the_rooms_of_the_architecture_hold_what_is_said_of_them() -> None:
    """A row about a folder names what is in it (`model` the values, …), or a command."""
    for cells in table_rows(text_of(ROOT / "docs/architecture.md")):
        folder = ROOT / cells[0].strip("`")
        if cells[0].endswith("/`") and folder.is_dir():
            named = set(re.findall(r"`([a-z_]+)`", cells[1])) - COMMANDS.keys()
            assert named <= {inside.stem for inside in folder.iterdir()}


def test_every_room_has_its_row_in_the_architecture() -> None:
    """Or a word in another one's: `turns` beside the daemon."""
    rows = table_rows(text_of(ROOT / "docs/architecture.md"))
    named = {Path(name).stem for cells in rows for name in re.findall(r"`([^`]+)`", "".join(cells))}
    rooms = {path.stem for path in (ROOT / "keyman").iterdir() if not path.stem.startswith("__py")}
    assert rooms - named - {"__init__"} == set()


# ------------------------------------------------------------------------------------ of Markdown


FENCE = re.compile(r"^([ ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterable[tuple[str, str]]:
    """Language and text of every fenced block, also of those inside a list."""
    return ((match[2], textwrap.dedent(match[3])) for match in FENCE.finditer(page))


def without_blocks(page: str) -> str:
    return FENCE.sub("", page)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")
