"""Where a configuration belongs, and putting it there: whole, private, and never over another one.

What is put was judged before by the checks that every start makes. Whoever is killed in between
leaves the folder without a configuration or with a whole one.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from keyman.config import Settings
from keyman.config.loading import judge
from keyman.config.places import example_file, find_home, usual_config
from keyman.errors import ConfigError, Conflict, NotAllowed, StoreFailed
from keyman.stores import private_file

_ELSEWHERE = "the folder must be yours, the disk not full; or elsewhere: keyman --config FILE init"
_BESIDE = r"\.{}\.[0-9a-f]{{32}}"


def target(explicit: str | None, environ: Mapping[str, str]) -> Path:
    """The file to write: as told, else KEYMAN_CONFIG, else the platform's.

    Raises ConfigError if nobody can tell where that is.
    """
    named = explicit or environ.get("KEYMAN_CONFIG")
    try:
        path = Path(named).expanduser() if named else usual_config()
    except RuntimeError:
        raise ConfigError(f"cannot tell where {named!r} is", hint="write it in full") from None
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve follows links)


def refuse_another(path: Path) -> None:
    """Raises Conflict if something is there already, NotAllowed if this user may not look."""
    try:
        there = os.path.lexists(path)
    except ValueError:
        there = False
    if there:
        raise Conflict(
            f"there is a configuration already: {path}",
            hint="`keyman check` judges it. To add to it: `keyman init --dry-run` shows a section. "
            "Or write another one: keyman --config OTHER init",
        )


def judged(text: str, path: Path, environ: Mapping[str, str]) -> Settings:
    """What keyman would make of the text at that place. Raises ConfigError with every mistake."""
    try:
        return judge(text, path, home=find_home(environ), environ=environ)
    except ConfigError as error:
        said = [problem.partition(": ")[2] or problem for problem in error.problems]
        listed = "".join(f"\n  {one}" for one in said) if said else f" {error.message}"
        raise ConfigError(
            f"that makes no configuration, so nothing was written:{listed}",
            hint=f"answer otherwise, or correct --set; every key with its default: cat {example()}",
            problems=said,
        ) from None


def put(text: str, path: Path) -> None:
    """Raises Conflict if somebody was faster, ConfigError or NotAllowed if it can't be done."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = private_file.make(path, text.encode())
    except PermissionError as error:
        raise NotAllowed(f"{path} can't be written: {error.strerror}", hint=_ELSEWHERE) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name is not usable"
        raise ConfigError(f"{path} can't be written: {why}", hint=_ELSEWHERE) from None
    except StoreFailed as error:
        refuse_another(path)  # its maker may have swept ours away
        raise ConfigError(error.message, hint=_ELSEWHERE) from None
    if not made:
        refuse_another(path)
    with suppress(OSError):  # what was wished is there
        _sweep(path)


def example() -> str:
    """The file that shows every key, as a shell takes it."""
    return shlex.quote(str(example_file()))


def _sweep(path: Path) -> None:
    """Remove what one that was killed left beside the place. Only whoever has taken that may: what
    somebody else is writing would be lost to both.
    """
    left = re.compile(_BESIDE.format(re.escape(path.name)))
    for one in path.parent.iterdir():
        if left.fullmatch(one.name):
            one.unlink(missing_ok=True)
