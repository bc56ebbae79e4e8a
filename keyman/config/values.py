"""What single values look like: durations, times, names, addresses, vendors' identifiers.

Each function takes the text as it stands in the file and returns the value, or raises ValueError
with words that finish the sentence "KEY: …". None of them repeats the text it was given, since
that may be a secret in the wrong place. Nothing here touches the disk, except that a time zone's
name is looked up in the system's table of zones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from keyman.core.model import Secret
from keyman.core.policy import Window

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SLOT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")
LONGEST: Final = timedelta(days=36_500)
TEXT_LIMIT: Final = 4096

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?)"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(\S+) ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2}) (\S+)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]")
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})")
_WANTED_LISTEN = "must be an address and a port such as 127.0.0.1:8425 or [::1]:8425"
_PORT = re.compile(r":[0-9]{1,5}\Z")
_OCID_REST = r"\.[a-z0-9-]{1,20}\.[a-z0-9-]{0,60}(\.[a-z0-9-]{0,60})?\.[A-Za-z0-9_-]{1,200}"


def text(raw: str) -> str:
    """One line of plain text: not empty, no control characters, not absurdly long."""
    if not raw.strip():
        raise ValueError("must not be empty")
    if len(raw) > TEXT_LIMIT:
        raise ValueError(f"must not be longer than {TEXT_LIMIT} characters")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in raw):
        raise ValueError("must be one line without control characters")
    return raw


def secret(raw: str) -> Secret:
    return Secret(text(raw))


def duration(raw: str) -> timedelta:
    """`90d`, `12h`, `0.2s`: one number (decimals allowed) and one of ms s m h d w."""
    found = _DURATION.fullmatch(raw)
    if not found:
        raise ValueError("must be a duration such as 90d, 12h, 30m or 20s")
    # The factor is bounded by the pattern, so this can't overflow before it is compared.
    length = float(found[1]) * _UNITS[found[2]]
    if length > LONGEST:
        raise ValueError("must not be longer than 100 years")
    return length


def some_time(raw: str) -> timedelta:
    """A duration that is not zero."""
    length = duration(raw)
    if not length:
        raise ValueError("must be more than zero")
    return length


def switch(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("must be true or false")
    return raw == "true"


def moment(raw: str) -> datetime:
    """A point in time as RFC 3339 writes it, zone included; in UTC."""
    found = _MOMENT.fullmatch(raw)
    if not found:
        raise ValueError("must be a time such as 2027-01-31T00:00:00Z")
    if not found[2]:
        raise ValueError("must end with its zone: Z for UTC, or an offset such as +09:00")
    try:
        return datetime.fromisoformat(found[0].upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no time that a calendar and a clock can show") from None


def window(raw: str) -> Window:
    """`Mon-Fri 09:00-17:00 Asia/Tokyo`; days may be listed (`Sat,Sun`), an end may be 24:00."""
    found = _WINDOW.fullmatch(" ".join(raw.split()))
    if not found:
        raise ValueError('must look like "Mon-Fri 09:00-17:00 Asia/Tokyo"')
    days, *clock, zone = found.groups()
    start, end = _time(*clock[:2]), _time(*clock[2:])
    if start >= end:
        raise ValueError("must end after it starts, on the same day")
    return Window(_days(days), start, end, _zone(zone))


def _time(hours: str, minutes: str) -> time:
    if (hours, minutes) == ("24", "00"):
        return time.max
    try:
        return time(int(hours), int(minutes))
    except ValueError:
        raise ValueError("must have times between 00:00 and 24:00") from None


def _days(listed: str) -> frozenset[int]:
    found: set[int] = set()
    for part in listed.lower().split(","):
        first, _, last = part.partition("-")
        try:
            begin, end = _DAYS.index(first), _DAYS.index(last or first)
        except ValueError:
            raise ValueError("must name days as Mon, Tue, Wed, Thu, Fri, Sat, Sun") from None
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


def _zone(name: str) -> ZoneInfo:
    # ZoneInfo opens files by this name: only what can be a zone's name may reach it.
    if not _ZONE.fullmatch(name):
        raise ValueError("must end with a time zone such as Asia/Tokyo")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("names a time zone that this system does not know") from None


def url(raw: str) -> str:
    """An https address, or an http one of this machine; without a trailing slash."""
    parts = _split(raw)
    if parts.query or parts.fragment or "?" in raw or "#" in raw:
        raise ValueError("must not carry a query or a fragment")
    if parts.scheme == "http" and not loopback(parts.hostname or ""):
        raise ValueError("must begin with https:// (http:// only to this machine)")
    return raw.rstrip("/")


def proxy(raw: str) -> str:
    """`http://host:port`; a proxy is told where to connect, never what is said."""
    parts = _split(raw)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be no more than http://HOST:PORT")
    return raw.rstrip("/")


def _split(raw: str) -> SplitResult:
    try:
        parts = urlsplit(text(raw))
        port = parts.port
    except ValueError:
        raise ValueError("must be an address such as https://host/path") from None
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-\[\]-~]+", raw):
        raise ValueError("must be an address such as https://host/path")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user or a password")
    host = parts.netloc if port is None else parts.netloc.removesuffix(f":{port}")
    if not _HOST.fullmatch(host) or port == 0:
        raise ValueError("must be an address such as https://host/path")
    return parts


def listen(raw: str) -> tuple[str, int]:
    """`127.0.0.1:8425`, `[::1]:8425`: an address of this machine, and a port to answer on."""
    found = _LISTEN.fullmatch(raw)
    if not found or not 0 < int(found[3]) < 65536:
        raise ValueError(_WANTED_LISTEN)
    try:
        return str(ip_address(found[1] or found[2])), int(found[3])
    except ValueError:
        raise ValueError(_WANTED_LISTEN) from None


def host(raw: str) -> str:
    """What a client may call us: a host name or an address, perhaps with a port; lower case."""
    name, colon, port = raw.rpartition(":") if _PORT.search(raw) else (raw, "", "")
    if not _HOST.fullmatch(name) or (colon and not 0 < int(port) < 65536):
        raise ValueError("must be a host name or an address, with a port only if it is another one")
    return raw.lower()


def path(raw: str) -> str:
    """What is asked for below an address: `/models`, with a query if need be."""
    if not re.fullmatch(r"/[!-\[\]-~]*", text(raw)) or raw.startswith("//") or "#" in raw:
        raise ValueError("must be a path such as /models")
    return raw


def loopback(host: str) -> bool:
    """Whether this host name or address can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def matching(pattern: str, wanted: str) -> Callable[[str], str]:
    """A check that the whole text matches; `wanted` finishes the sentence if it does not."""
    compiled = re.compile(pattern)

    def check(raw: str) -> str:
        if not compiled.fullmatch(raw):
            raise ValueError(wanted)
        return raw

    return check


def notify_url(raw: str) -> Secret:
    """An address as apprise writes them. What it means is for apprise to say; it may be secret."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://.", text(raw)):
        raise ValueError("must be an address of apprise's such as mailto://… or slack://…")
    return Secret(raw)


name = matching(NAME.pattern, "must be the name of a credential")
target = matching(NAME.pattern, "must be 1 to 63 of a-z, 0-9, - and _, beginning with a-z or 0-9")
store = matching(NAME.pattern, "must be the name of a store: `default`, or one of `stores`")
slot = matching(SLOT.pattern, "must be letters, digits, - and _, beginning with a letter or _")
variable = matching(r"[A-Za-z_][A-Za-z0-9_]{0,254}", "must be the name of an environment variable")
credential = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", "must be a systemd credential's name")
region = matching(r"[a-z0-9]{2,20}(-[a-z0-9]{1,20}){0,4}", "must be a region such as us-chicago-1")
model = matching(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}", "must be the name of a model")
profile = matching(r"[^\x00-\x20\[\]][^\x00-\x1f\[\]]{0,99}", "must be the name of a profile")
api_key_id = matching(
    r"ocid1\.generativeaiapikey" + _OCID_REST, "must be an OCID (ocid1.generativeaiapikey.…)"
)
compartment_id = matching(
    r"ocid1\.(compartment|tenancy)" + _OCID_REST,
    "must be an OCID (ocid1.compartment.… or ocid1.tenancy.…)",
)

_PROJECT = r"([a-z0-9.-]{1,100}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,19}"
project = matching(_PROJECT, "must be a project's id such as my-project, or its number")
location = matching(
    r"[a-z]{2,20}(-[a-z]{2,20}[0-9]{1,2})?", "must be a location such as us-central1, or global"
)
endpoint_id = matching(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "must be openapi, or a deployed endpoint's id"
)
account = matching(
    r"[a-z0-9][a-z0-9._-]{0,99}@[a-z0-9][a-z0-9.-]{0,199}|[0-9]{1,30}",
    "must be a service account's e-mail address, or its number",
)
scope = matching(
    r"https://[a-z0-9.-]{1,100}/[A-Za-z0-9._/-]{0,100}|openid|email",
    "must be a scope such as https://www.googleapis.com/auth/cloud-platform",
)
project_id = matching(r"proj_[A-Za-z0-9_-]{1,100}", "must be a project's id (proj_…)")
service_account_id = matching(
    r"[A-Za-z][A-Za-z0-9_-]{0,127}", "must be a service account's id (svc_acct_…)"
)

vault_path = matching(
    r"(?!\.)[A-Za-z0-9_.-]{1,64}(/(?!\.)[A-Za-z0-9_.-]{1,64}){0,7}",
    "must be a path such as team/keyman",
)
vault_id = matching(r"ocid1\.vault" + _OCID_REST, "must be an OCID (ocid1.vault.…)")
master_key_id = matching(r"ocid1\.key" + _OCID_REST, "must be an OCID (ocid1.key.…)")
secret_prefix = matching(r"[A-Za-z0-9_.-]{1,100}", "must be 1 to 100 letters, digits, -, _ and .")
secret_path = matching(r"[A-Za-z0-9/_+=.@-]{1,200}", "must be 1 to 200 letters, digits and /_+=.@-")
