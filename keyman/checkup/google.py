"""Questions about credentials of `google`. A token can be had at any time: so one is asked for."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime

from keyman import errors
from keyman.checkup.addresses import strange
from keyman.checkup.finding import Finding, failed
from keyman.clock import new_id
from keyman.config import CredentialSettings, GoogleOptions, GoogleSource
from keyman.core.model import Credential, Stage, Version
from keyman.performer import Managed

HOSTS = ("googleapis.com", "vertexai.goog", "google.internal")


def of_settings(one: CredentialSettings) -> Iterator[Finding]:
    options = one.options
    assert isinstance(options, GoogleOptions)
    ends = options.endpoints
    configured = {
        "base_url": options.base_url,
        "endpoints.token": ends.token,
        "endpoints.iam": ends.iam,
        "endpoints.sts": ends.sts,
        "endpoints.metadata": ends.metadata,
    }
    yield from strange(one.name, "Google", HOSTS, configured)
    for source in _sources(options.source):
        yield from _adc(one.name, source)
        yield from _open_file(one.name, source)


def of_record(
    one: CredentialSettings, managed: Managed, c: Credential, now: datetime
) -> Iterator[Finding]:
    """Can a token be had now? One more harms nobody, and it is thrown away."""
    ends = now + one.policy.lifetime
    wish = Version(1, Stage.REQUESTED, new_id(), requested_at=now, expires_at=ends)
    try:
        managed.provider.issue(wish, None)
        quota_project = managed.provider.lookup().quota_project
    except errors.ProviderFailed as error:
        yield failed(error, c.name)
        return
    options = one.options
    assert isinstance(options, GoogleOptions)
    if options.source.kind == "authorized-user" and quota_project is None:
        yield Finding(
            "warning",
            "no_quota_project",
            "calls are made in a person's name, and no project pays for them",
            "set quota_project, or: gcloud auth application-default set-quota-project PROJECT",
            c.name,
        )


def _sources(source: GoogleSource) -> Iterator[GoogleSource]:
    yield source
    if source.origin:
        yield source.origin


def _adc(name: str, source: GoogleSource) -> Iterator[Finding]:
    if source.kind == "adc":
        yield Finding(
            "info",
            "adc",
            "application default credentials: which they are depends on the environment that "
            "keyman runs in, and looking for them may take seconds",
            "name the kind of source, and its file",
            name,
        )


def _open_file(name: str, source: GoogleSource) -> Iterator[Finding]:
    """A file that is not there is for the attempt to get a token to tell."""
    try:
        mode = source.file.stat().st_mode if source.file else 0
    except OSError:
        return
    if stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            "warning",
            "file_open",
            f"others on this machine may read or change {source.file}",
            f"chmod 600 {source.file}",
            name,
        )
