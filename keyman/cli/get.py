"""`keyman get NAME`: the secret and a newline, nothing else.

Asks the agent with the standard library alone. Only if no agent answers are journal and store
opened, read-only, by the parts of keyman that need the packages of `keyman[daemon]`.
"""

from __future__ import annotations

from keyman import client, private_memory
from keyman.cli import bare
from keyman.errors import ConfigError, Error, NotRunning, UsageError

PATIENCE = 1.5  # seconds for an answer that an agent has ready
PATIENCE_IN_ALL = 3.0
FROM_AFAR = {
    "not_running": "KEYMAN_URL says where to ask: is it right, and does keyman run there?",
    "not_allowed": "what is in KEYMAN_TOKEN, or in the file that KEYMAN_TOKEN_FILE names, is not "
    "taken there: `keyman client add NAME --allow …` on that machine gives another token",
    "not_found": "or this token may not look it up: `keyman client list` on that machine tells",
}
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
    return bare.ended(lambda: _get(arguments, config, as_json=as_json), as_json=as_json)


def _get(arguments: list[str], config: str | None, *, as_json: bool) -> int:
    if bare.wants_help(arguments):
        bare.say(HELP)
        return 0
    name, field, previous = parsed(arguments)
    bare.warn(private_memory.no_core_file())
    answer = ask(name, previous=previous, config=config)
    bare.say(_shown(answer, field, as_json=as_json))
    return 0


def parsed(arguments: list[str]) -> tuple[str, str | None, bool]:
    """Name, field, and whether the previous version is meant. Raises UsageError."""
    words = bare.Words("get")
    words.read(arguments, ("--json", "--previous"), {"--field": "the name of a member"})
    names = [*words.names, *(words.behind or [])]
    if len(names) != 1:
        raise words.mistake("get takes one name")
    field = words.options.get("--field")
    if field and "--json" in words.flags:
        raise words.mistake("--json and --field exclude each other")
    return names[0], field, "--previous" in words.flags


def ask(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    """The object of `get --json`: from the agent, else read without one. Raises what `get` says."""
    try:
        return _asked(name, previous=previous, config=config)
    except Error as error:
        error.hint = _next_move(error, previous=previous)
        raise


def _next_move(error: Error, *, previous: bool) -> str:
    """What helps from here: who answered does not know in which way it was asked."""
    if previous and error.code == "no_usable_secret":
        return "there is one while an overlap runs; without --previous you get the current one"
    if "://" not in client.addresses()[0]:
        return error.hint
    if error.code == "not_running" and error.hint != error.default_hint:
        return error.hint
    return FROM_AFAR.get(error.code, error.hint)


def _asked(name: str, *, previous: bool, config: str | None) -> dict[str, object]:
    stage = "previous" if previous else "current"
    try:
        return client.lookup(name, stage=stage, timeout=PATIENCE)
    except NotRunning as error:
        if "://" in client.addresses()[0]:
            raise  # what lies on this machine is not what that agent has
        waited = PATIENCE if isinstance(error, client.Silent) else 0  # the rest is known at once
    return _look(name, PATIENCE_IN_ALL - waited, previous=previous, config=config)


def _look(name: str, left: float, *, previous: bool, config: str | None) -> dict[str, object]:
    """Nobody where agents usually are: ask where the configuration says, else look ourselves.

    An agent that is starting, or silent, gets what is `left` of our patience (seconds).
    """
    import gc

    gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
    try:
        from keyman.cli.configuration import load_settings
        from keyman.cli.reach import daemon_of, refuse_silent_daemon
        from keyman.reading import lookup

        settings = load_settings(config)
        remote = daemon_of(settings, within=left)
        if remote is not None:
            return remote.lookup(name, previous=previous)
        refuse_silent_daemon(settings)
        return lookup(settings, name, previous=previous)
    except ModuleNotFoundError as missing:
        raise not_installed("no keyman daemon answers", missing) from None
    finally:
        gc.enable()


def configured_socket(config: str | None) -> str | None:
    """Where the configuration puts the agent; None if that can't be told here."""
    try:
        from keyman.cli.configuration import load_settings

        return str(load_settings(config).agent.socket)
    except (ModuleNotFoundError, ConfigError):
        return None


def not_installed(what: str, missing: ModuleNotFoundError) -> NotRunning:
    """What to say where only the client of keyman is installed."""
    package = (missing.name or "").partition(".")[0]
    return NotRunning(
        f"{what}, and {package} is not installed to look without one",
        hint="start `keyman daemon`, or pip install 'keyman[daemon]'",
    )


def _shown(answer: dict[str, object], field: str | None, *, as_json: bool) -> str:
    if as_json:
        import json

        return json.dumps(answer) + "\n"
    if field and field not in answer:
        known = ", ".join(answer)
        raise UsageError(f"there is no member {field!r}", hint=f"the members: {known}")
    value = answer[field or "value"]
    return "\n" if value is None else f"{value}\n"
