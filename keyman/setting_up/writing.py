"""The commented text of a first configuration: what was answered and, commented out beside it, what
else is worth knowing with its default. Pure.

Keys and defaults come from the schema that judges the file afterwards, so neither can be wrong;
only the words beside them are written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from keyman.config.kinds import PROVIDERS
from keyman.config.schema import Section
from keyman.config.stores import STORES, USUAL
from keyman.config.wording import keys_of, sections_of
from keyman.core.health import duration_text
from keyman.setting_up.answers import POINTERS, Answers

WORDS_AT: Final = 42  # the column in which what is said of a key begins, if there is room
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./:@+=~-]*(?<!:)")  # "a:" would be a key
_NULLS: Final = ("null", "~")

_ENV = {
    "env": "what `keyman env` and `keyman run` call it",
    "env.key": "",
    "env.base_url": "",
}
_POLICY = {
    "policy": "how long its secrets live, and take turns",
    "policy.lifetime": "asked of the provider for each new secret",
    "policy.rotate_before": "a rotation starts so long before the expiry",
    "policy.overlap": "old and new secret both work so long",
    "policy.window": 'when rotations may start, e.g. "Mon-Fri 09:00-17:00 Asia/Tokyo"',
}
SAID: Final[Mapping[str, Mapping[str, str]]] = {
    "oci-genai": {
        "region": "where the API key is: it works in this region alone",
        "compartment_id": "in which a key is made, and looked for",
        "api_key_id": "the OCID of an API key to manage; null: keyman makes one",
        "auth": "how keyman itself signs in",
        "auth.kind": "config-file | session-token | instance-principal | resource-principal | …",
        "auth.file": "",
        "auth.profile": "",
        "endpoint": "control plane; null: the region's",
        "base_url": "inference; null: the region's",
        "verify": "a new secret must prove itself before anybody gets it",
        "verify.model": "one that the region has",
        **_POLICY,
        **_ENV,
    },
    "google": {
        "project": "",
        "location": "a region, us, eu or global",
        "endpoint_id": "or a deployed endpoint's id",
        "source": "where tokens come from",
        "source.kind": "service-account | authorized-user | external-account | impersonate | …",
        "source.file": "",
        "quota_project": "who pays for calls of authorized-user; null: what its file says",
        **_ENV,
    },
    "openai": {
        "admin_key": "what makes and deletes them: !env NAME, !file PATH, or {credential: NAME}",
        "project_id": "",
        "service_account_id": "whose keys they are",
        "base_url": "",
        **_POLICY,
        **_ENV,
    },
    "static": {
        "base_url": "what applications are told",
        "expires_at": "when it ends, e.g. 2027-01-31T00:00:00Z, if that is known",
        "verify": "whether it works",
        "verify.get": "a path below base_url that a good secret may read, e.g. /models",
        "policy": "",
        "policy.rotate_before": "the first warning comes so long before expires_at",
        **_ENV,
    },
}
SAID_OF_STORES: Final[Mapping[str, Mapping[str, str]]] = {
    "sealed-file": {
        "path": "the file",
        "key": "what it is sealed with",
        "key.kind": "file | keyring | passphrase | systemd-credential | env",
    },
    "keyring": {"service": "the name to keep secrets under; null: one per installation"},
}
KINDS: Final = {
    "oci-genai": "An API key of OCI Generative AI, whose two secrets take turns.",
    "google": "Access tokens for Vertex AI's OpenAI-compatible endpoint, kept in memory only.",
    "openai": "Keys of one OpenAI service account, made and deleted through the Admin API.",
    "static": "A secret that somebody brings: `keyman put`. Watched, never issued.",
}
HEAD: Final = """\
# keyman's configuration, begun by `keyman init`. What is commented out holds anyway.
# Every key there is:  cat {example}
# After a change:      `keyman check`, then `keyman reload` if the daemon runs.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to keep, and where."""

    provider: str
    name: str
    answers: Answers
    store: str = USUAL
    store_answers: Answers | None = None


def written(wanted: Wanted, example: str) -> str:
    """The whole file. `example` is where every key is shown, as a shell takes it."""
    lines = [*HEAD.format(example=example).splitlines(), "", *_store(wanted), ""]
    lines += [*credential(wanted)]
    return "\n".join([*lines, ""])


def credential(wanted: Wanted) -> list[str]:
    """The part that a file with other credentials would be extended by."""
    provider = PROVIDERS[wanted.provider]
    asked = f"`keyman get {wanted.name}`"
    return [
        "credentials:",
        f"  # {KINDS[wanted.provider]}",
        f"  # Applications ask for it by this name: {asked}.",
        f"  {wanted.name}:",
        f"    provider: {wanted.provider}",
        *_body(provider, SAID[wanted.provider], wanted.answers, "    "),
    ]


def _store(wanted: Wanted) -> list[str]:
    kinds, said = " | ".join(STORES), SAID_OF_STORES.get(wanted.store, {})
    return [
        f"# Where secrets rest: {kinds}.",
        "store:",
        f"  kind: {wanted.store}",
        *_body(STORES[wanted.store], said, wanted.store_answers or {}, "  "),
    ]


def _body(
    section: type[Section], said: Mapping[str, str], answers: Answers, indent: str
) -> list[str]:
    given = {key: value for key, value in answers.items() if value is not None}
    known = keys_of(section)
    mentioned = {key.partition(".")[0] for key in [*said, *given]}
    order = [*dict.fromkeys(key.partition(".")[0] for key in said), *known]
    lines: list[str] = []
    for key in dict.fromkeys(order):
        if key in mentioned and key in known:
            lines += _entry(key, known[key], said, given, indent)
    return lines


def _entry(
    key: str, field: Any, said: Mapping[str, str], given: Mapping[str, str], indent: str
) -> list[str]:
    """One key: a line, or those of a section, commented out unless something in it was given."""
    words = said.get(key, "")
    if key in given:
        return [_line(f"{indent}{key}: {_given(given[key])}", words)]
    inner = _below(key, given)
    sections = sections_of(field.annotation)
    if not sections:
        return [_line(f"{indent}# {key}: {_default(field.default)}", words)]
    body = _body(sections[0], _below(key, said), inner, indent + "  ")
    if inner:
        return [_line(f"{indent}{key}:", words), *body]
    return [_line(f"{indent}# {key}:", words), *(_commented(line, indent) for line in body)]


def _commented(line: str, indent: str) -> str:
    """A line of a section that is commented out, so that taking away one # a line is enough."""
    return f"{indent}# {line.removeprefix(indent).replace('# ', '', 1)}"


def _below(key: str, of: Mapping[str, str]) -> dict[str, str]:
    return {inner.removeprefix(f"{key}."): of[inner] for inner in of if inner.startswith(f"{key}.")}


def _line(text: str, words: str) -> str:
    return f"{text:<{WORDS_AT}}  # {words}" if words else text


def _default(value: Any) -> str:
    """A default of the schema as the file would say it."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case timedelta():
            return duration_text(value.total_seconds())
        case tuple():
            return f"[{', '.join(_text(str(one)) for one in value)}]"
    return _text(str(value))


def _given(value: str) -> str:
    """An answer: pointers and brackets as they are, anything else as text."""
    for pointer in POINTERS:
        if value.startswith(pointer):
            return pointer + _text(value.removeprefix(pointer).strip())
    brackets = value.startswith(("[", "{")) and not value.startswith("{home}")
    return value if brackets or value in _NULLS else _text(value)


def _text(text: str) -> str:
    """In quotes where it needs them."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
