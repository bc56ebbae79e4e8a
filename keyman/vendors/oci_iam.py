"""Where OCI Generative AI is, and what IAM must allow. Pure text; asks nobody."""

from __future__ import annotations

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


def management_statement(compartment_id: str | None, who: str = "dynamic-group keyman") -> str:
    """The IAM statement that lets keyman rotate keys.

    Renewing and setting states are in none of Oracle's tables of permissions, so nothing less
    than `manage` is sure to do.
    """
    return f"allow {who} to manage generative-ai-apikey in {_scope(compartment_id)}"


def policy_statements(compartment_id: str | None, key_id: str | None = None) -> list[str]:
    """The IAM statements a credential needs: for keyman, and for whoever holds a secret.

    With `key_id` only the secrets of that key may call models. The statements should be there
    before the key is made: secrets made earlier have been reported to stay refused.
    """
    conditions = ["request.principal.type='generativeaiapikey'"]
    conditions += [f"request.principal.id='{key_id}'"] if key_id else []
    callers = f"allow any-user to use generative-ai-family in {_scope(compartment_id)}"
    return [
        management_statement(compartment_id),
        f"{callers} where ALL {{{', '.join(conditions)}}}",
    ]


def _scope(compartment_id: str | None) -> str:
    whole = compartment_id is None or compartment_id.startswith("ocid1.tenancy.")
    return "tenancy" if whole else f"compartment id {compartment_id}"
