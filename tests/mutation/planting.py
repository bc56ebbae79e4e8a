"""A mutant put into the running process: the code of a live function exchanged in place.

Whoever holds the function, as a property, a rule in a table or by any other name, runs the mutant
from then on. There is no way back: done in a forked child, which ends.
"""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType

from tests.mutation.mutants import Mutant

Live = Mapping[tuple[str, str, int], list[FunctionType]]


def live(paths: Iterable[Path]) -> Live:
    """The functions of these files that exist now, by file, qualified name and first line."""
    wanted = {str(path) for path in paths}
    found: defaultdict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename in wanted:
            code = one.__code__
            found[code.co_filename, code.co_qualname, code.co_firstlineno].append(one)
    return found


def plant(mutant: Mutant, functions: Live) -> bool:
    """False if there is nothing to exchange: nobody imported it, or something wraps it."""
    if mutant.constant is not None:
        return _exchange(mutant, mutant.constant)
    code = mutant.code
    there = functions.get((code.co_filename, code.co_qualname, code.co_firstlineno), [])
    for function in there:
        function.__code__ = code
    return bool(there)


def _exchange(mutant: Mutant, constant: str) -> bool:
    """A constant, in its module and in each that imported it by its name."""
    home = next((m for m in _modules() if getattr(m, "__file__", "") == str(mutant.path)), None)
    if home is None:
        return False
    old = vars(home)[constant]
    new = eval(mutant.code, vars(home))
    for module in _modules():
        if vars(module).get(constant) is old:
            setattr(module, constant, new)
    return True


def _modules() -> list[ModuleType]:
    return list(sys.modules.values())
