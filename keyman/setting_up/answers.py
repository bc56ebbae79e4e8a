"""Answers: the keys of one section of the file, dotted, with what is to be written for each.

    {"region": "us-chicago-1", "auth.profile": "TEAM", "admin_key": "!env OPENAI_ADMIN_KEY"}

None says that somebody was asked and left it as it is. A key that the section doesn't have is
refused before anything is written, and so is a secret: it would be copied into a file, and stood
in a command line before that. Which values a key takes is for the configuration's own check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from keyman.config.kinds import PROVIDERS
from keyman.config.loading import SECRET_KEYS
from keyman.config.schema import Section
from keyman.config.stores import STORES
from keyman.config.wording import keys_of, sections_of, unknown_key
from keyman.errors import UsageError
from keyman.telemetry import SECRET_SHAPES

Answers = Mapping[str, str | None]

POINTERS: Final = ("!env ", "!file ")
_SHOWN: Final = 60
_REFERENCE: Final = re.compile(r"\{ *credential *: *[a-z0-9_-]+ *\}")


def of_credential(provider: str, given: Iterable[str]) -> dict[str, str | None]:
    """`KEY=VALUE`s for a credential of that kind. Raises UsageError."""
    return _all(given, PROVIDERS[provider], "--set", said_by="provider")


def of_store(kind: str, given: Iterable[str]) -> dict[str, str | None]:
    """The same for a store."""
    return _all(given, STORES[kind], "--store-set", said_by="kind")


def _all(
    given: Iterable[str], section: type[Section], option: str, *, said_by: str
) -> dict[str, str | None]:
    read: dict[str, str | None] = {}
    for one in given:
        key, value = _read(one, section, option, said_by=said_by)
        for other in read:
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise UsageError(f"{option} {key} and {other}: one of them is enough")
        read[key] = value
    return read


def _read(given: str, section: type[Section], option: str, *, said_by: str) -> tuple[str, str]:
    key, equals, value = given.partition("=")
    if not equals:
        raise UsageError(
            f"{option} takes KEY=VALUE, and there is no = in {given[:_SHOWN]!r}",
            hint="e.g. --set region=us-chicago-1",
        )
    if key == said_by:
        raise UsageError(
            f"{option} {key}: that has an option of its own", hint="keyman init --help"
        )
    _refuse_unknown(section, key, option)
    _refuse_secret(section, key, value, option)
    if not value.isprintable():
        raise UsageError(f"{option} {key}: control characters have no place in a value")
    return key, value


def _refuse_unknown(section: type[Section], key: str, option: str) -> None:
    at: list[type[Section]] = [section]
    for part in key.split("."):
        known = keys_of(at[0]) if at else {}
        if part not in known:
            said = unknown_key(part, at)
            names = ", ".join(known) or "nothing below it"
            raise UsageError(f"{option} {key[:_SHOWN]!r}: {said}", hint=f"known: {names}")
        at = sections_of(known[part].annotation)


def _refuse_secret(section: type[Section], key: str, value: str, option: str) -> None:
    """What is a secret by its key, or looks like one."""
    named = key.rpartition(".")[2] in SECRET_KEYS
    # Everywhere else `token` is a path.
    named = named or (key == "auth.token" and section is STORES["vault"])
    pointed = value.startswith(POINTERS) or _REFERENCE.fullmatch(value)
    if (named and not pointed) or SECRET_SHAPES.search(value):
        raise UsageError(
            f"{key} is a secret, or looks like one: it is not copied into the configuration, and "
            "every user of the machine can read a command line",
            hint=f"{option} '{key}=!file PATH' or {option} '{key}=!env VARIABLE'",
        )
