"""A process of its own that speaks to apprise, which speaks to everybody else.

Run by its path, on the standard library and apprise alone. Reads one JSON object a line and answers
each with one:

    {"open": url}                                {"service": name} or {"refused": why}
    {"title": …, "body": …, "kind": …}           {"sent": true} or {"sent": false, "said": why,
                                                 "unsure": whether it may have arrived all the same}

What a service said is passed on without whatever stood in its address. The address itself is
neither printed nor logged, and nothing is written to disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO
from urllib.parse import unquote, unquote_plus

MISSING, UNREADABLE = "missing", "unreadable"
SAID_AT_MOST = 300  # characters
SHORTEST_PART = 4  # of an address, that could be a secret


def scrubbed(text: str, url: str) -> str:
    """The text without any part of the address behind its kind."""
    for part in sorted(_parts(url), key=len, reverse=True):
        text = text.replace(part, "···")
    return " ".join(text.split())[:SAID_AT_MOST]


def _parts(url: str) -> set[str]:
    """Whatever may be secret in it, as it is written and as a service reads it."""
    rest = url.partition("://")[2]
    parts = {part for form in (rest, unquote(rest)) for part in re.split(r"[^\w.~-]+", form)}
    parts |= {form for one in _whole(rest) for form in (one, unquote(one), unquote_plus(one))}
    long = {one for one in parts if len(one) >= SHORTEST_PART}
    return long | {form for one in _signing_in(rest) for form in (one, unquote(one)) if form[1:]}


def _whole(rest: str) -> Iterator[str]:
    """Parts of the path and values behind it: one may hold marks that would split it in pieces."""
    path, _, query = rest.partition("?")
    yield from path.split("/")
    yield from (pair.partition("=")[2] for pair in query.split("&"))


def _signing_in(rest: str) -> Iterator[str]:
    """User and password, whole, however short: up to the host, or up to the last @ at all."""
    for before in (re.split(r"[/?]", rest, maxsplit=1)[0], rest.partition("?")[0]):
        user, at, _ = before.rpartition("@")
        if at:
            yield from (user, *user.partition(":")[::2])


class Service:
    """One address, opened. `deliver` is None until that went well."""

    def __init__(self, apprise: Any) -> None:
        self._apprise = apprise
        self._asset = apprise.AppriseAsset(
            app_id="keyman",
            app_desc="keyman",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            storage_mode="memory",
            async_mode=False,
            http_redirects=False,
            interpret_emojis=False,
            interpret_escapes=False,
            allow_templates=False,
            pem_autogen=False,
            pgp_autogen=False,
        )
        self._url = ""
        self._plugin: Any = None

    def open(self, url: str) -> dict[str, object]:
        self._url = url
        self._plugin = self._apprise.Apprise.instantiate(url, asset=self._asset)
        if self._plugin is None:
            return {"refused": UNREADABLE}
        return {"service": str(self._plugin.service_name)}

    def send(self, said: dict[str, str]) -> dict[str, object]:
        everybody = self._apprise.Apprise(asset=self._asset)
        everybody.add(self._plugin)
        result = everybody.notify(
            title=said["title"],
            body=said["body"],
            notify_type=said["kind"],
            body_format=self._apprise.NotifyFormat.TEXT,
            log_level=logging.DEBUG,
        )
        if result:
            return {"sent": True}
        logs = [entry for service in result for attempt in service for entry in attempt.logs]
        unsure = _lost(logs) or (self._receivers() > 1 and not _nobody_reached(logs))
        return {"sent": False, "said": scrubbed(_reason(logs), self._url), "unsure": unsure}

    def _receivers(self) -> int:
        """Of this address. Which of several it reached is not told, only that not all were."""
        try:
            return len(self._plugin)
        except TypeError:
            return 1


# How requests says that a question went out and the answer did not come, and how smtplib does.
_LOST = re.compile(
    r"Read timed out|Connection aborted|IncompleteRead|Response ended prematurely"
    r"|Connection unexpectedly closed|timed out|Connection reset"
)
# How urllib3 says that there was nobody to ask.
_UNREACHED = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeoutError")
_NO_MAIL_SERVER = "Connection error while submitting email"  # or one that did not get to a mail

# Lines of other kinds quote our own message, or what was answered: they may say anything.
_EXCEPTION = re.compile(r"(?:[A-Z][\w./]* ){1,3}Exception(?: socket_\w+)?: (.*)", re.DOTALL)
_QUOTED_URL = re.compile(r"with url: \S*")  # some services take the message in it


def _exceptions(logs: Iterable[Any]) -> Iterator[tuple[str, bool]]:
    """What each said, and whether it came before anything was sent."""
    before = ""
    for one in logs:
        line = str(one.message)
        if found := _EXCEPTION.match(line):
            said = _QUOTED_URL.sub("", found[1])
            yield said, before.startswith(_NO_MAIL_SERVER) or _UNREACHED.search(said) is not None
        before = line


def _lost(logs: Iterable[Any]) -> bool:
    return any(_LOST.search(said) for said, unreached in _exceptions(logs) if not unreached)


def _nobody_reached(logs: Sequence[Any]) -> bool:
    """No attempt got as far as to somebody who could have taken it."""
    unreached = [how for _, how in _exceptions(logs)]
    some = any(one.level == "INFO" for one in logs)  # that is where services tell of success
    return bool(unreached) and all(unreached) and not some


def _reason(logs: Iterable[Any]) -> str:
    """The last that people were to see: services are asked once each."""
    said = [str(one.message) for one in logs if one.level in _SEEN]
    return said[-1] if said else "it was not delivered"


_SEEN = ("WARNING", "ERROR", "CRITICAL")


def answer_all(questions: Iterable[str], answers: TextIO) -> None:
    service: Service | None = None
    for line in questions:
        said = json.loads(line)
        try:
            service = service or Service(_apprise())
            answer = service.open(said["open"]) if "open" in said else service.send(said)
        except ImportError:
            answer = {"refused": MISSING}
        except Exception as error:  # noqa: BLE001 - a service's own; its text may quote the address
            answer = {"refused": UNREADABLE, "sent": False, "said": type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


def _apprise() -> Any:
    import apprise

    # What they log goes nowhere: main() has it so. Of apprise's we look at all, and pass on a line.
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    for name in ("requests", "urllib3"):  # they quote addresses when they are chatty
        logging.getLogger(name).setLevel(logging.WARNING)
    return apprise


def _undumpable() -> None:
    """Let no other process of this user read the address out of our memory."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def main() -> None:
    _undumpable()
    logging.getLogger().addHandler(logging.NullHandler())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 what services print
        os.dup2(nowhere.fileno(), 1)
        answer_all(sys.stdin, answers)


if __name__ == "__main__":
    main()
