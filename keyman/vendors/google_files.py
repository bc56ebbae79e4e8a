"""Credentials files of Google: read when they changed, and taken only for what they are.

Knows which `type` of file each kind of source wants, what must be in it, and where Google's tools
leave the file of the application default credentials. No content of a file gets into an error,
but for its type and the names of what is missing.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from keyman import errors

Info = Mapping[str, Any]
MOST_BYTES = 1_000_000
NEEDED = {
    "service_account": ("client_email", "private_key"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "credential_source"),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}
_SAYS = {
    "service_account": "it is the key of a service account: `kind: service-account`",
    "authorized_user": "it is what `gcloud auth application-default login` leaves:"
    " `kind: authorized-user`",
    "external_account": "it is a workload identity federation: `kind: external-account`",
    "impersonated_service_account": "say it in the configuration: `kind: impersonate` with target"
    " and from, or take the file by `kind: adc`",
    "external_account_authorized_user": "people of a workforce pool are not supported: use a"
    " service account, or impersonate one",
    "gdch_service_account": "Google Distributed Cloud is not supported",
}
_UNTYPED = (
    "a credentials file says its `type`; the file of an OAuth client is none:"
    " `gcloud auth application-default login` makes one from it"
)
_TYPE = re.compile(r"[a-z_]{1,40}")


class Held(Protocol):
    """Somewhere credentials lie."""

    def read(self) -> Info:
        """What is there now; the same object as long as it has not changed."""

    def __str__(self) -> str:
        """For sentences."""


class CredentialsFile:
    """One file; read again whenever it was replaced or written to."""

    def __init__(self, path: Path) -> None:
        self._path = path.expanduser()
        self._lock = threading.Lock()
        self._held: tuple[object, Info] | None = None

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> Info:
        """Raises Rejected if there is no JSON object in it."""
        with self._lock:
            stamp = _stamp(self._path)
            if self._held is None or self._held[0] != stamp:
                self._held = (stamp, _parsed(self._path))
            return self._held[1]


class Nested:
    """Credentials inside of others: whose token an impersonation begins with."""

    def __init__(self, held: Held, name: str) -> None:
        self._held, self._name = held, name

    def __str__(self) -> str:
        return f"{self._name} of {self._held}"

    def read(self) -> Info:
        inner = self._held.read().get(self._name)
        if not isinstance(inner, dict):
            raise _unreadable(self)
        return inner


def read_as(wanted: str, held: Held) -> Info:
    """What is held, if it is of that type and complete. Raises Rejected."""
    info = held.read()
    found = type_of(info)
    if found != wanted:
        is_of = f"credentials of type {found}" if found else "no credentials of a known type"
        raise errors.Rejected(
            f"{held} holds {is_of}, and not {wanted}", hint=_SAYS.get(found or "", _UNTYPED)
        )
    missing = [name for name in NEEDED[wanted] if not info.get(name)]
    if missing:
        raise errors.Rejected(
            f"{held} lacks {', '.join(missing)}", hint="have it made anew and leave it as it is"
        )
    return info


def type_of(info: Info) -> str | None:
    found = info.get("type")
    return found if isinstance(found, str) and _TYPE.fullmatch(found) else None


def adc_file() -> Path | None:
    """The file that application default credentials are read from, if there is one.

    Raises Rejected if the environment names one that does not exist.
    """
    if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        if not Path(named).is_file():
            raise errors.Rejected(
                f"GOOGLE_APPLICATION_CREDENTIALS names {named}, and there is no such file",
                hint="correct the variable, or name the file in `source` and leave adc",
            )
        return Path(named)
    usual = _gcloud_folder() / "application_default_credentials.json"
    return usual if usual.is_file() else None


def _gcloud_folder() -> Path:
    if folder := os.environ.get("CLOUDSDK_CONFIG"):
        return Path(folder)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData/Roaming") / "gcloud"
    return Path.home() / ".config/gcloud"


def refuse_irregular(path: Path, mode: int) -> None:
    """Reading a pipe may take for ever, and whoever looks a credential up reads, too."""
    if not stat.S_ISREG(mode):
        raise errors.Rejected(
            f"{path} can't be read: it is no regular file",
            hint="name a file there, not a folder, a pipe or a device",
        )


def _stamp(path: Path) -> object:
    """What changes whenever the file does."""
    try:
        seen = path.stat()
    except OSError as error:
        raise errors.Rejected(
            f"{path} can't be read: {error.strerror}",
            hint="compare `source` in the configuration with what is there",
        ) from None
    refuse_irregular(path, seen.st_mode)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _parsed(path: Path) -> Info:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES)
    except OSError as error:
        raise errors.Rejected(
            f"{path} can't be read: {error.strerror}", hint="keyman must be allowed to read it"
        ) from None
    info = _object(text)
    if info is None:
        raise _unreadable(path)
    return info


def _object(text: bytes) -> Info | None:
    # The error of the parser carries the text, so none of ours may be raised on top of it.
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return info if isinstance(info, dict) else None


def _unreadable(what: object) -> errors.Rejected:
    return errors.Rejected(
        f"{what} holds no credentials: it is no JSON object",
        hint="is it the right file, and was it written to its end?",
    )
