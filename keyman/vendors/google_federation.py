"""Tokens for workloads outside of Google: the token of another issuer is exchanged for one of
Google's, and that for a service account's if the file says so.

What the token of the other issuer (the subject token) is got from is written in the file: another
file, an address, AWS, or a program. A program runs only where its variable allows it, as with
Google's own libraries.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from keyman import errors
from keyman.vendors.google_addresses import (
    UNIVERSE,
    account_in,
    check_account,
    check_subject_address,
    exchange_address,
    impersonation_address,
)
from keyman.vendors.google_files import Held, Info, refuse_irregular
from keyman.vendors.google_keys import InFile, Scopes, refreshed
from keyman.vendors.google_outcomes import NOTHING_TO_DO, Told
from keyman.vendors.google_refusals import HOUR, Asked, Hop

AWS = "urn:ietf:params:aws:token-type:aws4_request"
ALLOW_EXECUTABLES = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES"
EXECUTABLE_SECONDS = 30.0
EXECUTABLE_BOUNDS = (5_000, 120_000)  # milliseconds that google-auth allows a program
_ADDRESSES = ("url", "region_url", "imdsv2_session_token_url")


class ExternalAccount(InFile):
    """A workload identity, as its file describes it."""

    kind, type = "external-account", "external_account"

    @property
    def principal(self) -> str | None:
        return account_in(self._read().get("service_account_impersonation_url"))

    @property
    def patience(self) -> float:
        """As long as its program may take."""
        executable = _source_in(self._read(), self._held).get("executable")
        if not isinstance(executable, dict):
            return 0.0
        given = executable.get("timeout_millis")
        return _seconds_of_a_program(given, self._held) if given else EXECUTABLE_SECONDS

    def fetch(self, scopes: Scopes) -> Told:
        info = self._read()
        source = _source_in(info, self._held)
        plain, routes = self._addressed(info)
        subjects = self._subjects(source)
        _check_files(source)
        # Made anew each time: it would keep its first token for the second exchange.
        credentials = _class_for(info, source, self._held)(plain, scopes=list(scopes))
        try:
            return refreshed(credentials, self._wire, routes, subjects)
        except errors.Error:
            raise
        except Exception as error:  # noqa: BLE001 (files, programs and other clouds are behind it)
            raise _no_subject(source, self._held, error) from None

    def _addressed(self, info: Info) -> tuple[Info, dict[str, Asked]]:
        """The file's content with the addresses that count, and what is asked there."""
        plain, where = {**info, "universe_domain": UNIVERSE}, str(self._held)
        plain["token_url"] = exchange_address(self._endpoints, info.get("token_url"))
        routes = {plain["token_url"]: Asked(Hop.EXCHANGE, self.kind, where)}
        if given := info.get("service_account_impersonation_url"):
            target = check_account(account_in(given))
            address = impersonation_address(self._endpoints, target, given)
            plain["service_account_impersonation_url"] = address
            who = f"the workload of {where}"
            routes[address] = Asked(
                Hop.IMPERSONATE, self.kind, where, who, target, _seconds_asked(info)
            )
        return plain, routes

    def _subjects(self, source: Info) -> dict[str, Asked]:
        """Addresses that may be asked for the subject token."""
        given = [source[name] for name in _ADDRESSES if source.get(name)]
        for address in given:
            check_subject_address(address)
        return dict.fromkeys(given, Asked(Hop.SUBJECT, self.kind, str(self._held)))


def _source_in(info: Info, held: Held) -> Info:
    found = info["credential_source"]
    if not isinstance(found, dict):
        raise errors.Rejected(
            f"credential_source in {held} is no object",
            hint="have the file made anew: `gcloud iam workload-identity-pools create-cred-config`",
        )
    return found


def _seconds_of_a_program(given: object, held: Held) -> float:
    least, most = EXECUTABLE_BOUNDS
    if isinstance(given, int | float) and least <= given <= most:
        return given / 1000
    raise errors.Rejected(
        f"timeout_millis in {held} is not what Google's libraries take",
        hint=f"a number from {least} to {most}, or leave it out: a program then has 30 s",
    )


def _check_files(source: Info) -> None:
    """Refuse what may keep whoever reads it waiting; one that is not there may be made yet."""
    executable = source.get("executable")
    made = executable.get("output_file") if isinstance(executable, dict) else None
    for given in (source.get("file"), made):
        if isinstance(given, str):
            path = Path(given)
            with suppress(OSError, ValueError):  # for who reads it to tell
                refuse_irregular(path, path.stat().st_mode)


def _class_for(info: Info, source: Info, held: Held) -> Any:
    """google-auth's credentials for what the file contains."""
    if source.get("certificate") is not None:
        raise errors.Rejected(
            f"{held} signs in with a certificate, which keyman can't do",
            hint="a provider of the pool that takes tokens (OIDC) or AWS works",
        )
    if info["subject_token_type"] == AWS:
        from google.auth import aws

        _check_region(source, held)
        return aws.Credentials.from_info
    if source.get("executable"):
        from google.auth import pluggable

        _check_allowed(held)
        return pluggable.Credentials.from_info
    from google.auth import identity_pool

    return identity_pool.Credentials.from_info


def _check_allowed(held: Held) -> None:
    if os.environ.get(ALLOW_EXECUTABLES) != "1":
        raise errors.Rejected(
            f"{held} names a program to run, and nobody allowed that",
            hint=f"if you know the program, start keyman with {ALLOW_EXECUTABLES}=1",
        )


def _check_region(source: Info, held: Held) -> None:
    variables = ("AWS_REGION", "AWS_DEFAULT_REGION")
    if not source.get("region_url") and not any(map(os.environ.get, variables)):
        raise errors.Rejected(
            f"{held} does not say how to find the region of AWS",
            hint="set AWS_REGION, or make the file with region_url",
        )


def _seconds_asked(info: Info) -> float:
    options = info.get("service_account_impersonation")
    given = options.get("token_lifetime_seconds") if isinstance(options, dict) else None
    return float(given) if isinstance(given, int) and given > 0 else HOUR


def _no_subject(source: Info, held: Held, error: Exception) -> errors.ProviderFailed:
    """What stood in the way of the subject token. The error's text may hold that token."""
    what = f"no subject token as {held} describes it: {type(error).__name__}"
    if path := source.get("file"):
        hint = f"{path} must hold it; does what writes it still run, and may keyman read it?"
        return errors.Rejected(what, hint=hint)
    if source.get("executable") and isinstance(error, OSError):
        return errors.Rejected(what, hint="is its program there, and may keyman run it?")
    if source.get("executable"):
        hint = "run its program by hand: it must end with status 0 and print the token as JSON"
        return errors.RetryLater(what, hint=hint)
    hint = f"is what answers there what credential_source describes? {NOTHING_TO_DO}"
    return errors.RetryLater(what, hint=hint)
