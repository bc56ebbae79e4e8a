"""Lines that set and remove environment variables, in the words of each shell.

Values that every parser reads alike stand as they are, so that what was written for one serves
the others as well. Anything else is quoted so that its own dialect reads back exactly that value;
what a dialect cannot carry is refused and never bent. Pure: no shell is asked, nothing is run.

Names of variables are taken as given: whoever calls has checked them. No message repeats a value.
"""

from __future__ import annotations

from keyman.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SAFE = frozenset(_LETTERS + "_./+=:@%,-")
IN_DOUBT_FOR_CMD = frozenset('%!"\x7f') | {chr(code) for code in range(32)}
# PowerShell takes the curly single quotes for straight ones.
DOUBLED = {ord(quote): 2 * quote for quote in "'\u2018\u2019\u201a\u201b"}


def safe(value: str) -> bool:
    """Whether every parser reads it alike as it stands.

    Some act on single places: zsh looks for a command after `=` at the beginning and after a
    colon, fish takes %self for its own number.
    """
    return bool(value) and SAFE.issuperset(value) and value[0] not in "=%" and ":=" not in value


def refuse_broken(name: str, value: str) -> None:
    """Raise UsageError for what no environment variable can hold."""
    if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise UsageError(
            f"the value of {name} holds what no environment variable can",
            hint="keep a secret of printable characters",
        )


def refuse_lines(name: str, value: str) -> None:
    """Raise UsageError for what cannot stand on one line either."""
    refuse_broken(name, value)
    if "\n" in value or "\r" in value:
        raise UsageError(
            f"the value of {name} has more than one line",
            hint="`keyman get NAME` prints it, `keyman write NAME --format raw` puts it in a file",
        )


def lines(values: Mapping[str, str | None], dialect: str) -> str:
    """One line a variable; None stands for removing it. Raises UsageError for a value that the
    dialect cannot carry.
    """
    line = DIALECTS[dialect]
    written = []
    for name, value in values.items():
        refuse_lines(name, value or "")
        written.append(line(name, value))
    return "".join(f"{one}\n" for one in written if one)


# One dialect each: the line that sets the variable, or removes it.


def sh(name: str, value: str | None) -> str:
    """POSIX shells: sh, dash, bash, zsh, ksh, busybox."""
    if value is None:
        return f"unset -v {name}"
    return f"export {name}={bare_or(value, _in_quotes_of_sh)}"


def fish(name: str, value: str | None) -> str:
    if value is None:
        return f"set -eg {name}"  # of this session: universal variables outlive it
    return f"set -gx {name} {bare_or(value, _in_quotes_of_fish)}"


def powershell(name: str, value: str | None) -> str:
    return f"$env:{name} = {_word_of_powershell(name, value)}"


def powershell_persistent(name: str, value: str | None) -> str:
    """A variable of this Windows user, for every program that starts from now on."""
    word = _word_of_powershell(name, value)
    return f"[Environment]::SetEnvironmentVariable('{name}', {word}, 'User')"


def cmd(name: str, value: str | None) -> str:
    """cmd.exe. What it makes of % and ! depends on how the line reaches it: refused."""
    if value is not None and (not value or not IN_DOUBT_FOR_CMD.isdisjoint(value)):
        raise _cannot(name, "cmd")
    return f'set "{name}={value or ""}"'


def dotenv(name: str, value: str | None) -> str:
    """A `.env` file; nothing can be removed in one."""
    return "" if value is None else f"{name}={dotenv_value(value)}"


DIALECTS: dict[str, Callable[[str, str | None], str]] = {
    "sh": sh,
    "fish": fish,
    "powershell": powershell,
    "powershell-persistent": powershell_persistent,
    "cmd": cmd,
    "dotenv": dotenv,
}


# Values.


def dotenv_value(value: str) -> str:
    """Quoted so that python-dotenv and node's dotenv agree, where there is such a way.

    Where there is none (both kinds of quotes, doubled backslashes, `${`) it is python-dotenv's.
    """
    return bare_or(value, _in_quotes_of_dotenv)


def agreed_on(value: str) -> bool:
    """Whether both read it alike."""
    if safe(value):
        return True
    return "${" not in value and (_plain_in_single(value) or _plain_in_double(value))


def bare_or(value: str, quoted: Callable[[str], str]) -> str:
    return value if safe(value) else quoted(value)


def _in_quotes_of_sh(value: str) -> str:
    inner = value.replace("'", "'\\''")
    return f"'{inner}'"


def _in_quotes_of_fish(value: str) -> str:
    inner = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inner}'"


def _word_of_powershell(name: str, value: str | None) -> str:
    if value is None:
        return "$null"
    if not value:
        raise _cannot(name, "PowerShell")
    return f"'{value.translate(DOUBLED)}'"


def _in_quotes_of_dotenv(value: str) -> str:
    if not agreed_on(value):
        inner = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "${:-$}{")
        return f"'{inner}'"
    return f"'{value}'" if _plain_in_single(value) else f'"{value}"'


def _plain_in_single(value: str) -> bool:
    return "'" not in value and "\\\\" not in value and not value.endswith("\\")


def _plain_in_double(value: str) -> bool:
    return '"' not in value and "\\" not in value


def _cannot(name: str, shell: str) -> UsageError:
    return UsageError(
        f"{shell} cannot be given the value of {name} unharmed",
        hint="`keyman run NAME -- COMMAND` gives it to the command without a shell between",
    )
