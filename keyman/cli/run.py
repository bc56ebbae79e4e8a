"""`keyman run NAME… -- CMD …`: a command with secrets in its environment, and nowhere else.

Without --restart this process becomes the command: nothing stays between it and whoever started
it. With --restart one process stays (supervisor.py) that hears of promotions.
"""

from __future__ import annotations

import errno
import os

from keyman import quoting
from keyman.cli import bare
from keyman.cli.get import ask
from keyman.cli.variables import Names, names_of, with_strays
from keyman.errors import UsageError

NOT_EXECUTABLE, NOT_FOUND = 126, 127
HELP = """\
Usage: keyman [--config FILE] run NAME... [--restart] -- COMMAND [ARGUMENT...]

  Run COMMAND with OPENAI_API_KEY and OPENAI_BASE_URL (or the variables that the
  configuration names) set to the current secret of NAME and its address.
  OPENAI_PROJECT_ID and OPENAI_ORG_ID are taken away, unless they are among
  those. The exit status is the command's; 127 if there is no such command, 126
  if it can't be executed.

  --restart  at a promotion end it (SIGTERM, after 10 s SIGKILL) and start it
             again; not once it was sent SIGINT, SIGTERM or SIGQUIT

  Example: keyman run genai -- python app.py
"""


def main(arguments: list[str], config: str | None = None) -> int:
    return bare.ended(lambda: _run(arguments, config))


def _run(arguments: list[str], config: str | None) -> int:
    if bare.wants_help(arguments):
        bare.say(HELP)
        return 0
    words = parsed(arguments)
    command = words.behind or []
    if "--restart" in words.flags:
        _prepare_to_stay()
    names = names_of(words.names, config)
    answers = {name: ask(name, previous=False, config=config) for name in words.names}
    values = _Values(names, answers)
    try:
        if "--restart" in words.flags:
            return _supervised(command, values, config)
        return _become(command, values.environment())
    except OSError as error:
        return _not_started(command[0], error)


def parsed(arguments: list[str]) -> bare.Words:
    words = bare.Words("run").read(arguments, ("--restart",), {})
    if not words.names:
        raise words.mistake("run takes a name, or several")
    if not words.behind or not words.behind[0]:
        raise words.mistake("run takes -- and a command")
    return words


class _Values:
    """The latest answers, and the environment they make."""

    def __init__(self, names: list[Names], answers: dict[str, dict[str, object]]) -> None:
        self._names = names
        self._answers = answers

    def environment(self) -> dict[str, str]:
        """Raises UsageError for a value that no environment can hold."""
        values: dict[str, str | None] = {}
        for one in self._names:
            values |= one.values(self._answers[one.credential])
        changed = with_strays(values)
        for name, value in changed.items():
            quoting.refuse_broken(name, value or "")
        kept = {name: value for name, value in os.environ.items() if name not in changed}
        return kept | {name: value for name, value in changed.items() if value is not None}

    @property
    def credentials(self) -> list[str]:
        return list(self._answers)

    def take(self, credential: str, answer: dict[str, object]) -> dict[str, str]:
        """The environment with this answer in it, the one before where it can't be held."""
        last = self._answers[credential]
        self._answers[credential] = answer
        try:
            return self.environment()
        except UsageError as error:
            bare.warn(error.message)
            self._answers[credential] = last
            return self.environment()


def _become(command: list[str], environment: dict[str, str]) -> int:
    if os.name != "posix":
        import subprocess

        return subprocess.call(command, env=environment)  # noqa: S603 the user's own command
    from _signal import SIG_DFL, SIGPIPE, SIGXFSZ, signal  # type: ignore[import-not-found]

    for number in (SIGPIPE, SIGXFSZ):
        signal(number, SIG_DFL)  # Python ignores them, and the command would inherit that
    return os.execvpe(command[0], command, environment)  # noqa: S606 no shell is wanted between


def _prepare_to_stay() -> None:
    """Raises UsageError where that can't be."""
    if not hasattr(os, "posix_spawnp"):
        raise UsageError(
            "--restart needs processes and signals as Linux and macOS have them",
            hint="without it the command gets the current secret when it starts",
        )
    from keyman import private_memory

    # And no limit on core files, which the command would inherit.
    bare.warn(private_memory.no_reader())


def _supervised(command: list[str], values: _Values, config: str | None) -> int:
    import threading

    from keyman.cli.following import answers
    from keyman.cli.supervisor import Supervisor

    with Supervisor(command, values.environment()) as supervisor:
        turn = threading.Lock()  # of two promotions at once, the later one has both

        def follow(credential: str) -> None:
            for answer in answers(credential, config):
                with turn:
                    supervisor.renew(values.take(credential, answer))

        supervisor.start()
        for credential in values.credentials:
            threading.Thread(target=follow, args=(credential,), daemon=True).start()
        return supervisor.wait()


def _not_started(command: str, error: OSError) -> int:
    missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
    status = NOT_FOUND if missing else NOT_EXECUTABLE
    why = "there is no such command" if missing else error.strerror or "it can't be executed"
    hint = "look at its name and at PATH; it is run without a shell"
    bare.two_lines(f"{command}: {why}", hint)
    return status
