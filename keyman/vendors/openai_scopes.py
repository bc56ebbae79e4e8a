"""What an organization at OpenAI must allow, in words. Pure text; asks nobody."""

from __future__ import annotations

READ_SCOPE, WRITE_SCOPE = "api.management.read", "api.management.write"


def policy_statements(
    project: str | None = None, account: str | None = None, *, key_type: str = "service-account"
) -> list[str]:
    """What a credential needs, one sentence a line: for keyman, then for the keys it makes."""
    makes = (
        "admin key: an organization owner makes it in OpenAI's settings under Admin keys, with"
        " permissions All, or Restricted with Organization Administration: Write"
        f" (scopes {READ_SCOPE} and {WRITE_SCOPE}; read alone is not enough)"
    )
    where = "IP allowlist, if the organization or project has one: with this machine's address"
    lives = (
        "key lifetimes: a maximum that the organization or project enforces must not be below"
        " policy.lifetime"
    )
    if key_type == "admin":
        return [makes, where, lives]
    who = (
        f"service account {account} in project {project}: role member or owner, else its keys are"
        " known and may do nothing"
    )
    return [makes, where, lives, who]
