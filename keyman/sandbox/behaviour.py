"""The questions about OCI Generative AI that its documents leave open, and one cloud's answers.

What a question is, and how a seed answers it, is told in `questions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keyman.sandbox.questions import Questions, about, either, lasts, no_or_yes, yes_or_no


@dataclass(frozen=True)
class Behaviour(Questions):
    """One cloud's answers."""

    # What renewing a slot does
    renew_state: str = either("ACTIVE", "INACTIVE", "unchanged")
    renew_revoked: int = either(200, 400, 404, 409)
    renew_expired: int = either(200, 400, 404, 409)
    renew_inactive: int = either(200, 409)
    renew_in_inactive_key: int = either(200, 409)
    renew_changes_created: bool = yes_or_no()

    # What setting a state does
    initial_states: tuple[str, str] = either(("ACTIVE", "ACTIVE"), ("ACTIVE", "INACTIVE"))
    same_state: int = either(200, 409)
    activate_expired: int = either(409, 400)
    leave_revoked: int = either(409, 400)
    revoke_inactive: int = either(200, 409)

    # Replays: the same opc-retry-token again, with the same body or another one
    retry_token: str = either("full", "without_secret", "409", "ignored")
    retry_other_body: str = either("409", "400", "stored", "executed")
    retry_token_life: float = field(default=86400.0)
    # Not by the seed: where a refusal of a moment is kept for a day, nothing goes on that day.
    retry_token_keeps_refusals: bool = field(default=False)

    # The life cycle of the resource
    creating: float = lasts(0.0, 0.2)
    updating: float = lasts(0.0, 0.2)
    busy_refuses: bool = yes_or_no()
    inactive_lifecycle: bool = no_or_yes()
    deleted_key: str = either("404", "DELETED")
    delete_needs_inactive: bool = no_or_yes()
    no_body_status: int = either(204, 200)

    # How long the data plane takes to hear of it, and whether its nodes hear of it together
    new_secret_delay: float = lasts(0.0, 0.3)
    activate_delay: float = lasts(0.0, 0.3)
    deactivate_delay: float = lasts(0.0, 0.3)
    revoke_delay: float = lasts(0.0, 0.3)
    renewed_old_lingers: float = lasts(0.0, 0.3)
    delete_delay: float = lasts(0.0, 0.3)
    nodes_disagree: bool = no_or_yes()

    # Reading after writing
    stale_reads: int = about(0, 2)
    stale_for: float = lasts(0.0, 0.1)
    created_visible: bool = yes_or_no()

    # etags
    etag_on_get: bool = yes_or_no()
    etag_on_change: bool = yes_or_no()
    etag_changed_by_tags: bool = yes_or_no()
    etag_changed_by_actions: bool = yes_or_no()
    etag_moved_by_use: bool = no_or_yes()
    if_match_on_actions: bool = yes_or_no()

    # What answers look like
    error_codes: str = either("names", "numbers")
    reply_items: str = either("all", "touched")
    slot_order: str = either("created", "reversed", "shuffled")
    key_mask: str = either("head_tail", "tail", "short", "constant")
    microseconds: bool = no_or_yes()
    expired_shown_after: float = lasts(0.0, 1.0)

    # When a secret was last used
    last_used: str = either("present", "lagging", "absent")
    last_used_lag: float = lasts(2.0)
    failures_count_as_use: bool = no_or_yes()

    # Inference
    authenticate_first: bool = yes_or_no()
    policy_order: bool = no_or_yes()
    renew_heals_policy_order: bool = yes_or_no()
    policy_missing_status: int = either(404, 403, 401)

    # Bounds
    expiry_required: bool = no_or_yes()
    max_expiry_days: int | None = about(None, 366)
    min_expiry_seconds: float | None = about(None, 60.0)
    calls_per_minute: int | None = field(default=None)
