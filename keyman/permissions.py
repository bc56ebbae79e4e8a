"""What must be allowed at a credential's provider, for keyman and for callers of the model."""

from __future__ import annotations

from keyman import errors
from keyman.config import (
    CredentialSettings,
    GoogleOptions,
    OciGenaiOptions,
    OpenaiOptions,
    Settings,
    StaticOptions,
)
from keyman.reading import Reader, started
from keyman.wiring import configured


def policy_statements(settings: Settings, name: str, *, one_key: bool) -> list[str]:
    """Ready to paste where the provider has a language for it. `one_key`: for the managed API key
    alone (OCI). Raises NotFound, UsageError.
    """
    one = configured(settings, name)
    if one_key and not isinstance(one.options, OciGenaiOptions):
        raise errors.UsageError(
            f"--one-key is for oci-genai: what {one.provider} allows does not name single keys",
            hint="leave out --one-key",
        )
    match one.options:
        case OciGenaiOptions():
            return _statements_of_oci(settings, one, one.options, one_key=one_key)
        case GoogleOptions() as options:
            from keyman.vendors.google_iam import policy_statements as of_google

            return of_google(options)
        case OpenaiOptions() as options:
            from keyman.vendors.openai_scopes import policy_statements as of_openai

            project, account = options.project_id, options.service_account_id
            return of_openai(project, account, key_type=options.key_type)
        case StaticOptions():
            return [
                f"{name} is static: keyman asks nobody for its secret, so it needs no permission"
            ]


def _statements_of_oci(
    settings: Settings, one: CredentialSettings, options: OciGenaiOptions, *, one_key: bool
) -> list[str]:
    from keyman.vendors.oci_iam import policy_statements as of_oci

    key_id = options.api_key_id
    if one_key and started(settings):  # where the record counts: `--new-key` may have left that one
        with Reader(settings) as reader:
            key_id = reader.load(one.name).key_id
    if one_key and key_id is None:
        raise errors.UsageError(
            f"{one.name} has no API key yet", hint="leave out --one-key, or start the daemon first"
        )
    only = key_id if one_key else None
    return of_oci(options.compartment_id, only, auth=options.auth.kind)
