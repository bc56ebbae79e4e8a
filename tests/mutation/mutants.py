"""Every small mistake that could be made in a file: which there are, and the code with one in it.

Reads source and gives code objects; plants nothing and runs nothing. A mutant is named by where it
is and what it changes, without a line number, so that its name outlives edits elsewhere.

Left alone: assertions (they state what can't happen), messages (a string with a space in it),
annotations, docstrings, defaults of arguments and fields, and constants of a module that are single
values, for they are chosen. Its tables (of rules, of kinds) are mutated.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

Swap = tuple[ast.AST, str, int | None]  #: a field of a node, or one element of a list in it
Edit = tuple[Swap, object]  #: what to put there
GONE = object()  #: an element that is left out

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
EXCHANGED = {"min": "max", "max": "min", "any": "all", "all": "any"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str  #: file:function: what -> what it became
    path: Path
    function: str | None  #: a function or method by its qualified name; None: a constant
    lines: range  #: the statement it is in: a test that executes none of them can't tell
    code: CodeType  #: of that function, or of an expression that gives the constant
    constant: str | None = None

    @property
    def line(self) -> int:
        return self.lines.start


def mutants_of(path: Path, label: str) -> list[Mutant]:
    """All of one file, in its order. `label` is how names call the file."""
    tree = ast.parse(path.read_text("utf-8"))
    seen: Counter[str] = Counter()
    made = []
    for where, root in _places(tree):
        alike = {_essence(_compiled(tree, path, where, root))}
        for edit in list(_edits(root)):
            said, line, code = _planted(tree, path, where, root, edit)
            if code is None or (essence := _essence(code)) in alike:
                continue
            alike.add(essence)
            name = f"{label}:{where}: {said}"
            seen[name] += 1
            name += f" #{seen[name]}" if seen[name] > 1 else ""
            lines = _statement_around(root, line)
            if isinstance(root, FUNCTION):
                made.append(Mutant(name, path, where, lines, code))
            else:
                made.append(Mutant(name, path, None, lines, code, where))
    return made


def _essence(code: CodeType | None) -> object:
    """Two edits that the compiler makes the same of are one mutant."""
    if code is None:
        return None
    consts = tuple(
        _essence(one) if isinstance(one, CodeType) else (type(one), repr(one))
        for one in code.co_consts
    )
    return code.co_code, consts, code.co_names, code.co_varnames, code.co_exceptiontable


def _statement_around(root: ast.stmt, line: int) -> range:
    """The lines of the innermost statement, of a compound one only its head."""
    found = range(root.lineno, (root.end_lineno or root.lineno) + 1)
    for node in ast.walk(root):
        if isinstance(node, ast.stmt) and node is not root:
            inner = [
                n.lineno
                for name in _BLOCKS
                for n in getattr(node, name, ())
                if hasattr(n, "lineno")
            ]
            end = min(inner, default=(node.end_lineno or node.lineno) + 1)
            lines = range(node.lineno, max(end, node.lineno + 1))
            found = lines if line in lines and len(lines) <= len(found) else found
    return found


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _places(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Functions, methods, and tables of the module; what is nested belongs to what is around."""
    for node in tree.body:
        if isinstance(node, FUNCTION):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, FUNCTION):
                    yield f"{node.name}.{inner.name}", inner
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            table = isinstance(node.value, ast.Tuple | ast.Set | ast.List)
            if isinstance(target, ast.Name) and table:
                yield target.id, node


def _planted(
    tree: ast.Module, path: Path, where: str, root: ast.stmt, edit: Edit
) -> tuple[str, int, CodeType | None]:
    """What the edit says, and the code it makes. The tree is as before afterwards."""
    (node, field, index), new = edit
    old = getattr(node, field) if index is None else getattr(node, field)[index]
    line = next((n.lineno for n in (old, node, root) if hasattr(n, "lineno")), 0)
    alone = isinstance(old, ast.AST) and not isinstance(node, ast.expr | ast.keyword)
    before = _short(old if alone else node)
    undo = _put(node, field, index, new)
    try:
        after = _short(new if alone else node) if new is not GONE else "nothing"
        if isinstance(old, ast.keyword) and isinstance(node, ast.Call):
            before, after = _short(node.func), f"without {old.arg}"
        elif new is GONE:
            before = _short(old)
        elif isinstance(new, list):  # of two elements that have changed places
            first = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a is not b)
            before = f"{_short(old[first])} before {_short(old[first + 1])}"
            after = "after it"
        return f"{before} -> {after}", line, _compiled(tree, path, where, root)
    except (SyntaxError, ValueError):
        return "", line, None  # nobody could have written that
    finally:
        undo()


def _short(node: object) -> str:
    assert isinstance(node, ast.AST)
    return " ".join(ast.unparse(node).split())


def _put(node: ast.AST, field: str, index: int | None, new: object) -> Callable[[], None]:
    if index is None:
        old = getattr(node, field)
        setattr(node, field, new)
        return lambda: setattr(node, field, old)
    items = getattr(node, field)
    kept = list(items)
    if new is GONE:
        del items[index]
    else:
        items[index] = new

    def undo() -> None:
        items[:] = kept

    return undo


def _compiled(tree: ast.Module, path: Path, where: str, root: ast.stmt) -> CodeType | None:
    ast.fix_missing_locations(root)
    if not isinstance(root, FUNCTION):
        assert isinstance(root, ast.Assign | ast.AnnAssign)
        assert root.value is not None
        return compile(ast.Expression(root.value), str(path), "eval")
    holder: ast.stmt = root
    around = next((n for n in tree.body if isinstance(n, ast.ClassDef) and root in n.body), None)
    if around is not None:  # by itself, for the others need not be compiled each time
        holder = ast.copy_location(ast.ClassDef(around.name, [], [], [root], []), around)
    future = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    code = compile(ast.Module([*future, holder], []), str(path), "exec", dont_inherit=True)
    return next((c for c in _inside(code) if c.co_qualname == where and _same(c, root)), None)


def _inside(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _inside(const)


def _same(code: CodeType, root: ast.stmt) -> bool:
    """Functions are told apart by their first line, which is that of the first decorator."""
    decorators: list[ast.expr] = getattr(root, "decorator_list", [])
    return code.co_firstlineno == min([root.lineno, *(d.lineno for d in decorators)])


# The mistakes.


def _edits(root: ast.stmt) -> Iterator[Edit]:
    if isinstance(root, FUNCTION):
        for at, statement in enumerate(root.body):
            yield from _of_statement(root, "body", at, statement)
    else:
        assert isinstance(root, ast.Assign | ast.AnnAssign)
        assert root.value is not None
        yield from _of_elements(root.value)


def _of_elements(value: ast.expr) -> Iterator[Edit]:
    """A table of rules or names: one is missing, or two have changed places."""
    if not isinstance(value, ast.Tuple | ast.Set | ast.List):
        return
    for at in range(len(value.elts)):
        yield (value, "elts", at), GONE
    if not isinstance(value, ast.Set):
        for at in range(len(value.elts) - 1):
            first, second = value.elts[at : at + 2]
            rest = [*value.elts[:at], second, first, *value.elts[at + 2 :]]
            yield (value, "elts", None), rest


def _of_statement(parent: ast.AST, field: str, at: int, s: ast.stmt) -> Iterator[Edit]:
    if isinstance(s, ast.Assert | ast.Import | ast.ImportFrom | ast.Pass | ast.ClassDef):
        return
    if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
        return  # a docstring
    if isinstance(s, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete):
        yield (parent, field, at), ast.Pass()
    if isinstance(s, ast.Return) and s.value is not None and not _is_nothing(s.value):
        yield (s, "value", None), ast.Constant(None)
    if isinstance(s, ast.Raise):
        return  # what it says is not a decision
    for name, value in ast.iter_fields(s):
        if name in ("decorator_list", "args", "returns", "annotation", "target", "targets"):
            continue
        if name == "test":
            yield from _forced(s, value)
        yield from _of_field(s, name, value)


def _of_field(node: ast.AST, name: str, value: object) -> Iterator[Edit]:
    for at, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
        if isinstance(one, ast.stmt):
            assert at is not None
            yield from _of_statement(node, name, at, one)
        elif isinstance(one, ast.expr):
            yield from _of_expression(node, name, at, one)
        elif isinstance(one, ast.AST) and not isinstance(one, ast.expr_context | ast.arguments):
            for inner, field in ast.iter_fields(one):
                if inner in ("ifs", "test", "guard") and isinstance(one, ast.comprehension):
                    yield from _each_forced(one, inner, field)
                yield from _of_field(one, inner, field)


def _forced(node: ast.AST, test: ast.expr) -> Iterator[Edit]:
    for outcome in (True, False):
        yield (node, "test", None), ast.Constant(outcome)


def _each_forced(node: ast.AST, field: str, tests: list[ast.expr]) -> Iterator[Edit]:
    for at in range(len(tests)):
        yield (node, field, at), GONE


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value in (None, False)


def _of_expression(parent: ast.AST, field: str, at: int | None, e: ast.expr) -> Iterator[Edit]:
    for kind, mistakes in _MISTAKES.items():
        if isinstance(e, kind):
            yield from mistakes((parent, field, at), e)
    if isinstance(e, ast.JoinedStr):
        return  # a message
    for name, value in ast.iter_fields(e):
        yield from _of_field(e, name, value)


def _compared(_: Swap, e: ast.Compare) -> Iterator[Edit]:
    for at, operator in enumerate(e.ops):
        for other in COMPARED[type(operator)]:
            yield (e, "ops", at), other()


def _joined(here: Swap, e: ast.BoolOp) -> Iterator[Edit]:
    yield (e, "op", None), ast.Or() if isinstance(e.op, ast.And) else ast.And()
    for at in range(len(e.values)):
        yield here, _without(e, at)


def _negated(here: Swap, e: ast.UnaryOp) -> Iterator[Edit]:
    if isinstance(e.op, ast.Not):
        yield here, e.operand


def _computed(_: Swap, e: ast.BinOp) -> Iterator[Edit]:
    if type(e.op) in COMPUTED:
        yield (e, "op", None), COMPUTED[type(e.op)]()


def _chosen(here: Swap, e: ast.IfExp) -> Iterator[Edit]:
    yield here, e.body
    yield here, e.orelse


def _spelt(here: Swap, e: ast.Constant) -> Iterator[Edit]:
    yield from ((here, new) for new in _of_constant(e.value))


def _called(_: Swap, e: ast.Call) -> Iterator[Edit]:
    if isinstance(e.func, ast.Name) and e.func.id in EXCHANGED:
        yield (e, "func", None), ast.Name(EXCHANGED[e.func.id], ast.Load())
    for at, keyword in enumerate(e.keywords):
        if keyword.arg is not None:
            yield (e, "keywords", at), GONE


_MISTAKES: dict[type[ast.expr], Callable[[Swap, Any], Iterator[Edit]]] = {
    ast.Compare: _compared,
    ast.BoolOp: _joined,
    ast.UnaryOp: _negated,
    ast.BinOp: _computed,
    ast.IfExp: _chosen,
    ast.Constant: _spelt,
    ast.Call: _called,
}


def _without(e: ast.BoolOp, at: int) -> ast.expr:
    rest = [*e.values[:at], *e.values[at + 1 :]]
    return rest[0] if len(rest) == 1 else ast.BoolOp(e.op, rest)


def _of_constant(value: object) -> Iterator[ast.Constant]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"X")
    elif isinstance(value, str) and " " not in value:
        yield ast.Constant(value + "X")
