"""The questions about Google's token services that documents leave open; see `questions.py`.

Durations are of a world where a token lives for an hour. A sandbox whose tokens live shorter
shortens them alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keyman.sandbox.questions import Questions, about, either, lasts, no_or_yes


@dataclass(frozen=True)
class GoogleBehaviour(Questions):
    """One world's answers."""

    # What token answers look like
    expires_in_short_by: int = either(1, 0)
    expires_in_as_text: bool = no_or_yes()

    # Asking again soon: a token this young is handed out again instead of a new one
    user_token_repeats_for: float = lasts(0.0, 30.0)
    metadata_keeps_until: float = about(240.0, 300.0)

    # Clocks: how far ahead of Google's an assertion may be
    assertion_ahead_seconds: float = about(60.0, 0.0, 300.0)
    assertion_single_use: bool = field(default=False)

    # Accounts that are switched off
    disabled_account_says: str = either("not found", "disabled")
    disabled_kills_tokens: bool = no_or_yes()

    # People's refresh tokens: a new one with each answer, and the old one dead or not
    rotates_refresh_token: bool = field(default=False)
    old_refresh_token_works: bool = field(default=True)

    # Vertex
    vertex_errors_in_array: bool = no_or_yes()
    vertex_takes_self_signed: bool = no_or_yes()
    user_needs_quota_project: bool = no_or_yes()
    revoked_token_reason: str = either("ACCESS_TOKEN_EXPIRED", "ACCESS_TOKEN_TYPE_UNSUPPORTED")

    # Bounds
    token_requests_per_second: int | None = field(default=None)
