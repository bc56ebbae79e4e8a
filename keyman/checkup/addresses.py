"""Where secrets are sent: addresses that are not the vendor's own, because somebody wrote so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from keyman.checkup.finding import Finding
from keyman.config.values import loopback


def strange(
    name: str, vendor: str, hosts: tuple[str, ...], configured: Mapping[str, str | None]
) -> Iterator[Finding]:
    """Of the addresses by their keys, those outside of the vendor's hosts and of this machine."""
    for key, url in configured.items():
        host = (urlsplit(url).hostname or "") if url else ""
        if not host or loopback(host) or any(f".{host}".endswith(f".{own}") for own in hosts):
            continue
        yield Finding(
            "warning",
            "strange_host",
            f"{key} leads to {host}, which is not {vendor}'s: secrets are sent there",
            f"if that is not meant, take {key} out of the configuration",
            name,
        )
