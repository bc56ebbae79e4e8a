"""`keyman get NAME`: the secret and a newline, nothing else.

Asks the agent with the standard library alone. Only if no agent answers are journal and store
opened, read-only, by the parts of keyman that need the packages of `keyman[daemon]`.
"""

from __future__ import annotations

import sys

from keyman import client
from keyman.errors import INTERRUPTED, STATUSES, ConfigError, Error, NotRunning, UsageError

PATIENCE = 1.5  # seconds for an answer that an agent has ready
PATIENCE_IN_ALL = 3.0
MORE = "keyman get --help"
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
    field, previous, as_json = None, False, False
    rest = iter(arguments)
    for word in rest:
        option, _, given = word.partition("=")
        if word == "--previous":
            previous = True
        elif word == "--json":
            as_json = True
        elif option == "--field":
            field = given or (next(rest, "") if word == option else "")
            if not field:
                raise UsageError("--field takes the name of a member", hint=MORE)
        elif word == "--":
            names += rest
        elif word.startswith("-"):
            raise UsageError(f"get has no option {option!r}", hint=MORE)
        else:
            names.append(word)
    if len(names) != 1:
        raise UsageError("get takes one name", hint=MORE)
    if field and as_json:
        raise UsageError("--json and --field exclude each other", hint=MORE)
    return names[0], field, previous


def _ask(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    left = PATIENCE_IN_ALL
    try:
        return client.lookup(name, stage="previous" if previous else "current", timeout=PATIENCE)
    except client.Silent:
        left -= PATIENCE
    except NotRunning:
        pass  # known at once
    return _look(name, left, previous=previous, config=config)


def _look(name: str, left: float, *, previous: bool, config: str | None) -> dict[str, object]:
    """Nobody where agents usually are: ask where the configuration says, else look ourselves.

    An agent that is starting, or silent, gets what is `left` of our patience (seconds).
    """
    try:
        from keyman.cli.configuration import load_settings
        from keyman.cli.reach import daemon_of, refuse_silent_daemon
        from keyman.reading import lookup
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        raise NotRunning(
            f"no keyman daemon answers, and {package} is not installed to look without one",
            hint="start `keyman daemon`, or pip install 'keyman[daemon]'",
        ) from None
    settings = load_settings(config)
    remote = daemon_of(settings, within=left)
    if remote is not None:
        return remote.lookup(name, previous=previous)
    refuse_silent_daemon(settings)
    return lookup(settings, name, previous=previous)


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
    from keyman.telemetry import escaped

    said = error.message if isinstance(error, ConfigError) else escaped(error.message)
    sys.stderr.write(f"keyman: error: {said}\nkeyman: hint: {escaped(error.hint)}\n")
    return STATUSES[error.code][0]
