"""The current secret of one credential, and each one that follows it, as the agent tells them.

Waits at the agent (a long-poll), so a promotion is heard of at once and nobody asks in vain. A
daemon that goes away, or has nothing usable for a while, is asked again until it answers: what is
followed lasts longer than it.
"""

from __future__ import annotations

import os
import time

from keyman import client
from keyman.cli import bare
from keyman.cli.get import configured_socket
from keyman.errors import Error, NotRunning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

WAIT = 30  # seconds that the agent holds a question
LONGER = 10.0  # and what it may take besides
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two questions that came to nothing


def answers(name: str, config: str | None) -> Iterator[dict[str, Any]]:
    """The answer of now, then each one after it; never ends.

    The same answer may come again: whoever acts on it compares what it means.
    """
    agent, version, pause, said = _Agent(config), None, FIRST_PAUSE, ""
    while True:
        try:
            found = agent.ask(name, version)
        except Error as error:
            # What was said once is not said every other second.
            if error.message != said:
                bare.warn(f"{name}: {error.message}; asking again")
            version, said = None, error.message
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        pause, said = FIRST_PAUSE, ""
        if found is None:
            time.sleep(FIRST_PAUSE)  # a daemon that is about to stop ends every wait at once
            continue
        version = found["version"]
        yield found


class _Agent:
    """Where agents usually are, else where the configuration puts one."""

    def __init__(self, config: str | None) -> None:
        self._config = config
        self._looked = False
        self._elsewhere: str | None = None

    def ask(self, name: str, after: int | None) -> dict[str, Any] | None:
        """At once without `after`, else when there is a newer version; None if there was none."""
        query = "" if after is None else f"?after={after}&wait={WAIT}s"
        path = f"/api/v1/secrets/{name}{query}"
        try:
            return _call(path, None)
        except client.Silent:
            raise
        except NotRunning:
            if not self._looked:
                self._looked, self._elsewhere = True, _elsewhere(self._config)
            if self._elsewhere is None:
                raise
        return _call(path, self._elsewhere)


def _elsewhere(config: str | None) -> str | None:
    """What the environment names is the only one."""
    named = os.environ.get("KEYMAN_SOCKET") or os.environ.get("KEYMAN_URL")
    return None if named else configured_socket(config)


def _call(path: str, socket: str | None) -> dict[str, Any] | None:
    timeout = WAIT + LONGER
    found = client.checked(*client.call("GET", path, timeout=timeout, path_to_socket=socket))
    return found if isinstance(found, dict) else None
