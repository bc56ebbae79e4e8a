"""What comes after `keyman init` wrote a configuration: journal and store are made, what must be
allowed is shown, `check` has its say, and the next command is named.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from keyman.cli import terminal
from keyman.cli.check import running_or_silent, show_findings
from keyman.config import OciGenaiOptions, Settings, StaticOptions
from keyman.errors import Conflict, Error
from keyman.lock import COMMAND
from keyman.setting_up.writing import Wanted
from keyman.views import Json


@dataclass(frozen=True, slots=True)
class Begun:
    settings: Settings
    wanted: Wanted
    path: Path
    explicit: str | None

    def tell(self, *, as_json: bool) -> int:
        """Make journal and store, and say what there is now; the exit status of `check`."""
        if not as_json:
            terminal.say(f"wrote {self.path}")
            kept = f"its secrets rest in the store {self.wanted.store}"
            terminal.say(f"  credential {self.wanted.name} ({self.wanted.provider}), {kept}")
        hindered = self._make()
        if not as_json and hindered is None:
            terminal.say(f"made journal and store in {self.settings.home}")
        statements, found = self._statements(), self._findings(hindered)
        if as_json:
            terminal.show_json(self._as_json(statements, found, hindered))
        else:
            self._show(statements, found, hindered)
        return 1 if _errors(found) else 0

    def _make(self) -> Error | None:
        """Open the home once, as the daemon does at its start; what was in the way of that."""
        from keyman.app import open_app

        try:
            with open_app(self.settings, role=COMMAND) as app:
                for warning in app.warnings:
                    terminal.warn(warning)
        except Error as error:
            return error
        return None

    def _statements(self) -> list[str]:
        from keyman.permissions import policy_statements

        return policy_statements(self.settings, self.wanted.name, one_key=False)

    def _findings(self, hindered: Error | None) -> list[Json]:
        """What `check` finds; and what kept the home from being made, unless that says so too."""
        from keyman.examining import examine

        running, silent = running_or_silent(self.settings)
        found = examine(self.settings, running, silent)
        if hindered is None or isinstance(hindered, Conflict):
            return found
        if any(one["message"] == hindered.message for one in found):
            return found
        said = hindered.as_json()["error"]
        return [{"severity": "error", "credential": None, "slot": None, **said}, *found]

    def _next(self, found: list[Json], hindered: Error | None) -> str:
        """The next command to type."""
        options, name = self.settings.credentials[self.wanted.name].options, self.wanted.name
        if _errors(found):
            return self._typed("check")
        if isinstance(hindered, Conflict):
            return self._typed("reload")
        if isinstance(options, StaticOptions):
            return self._typed(f"put {name}")
        if isinstance(options, OciGenaiOptions) and options.api_key_id:
            return self._typed(f"adopt {name} --slot {options.slots[0]}")
        return self._typed("daemon")

    def _typed(self, words: str) -> str:
        file = f" --config {shlex.quote(str(self.path))}" if self.explicit else ""
        return f"keyman{file} {words}"

    def _as_json(self, statements: list[str], found: list[Json], hindered: Error | None) -> Json:
        return {
            "config": str(self.path),
            "home": str(self.settings.home),
            "credential": self.wanted.name,
            "provider": self.wanted.provider,
            "store": self.wanted.store,
            "statements": statements,
            "findings": found,
            "next": self._next(found, hindered),
        }

    def _show(self, statements: list[str], found: list[Json], hindered: Error | None) -> None:
        name = self.wanted.name
        terminal.say()
        terminal.say(f"what must be allowed first (`keyman policy {name}` shows it again):")
        for statement in statements:
            terminal.say(f"  {statement}")
        terminal.say()
        terminal.say("what `keyman check` finds:")
        show_findings(found)
        if isinstance(hindered, Conflict):
            terminal.say(f"a keyman works on {self.settings.home} already: it takes this up next")
        elif _errors(found):
            terminal.say(f"the configuration is {self.path}: mend what is wrong there or elsewhere")
        terminal.say()
        terminal.say(f"next: {self._next(found, hindered)}")


def _errors(found: list[Json]) -> bool:
    return any(one["severity"] == "error" for one in found)
