"""`keyman get NAME`: the secret and a newline, nothing else.

Asks the agent with the standard library alone. Only if no agent answers are journal and store
opened, read-only, by the parts of keyman that need the packages of `keyman[daemon]`.
"""

from __future__ import annotations

import sys

from keyman import client
from keyman.errors import INTERRUPTED, STATUSES, Error, NotRunning, UsageError

HELP = """\
Usage: keyman [--config FILE] get NAME [--json | --field FIELD] [--previous]

  Print the current secret of NAME and a newline, nothing else.

  --json         all that an application needs, as one JSON object
  --field FIELD  one member of that object, e.g. base_url or expires_at
  --previous     the version before the current one, while it is still valid

  Example: OPENAI_API_KEY="$(keyman get genai)" python app.py
"""


def main(arguments: list[str], config: str | None = None) -> int:
    """Parse, ask, print. Returns the exit status."""
    as_json = "--json" in arguments
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP)
        return 0
    try:
        name, field, previous = _parsed(arguments)
        answer = _ask(name, previous=previous, config=config)
        sys.stdout.write(_shown(answer, field, as_json=as_json))
        sys.stdout.flush()
    except Error as error:
        return _complain(error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _parsed(arguments: list[str]) -> tuple[str, str | None, bool]:
    names: list[str] = []
    field, previous = None, False
    rest = iter(arguments)
    for word in rest:
        if word == "--previous":
            previous = True
        elif word == "--field":
            field = next(rest, None)
        elif word.startswith("--field="):
            field = word.partition("=")[2]
        elif word.startswith("-") and word != "--json":
            raise UsageError(
                f"get has no option {word.partition('=')[0]}", hint="keyman get --help"
            )
        elif word != "--json":
            names.append(word)
    if len(names) != 1:
        raise UsageError("get takes one name", hint="keyman get --help")
    if "--field" in arguments and not field:
        raise UsageError("--field takes the name of a member", hint="keyman get --help")
    if field and "--json" in arguments:
        raise UsageError("--json and --field exclude each other", hint="keyman get --help")
    return names[0], field, previous


def _ask(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    try:
        return client.lookup(name, stage="previous" if previous else "current")
    except NotRunning:
        return _read(name, previous=previous, config=config)


def _read(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    """No agent: open journal and store ourselves, without changing a thing."""
    try:
        from keyman.app import read_lookup
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        raise NotRunning(
            f"no keyman daemon answers, and {package} is not installed to look without one",
            hint="start `keyman daemon`, or pip install 'keyman[daemon]'",
        ) from None
    return read_lookup(name, previous=previous, config=config)


def _shown(answer: dict[str, object], field: str | None, *, as_json: bool) -> str:
    if as_json:
        import json

        return json.dumps(answer) + "\n"
    if field and field not in answer:
        known = ", ".join(answer)
        raise UsageError(f"there is no member {field!r}", hint=f"the members: {known}")
    value = answer[field or "value"]
    return "\n" if value is None else f"{value}\n"


def _complain(error: Error, *, as_json: bool) -> int:
    if as_json:
        import json

        sys.stdout.write(json.dumps(error.as_json()) + "\n")
    sys.stderr.write(f"keyman: error: {error.message}\nkeyman: hint: {error.hint}\n")
    return STATUSES[error.code][0]
