"""The questions about OpenAI's Admin API that documents leave open; see `questions.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyman.sandbox.questions import Questions, about, either, lasts, no_or_yes, yes_or_no


@dataclass(frozen=True)
class OpenAIBehaviour(Questions):
    """One organisation's answers."""

    # How long inference takes to hear of it, and whether its nodes hear of it together
    new_key_delay: float = lasts(0.0, 0.3)
    deleted_key_lingers: float = lasts(0.0, 0.3)
    expired_key_lingers: float = lasts(0.0, 0.3)
    nodes_disagree: bool = no_or_yes()

    # Reading after writing
    list_lags: float = lasts(0.0, 0.1)
    list_order: str = either("newest", "oldest")
    default_list: str = either("any", "active")
    expired_listed: bool = yes_or_no()

    # When a key was last used
    last_used: str = either("present", "lagging", "absent")
    last_used_lag: float = lasts(2.0)
    last_used_step: int = about(1, 60)
    failures_count_as_use: bool = no_or_yes()

    # What answers look like
    redacted: str = either("head_tail", "tail", "constant")
    unknown_key_shown: bool = yes_or_no()
    retry_after: bool = yes_or_no()

    # Refusals
    expired_key_code: str = either("invalid_api_key", "api_key_expired")
    policy_status: int = either(400, 403)
    wrong_kind_status: int = either(401, 403)
    no_access_status: int = either(403, 401)

    # Bounds
    keys_per_account: int | None = field(default=None)
    admin_calls_per_minute: int | None = field(default=None)
