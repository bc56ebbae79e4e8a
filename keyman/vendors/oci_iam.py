"""Where OCI Generative AI is, and what IAM must allow, there and in vaults. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

KNOWN_REGIONS = (
    "ap-hyderabad-1",
    "ap-osaka-1",
    "eu-frankfurt-1",
    "us-ashburn-1",
    "us-chicago-1",
    "us-phoenix-1",
)
"""Regions that Oracle lists as having API keys. It adds some: outside of it warn, never refuse."""

LIMITS = {"api-key-count": 100}
"""Per tenancy, by the name of the limit, unless Oracle raised it."""


def base_url(region: str) -> str:
    """Where OpenAI clients go in a region."""
    return f"https://inference.generativeai.{region}.oci.oraclecloud.com/20231130/actions/v1"


_MACHINES = ("dynamic-group keyman", ())
_OF_A_POD = (
    "request.principal.type='workload'",
    "request.principal.namespace='NAMESPACE'",
    "request.principal.service_account='SERVICE_ACCOUNT'",
    "request.principal.cluster_id='CLUSTER_OCID'",
)
_SIGNS_AS: dict[str, tuple[str, tuple[str, ...]]] = {
    "config-file": ("group GROUP", ()),
    "session-token": ("group GROUP", ()),
    "instance-principal": _MACHINES,
    "resource-principal": _MACHINES,
    "oke-workload": ("any-user", _OF_A_POD),  # pods can be in no group
}
"""By the kind of `auth`, as whom keyman calls: a user, a machine, a pod."""


def management_statement(compartment_id: str | None, auth: str = "config-file") -> str:
    """The IAM statement that lets keyman rotate keys. What nobody here knows is in CAPITALS.

    Renewing and setting states are in none of Oracle's tables of permissions, so nothing less
    than `manage` is sure to do.
    """
    who, conditions = _SIGNS_AS[auth]
    said = f"allow {who} to manage generative-ai-apikey in {_scope(compartment_id)}"
    return said + _where(conditions)


def policy_statements(
    compartment_id: str | None, key_id: str | None = None, *, auth: str = "config-file"
) -> list[str]:
    """The IAM statements a credential needs: for keyman, and for whoever holds a secret.

    `auth` is the kind of `auth`: a user is in a group, a machine in a dynamic group. With `key_id`
    only the secrets of that key may call models. The statements should be there before the key is
    made: secrets made earlier have been reported to stay refused.
    """
    conditions = ["request.principal.type='generativeaiapikey'"]
    conditions += [f"request.principal.id='{key_id}'"] if key_id else []
    callers = f"allow any-user to use generative-ai-family in {_scope(compartment_id)}"
    return [management_statement(compartment_id, auth), callers + _where(conditions)]


def vault_statements(
    allowed: Sequence[str], compartment_id: str, auth: str = "config-file"
) -> list[str]:
    """IAM statements that let keyman do each of `allowed` (verb and resource) in the compartment
    of a vault; `auth` as for `policy_statements`.
    """
    who, conditions = _SIGNS_AS[auth]
    where = f"in {_scope(compartment_id)}{_where(conditions)}"
    return [f"allow {who} to {what} {where}" for what in allowed]


def _where(conditions: Sequence[str]) -> str:
    return f" where ALL {{{', '.join(conditions)}}}" if conditions else ""


def _scope(compartment_id: str | None) -> str:
    whole = compartment_id is None or compartment_id.startswith("ocid1.tenancy.")
    return "tenancy" if whole else f"compartment id {compartment_id}"
