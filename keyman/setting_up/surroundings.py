"""What lies around on this machine that keyman could sign in with: files of Oracle's and Google's
tools, and variables of the environment.

Reads a handful of well-known places, opens nothing that could block, and takes no secret out of
any: what it tells are paths, profiles, projects and whether a variable is set. What is there and
can't be read is told as a remark; nothing here fails.
"""

from __future__ import annotations

import configparser
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keyman.config import values

ADMIN_VARIABLE: Final = "OPENAI_ADMIN_KEY"
USUAL_OCI: Final = "~/.oci/config"
MOST_BYTES: Final = 1_000_000
GOOGLE_KINDS: Final = {
    "service_account": "service-account",
    "authorized_user": "authorized-user",
    "external_account": "external-account",
}
"""The `type` in a file → the kind of `source` that it is for."""


@dataclass(frozen=True, slots=True)
class OciProfile:
    name: str
    region: str | None
    tenancy: str | None
    session: bool  #: it signs with a session token


@dataclass(frozen=True, slots=True)
class OciFile:
    written: str  #: the path as a configuration may name it
    profiles: tuple[OciProfile, ...]

    def profile(self, name: str | None) -> OciProfile | None:
        """That profile; for None the one called DEFAULT, else the first."""
        wanted = name or "DEFAULT"
        named = next((one for one in self.profiles if one.name == wanted), None)
        return named or (self.profiles[0] if self.profiles and name is None else None)


@dataclass(frozen=True, slots=True)
class GoogleFile:
    written: str
    kind: str  #: of `source`
    project: str | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    oci: OciFile | None = None
    principal: str | None = None  #: the kind of `auth` that a machine or pod of Oracle's has
    google: GoogleFile | None = None
    google_project: str | None = None
    google_location: str | None = None
    admin_key: bool = False  #: the variable is set
    openai_project: str | None = None
    remarks: tuple[str, ...] = ()  #: what is there and can't be used

    @property
    def found(self) -> tuple[str, ...]:
        """One line for each thing of use."""
        lines = []
        if self.oci:
            names = ", ".join(_with_region(one) for one in self.oci.profiles)
            lines.append(f"OCI: {names} in {self.oci.written}")
        if self.principal:
            lines.append(f"OCI: this environment has a {self.principal}")
        if self.google:
            lines.append(f"Google: {self.google.kind} in {self.google.written}")
        if self.admin_key:
            lines.append(f"OpenAI: {ADMIN_VARIABLE} in the environment")
        return tuple(lines)


def look_around(environ: Mapping[str, str], oci_file: str | None = None) -> Surroundings:
    """What is there now. `oci_file` is a file of profiles that somebody named."""
    remarks: list[str] = []
    google = _noted(remarks, lambda: _google(environ))
    return Surroundings(
        oci=_noted(remarks, lambda: _oci(environ, oci_file)),
        principal=_principal(environ),
        google=google,
        google_project=_valid(values.project, environ.get("GOOGLE_CLOUD_PROJECT"))
        or (google.project if google else None),
        google_location=_valid(values.location, environ.get("GOOGLE_CLOUD_LOCATION")),
        admin_key=bool(environ.get(ADMIN_VARIABLE)),
        openai_project=_valid(values.project_id, environ.get("OPENAI_PROJECT_ID")),
        remarks=tuple(remarks),
    )


def followed(written: str, environ: Mapping[str, str]) -> Path:
    """Where a path leads that was typed into a shell. Raises ValueError if nobody can tell."""
    path = Path(written)
    if written == "~" or written.startswith("~/"):
        if environ.get("HOME"):
            return Path(environ["HOME"]) / written[2:]
        try:
            path = path.expanduser()
        except RuntimeError:
            raise ValueError("names a home that nobody knows: write the path in full") from None
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve follows links)


def google_file(written: str, environ: Mapping[str, str]) -> GoogleFile:
    """A credentials file of Google's. Raises ValueError, in words, if it is none."""
    info = _object(_text(followed(written, environ)))
    kind = info.get("type")
    if kind == "impersonated_service_account":
        raise ValueError("impersonates: name who does and whom, or take `adc`")
    if kind not in GOOGLE_KINDS:
        raise ValueError("holds no credentials of a known type")
    project = info.get("project_id") or info.get("quota_project_id")
    known = _valid(values.project, project) if isinstance(project, str) else None
    return GoogleFile(written, GOOGLE_KINDS[kind], known)


def _oci(environ: Mapping[str, str], named: str | None) -> OciFile | None:
    written = named or environ.get("OCI_CONFIG_FILE") or USUAL_OCI
    if not _exists(written, environ) and not named and written == USUAL_OCI:
        return None
    path = followed(written, environ)
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(_text(path))
    except ValueError as error:
        raise ValueError(f"{written}: {error}") from None
    except configparser.Error:
        raise ValueError(f"{written}: is no file of profiles") from None
    names = [*(["DEFAULT"] if parser.defaults() else []), *parser.sections()]
    profiles = tuple(_profile(name, parser[name]) for name in names if _valid(values.profile, name))
    return OciFile(written if written == USUAL_OCI else str(path), profiles) if profiles else None


def _profile(name: str, said: Mapping[str, str]) -> OciProfile:
    return OciProfile(
        name,
        _valid(values.region, said.get("region")),
        _valid(values.compartment_id, said.get("tenancy")),
        bool(said.get("security_token_file")),
    )


def _google(environ: Mapping[str, str]) -> GoogleFile | None:
    named = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    folder = environ.get("CLOUDSDK_CONFIG") or "~/.config/gcloud"
    written = named or f"{folder}/application_default_credentials.json"
    if not named and not _exists(written, environ):
        return None
    try:
        found = google_file(written, environ)
    except ValueError as error:
        raise ValueError(f"{written}: {error}") from None
    return found if written.startswith("~") else _in_full(found, environ)


def _in_full(found: GoogleFile, environ: Mapping[str, str]) -> GoogleFile:
    return GoogleFile(str(followed(found.written, environ)), found.kind, found.project)


def _principal(environ: Mapping[str, str]) -> str | None:
    if environ.get("OCI_RESOURCE_PRINCIPAL_VERSION"):
        return "resource-principal"
    return None


def _with_region(one: OciProfile) -> str:
    return f"profile {one.name}" + (f" ({one.region})" if one.region else "")


def _noted(remarks: list[str], look: Callable[[], Any]) -> Any:
    """What `look` finds; None, with a remark, where something is in its way."""
    try:
        return look()
    except ValueError as error:
        remarks.append(str(error))
        return None


def _valid(check: Callable[[str], str], said: str | None) -> str | None:
    try:
        return check(said) if said else None
    except ValueError:
        return None


def _exists(written: str, environ: Mapping[str, str]) -> bool:
    """Also if this user may not look whether: then reading it says so."""
    try:
        followed(written, environ).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _text(path: Path) -> str:
    """The content of a plain file. Raises ValueError, in words."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        opened = os.open(path, flags)
    except OSError as error:
        raise ValueError(f"can't be read ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ValueError("is no plain file")
        with os.fdopen(opened, "rb", closefd=False) as file:
            raw = file.read(MOST_BYTES + 1)
    finally:
        os.close(opened)
    if len(raw) > MOST_BYTES:
        raise ValueError("is too large to be what is looked for")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is no text") from None


def _object(text: str) -> Mapping[str, Any]:
    # The error of the parser carries the text, so none of ours may be raised on top of it.
    try:
        info = json.loads(text)
    except (ValueError, RecursionError):
        info = None
    if not isinstance(info, dict):
        raise ValueError("holds no credentials: it is no JSON object")  # noqa: TRY004
    return info
