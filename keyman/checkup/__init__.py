"""`keyman check`: everything that can be wrong, found before it hurts. Looks; changes nothing.

Each question is one small function that yields findings. A finding names the credential and the
slot it is about, a code for programs, what is the matter, and the next move. Questions about the
house are in `house`, those that fit every kind of credential in `record`, the others in the file
named after the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from keyman.checkup import google, house, oci_genai, openai, static
from keyman.checkup.finding import Finding
from keyman.checkup.house import of_mirrors, of_sqlite, of_store, of_the_left
from keyman.checkup.network import of_network
from keyman.checkup.record import troubles
from keyman.checkup.telling import of_targets, of_the_told
from keyman.checkup.way_out import of_proxy_variables, of_the_way_out, unreached
from keyman.config import CredentialSettings, Settings
from keyman.core.model import Credential
from keyman.performer import Managed

OF_SETTINGS: dict[str, Callable[[CredentialSettings], Iterator[Finding]]] = {
    "oci-genai": oci_genai.of_settings,
    "google": google.of_settings,
    "openai": openai.of_settings,
}
OF_RECORD: dict[
    str, Callable[[CredentialSettings, Managed, Credential, datetime], Iterator[Finding]]
] = {
    "oci-genai": oci_genai.of_record,
    "google": google.of_record,
    "openai": openai.of_record,
    "static": static.of_record,
}


def of_configuration(settings: Settings) -> Iterator[Finding]:
    """What is allowed to be written, and may not be meant."""
    yield from house.of_credentials(settings)
    for one in settings.credentials.values():
        if one.provider in OF_SETTINGS:
            yield from OF_SETTINGS[one.provider](one)


def of_credential(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """Ask the provider now, and compare with what we know."""
    yield from troubles(c, now)
    yield from OF_RECORD[one.provider](one, managed, c, now)


__all__ = [
    "Finding",
    "of_configuration",
    "of_credential",
    "of_mirrors",
    "of_network",
    "of_proxy_variables",
    "of_sqlite",
    "of_store",
    "of_targets",
    "of_the_left",
    "of_the_told",
    "of_the_way_out",
    "unreached",
]
