"""How a credential's provider is reached, as text that the journal remembers. Nothing secret is in
it, so what was written into the configuration itself is lost with the configuration.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints

from keyman.config import (
    CredentialSettings,
    GoogleOptions,
    OciGenaiOptions,
    OpenaiOptions,
    Options,
    StaticOptions,
)
from keyman.core.model import Secret
from keyman.views import Json

OPTIONS: dict[str, type[Options]] = {
    "oci-genai": OciGenaiOptions,
    "google": GoogleOptions,
    "openai": OpenaiOptions,
    "static": StaticOptions,
}


def whereabouts(one: CredentialSettings) -> str:
    """How the credential's provider is reached, as text for the journal; secrets are left out."""
    return json.dumps({"provider": one.provider, "options": _plain(one.options)}, sort_keys=True)


def options_of(said: Json) -> Options:
    """The options that `whereabouts` was made from, but for the secrets among them."""
    options: Options = _revived(OPTIONS[said["provider"]], said["options"])
    return options


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    match value:
        case Secret():
            return None
        case tuple():
            return [_plain(each) for each in value]
        case timedelta():
            return value.total_seconds()
        case datetime():
            return value.isoformat()
        case Path():
            return str(value)
    return value


def _revived(kind: Any, said: Any) -> Any:
    """The way back from `_plain`, led by the types that the settings declare."""
    if said is None:
        return None
    if is_dataclass(kind):
        types, make = get_type_hints(kind), cast("type[Any]", kind)
        return make(**{name: _revived(types[name], each) for name, each in said.items()})
    inner = [each for each in get_args(kind) if each not in (NoneType, ...)]
    if get_origin(kind) is tuple:
        return tuple(_revived(inner[0], each) for each in said)
    if inner:  # it may be None, and isn't
        return _revived(inner[0], said)
    if kind is timedelta:
        return timedelta(seconds=said)
    return datetime.fromisoformat(said) if kind is datetime else kind(said)
