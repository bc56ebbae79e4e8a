"""Where the configuration and the state lie, and whose they must be.

The current folder is never looked at. What keyman reads must not be writable by strangers, and
its home must be its own and closed to everybody else. Only this file of the package asks the
system about files; it opens nothing that could block (a pipe, a device).
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from keyman.errors import ConfigError, NotAllowed

CONFIG_LIMIT: Final = 4 * 1024 * 1024  # room for ten thousand credentials
_POSIX: Final = os.name == "posix"
_READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file, and whether others than its owner may read it."""

    text: str
    open_to_others: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the paths in a configuration are relative to."""

    home: Path  #: {home}
    folder: Path  #: relative ones
    user: str | None  #: ~

    def path(self, written: str) -> Path:
        """The absolute path that was meant."""
        if written == "~" or written.startswith("~/"):
            written = (self.user or str(Path.home())) + written[1:]
        absolute = self.folder / written.replace("{home}", str(self.home))
        return Path(os.path.abspath(absolute))  # noqa: PTH100  (resolve follows links)


def find_config(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file: as told, else KEYMAN_CONFIG, else the platform's; None if none.

    A file that was named but is not there raises ConfigError.
    """
    named = explicit or (Path(environ["KEYMAN_CONFIG"]) if environ.get("KEYMAN_CONFIG") else None)
    if named is not None:
        path = _absolute(named)
        if not _exists(path):
            raise ConfigError(
                f"there is no configuration file {path}",
                hint=f"check --config and KEYMAN_CONFIG; without them {where_to_write(None)}",
            )
        return path
    usual = usual_config()
    return usual if _exists(usual) else None


def usual_config() -> Path:
    """Where the configuration is expected when nobody names another file.

    Raises ConfigError for a user of whom the system knows no home.
    """
    return _usual(platformdirs.user_config_path) / "config.yaml"


def _usual(folder: Callable[..., Path]) -> Path:
    try:
        found = folder("keyman", appauthor=False)
    except RuntimeError:
        found = Path("~")
    if not found.is_absolute():
        raise ConfigError(
            "nobody knows where files of this user belong: there is no HOME",
            hint="export HOME; or set KEYMAN_CONFIG (a file) and KEYMAN_HOME (a folder)",
        )
    return found


def where_to_write(source: Path | None) -> str:
    """For hints: the file that holds the configuration, or should, and how to see every key."""
    first = "`keyman init` writes a first one"
    where = f"is {source}" if source else f"is expected at {usual_config()}; {first}"
    every_key = f"every key with its default: cat {shlex.quote(str(example_file()))}"
    return f"the configuration {where}; {every_key}"


def example_file() -> Path:
    """The file that shows every key: in an installed package, or in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed, checkout = package / "_config.example.yaml", package.parent / "config.example.yaml"
    return installed if installed.is_file() else checkout


def find_home(environ: Mapping[str, str]) -> Path:
    """The folder of keyman's state: KEYMAN_HOME, else the platform's data folder."""
    named = environ.get("KEYMAN_HOME")
    return _absolute(Path(named) if named else _usual(platformdirs.user_data_path))


def prepare_home(path: Path) -> list[str]:
    """Make the home if it is missing and close it to others; what had to be changed is returned.

    Raises NotAllowed if it is someone else's, ConfigError if it can't be made or is no folder.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _close_to_others(path) if _POSIX else []
    except FileExistsError:
        raise ConfigError(f"the home {path} is not a folder", hint=_HOME_HINT) from None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the home {path} cannot be used: {_why(error)}", hint=_HOME_HINT
        ) from None


_HOME_HINT: Final = "set KEYMAN_HOME to a folder of your own"


def _close_to_others(path: Path) -> list[str]:
    # Looked at and changed through one descriptor: nobody can swap the folder in between.
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            raise NotAllowed(
                f"the home {path} belongs to uid {found.st_uid}, not to uid {os.geteuid()}",
                hint=f"run keyman as its owner, or {_HOME_HINT}",
            )
        mode = stat.S_IMODE(found.st_mode)
        if not mode & 0o077:
            return []
        os.fchmod(folder, 0o700)
        return [f"the home {path} was open to others ({mode:04o}); it is 0700 now"]
    finally:
        os.close(folder)


def read_trusted(path: Path, limit: int) -> Document:
    """The text of a regular file of ours or root's that nobody else can write.

    Raises ConfigError otherwise; its message continues the name of the file.
    """
    try:
        opened = os.open(path, _READ)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {_why(error)}") from None
    try:
        found = os.fstat(opened)
        _refuse_strange(found, limit)
        with os.fdopen(opened, "rb", closefd=False) as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {_why(error)}") from None
    finally:
        os.close(opened)
    if len(raw) > limit:
        raise ConfigError(f"is larger than {limit // 1024} KiB")
    try:
        return Document(raw.decode("utf-8-sig"), bool(_POSIX and found.st_mode & 0o044))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"is not UTF-8 text (line {line})") from None


def _refuse_strange(found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError("is not a regular file")
    if found.st_size > limit:
        raise ConfigError(f"is larger than {limit // 1024} KiB")
    if not _POSIX:
        return
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"belongs to uid {found.st_uid}: whoever owns it decides what keyman does",
            hint="it must belong to root or to the user who runs keyman",
        )
    if found.st_mode & 0o022:
        raise ConfigError("can be written by others", hint="chmod go-w the file")


def look_at(path: Path) -> os.stat_result | None:
    """What is there, links followed; None if nothing is.

    Raises NotAllowed if this user may not look, which is not the same as nothing there.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise NotAllowed(f"this user may not look into {path.parent}: {_why(error)}") from None


def below(path: Path, folder: Path) -> bool:
    """Whether a path, links followed, lies inside a folder."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def own_uid() -> int:
    """The user that runs keyman; -1 where the platform has no such numbers."""
    return os.geteuid() if _POSIX else -1


def _absolute(path: Path) -> Path:
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  (resolve follows links)
    except (RuntimeError, ValueError):
        raise ConfigError(f"cannot tell where {str(path)!r} is", hint="write it in full") from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except ValueError:
        return False
    except OSError:
        return True  # something is there that we may not look at: reading it says what


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "its name is not usable"
