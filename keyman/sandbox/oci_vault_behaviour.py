"""The questions about OCI Vault's secrets that its documents leave open, and one vault's answers.

What a question is, and how a seed answers it, is told in `questions.py`. Documented, and therefore
no question: numbers and stages of versions, what may be deleted, the limits, unique names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keyman.sandbox.questions import Questions, about, either, lasts, no_or_yes, yes_or_no


@dataclass(frozen=True)
class VaultBehaviour(Questions):
    """One vault's answers."""

    # A version that waits, when the next one is staged
    superseded_pending: str = either("DEPRECATED", "PENDING")

    # A first version is always current; may a caller say that it is to wait?
    pending_at_creation: int = either(200, 400)

    # Limits, and names that are taken
    update_at_limit: int = either(400, 409)
    destroy_at_limit: int = either(400, 409)
    taken_name: int = either(400, 409)
    destroyed_names_stay_taken: bool = no_or_yes()

    # The life cycle of the secret
    creating: float = lasts(0.0, 0.1)
    updating: float = lasts(0.0, 0.1)
    destroying_is_updating: bool = no_or_yes()
    promote_current_again: int = either(200, 400, 409)

    # Versions whose deletion is scheduled, or done
    going_content: int = either(404, 200, 409)
    latest_can_go: bool = yes_or_no()
    destroyed_listed: bool = no_or_yes()
    deleted_secret: str = either("404", "DELETED")

    # Reading after writing
    stale_reads: int = about(0, 2)
    stale_content: int = about(0, 2)

    # What is refused, and how
    empty_content: int = either(200, 400)
    permission_before_etag: bool = yes_or_no()
    forbidden_status: int = either(404, 403)
    forbidden_key: int = either(404, 400)
    error_codes: str = either("names", "numbers")

    # What answers look like
    etag_on_get: bool = yes_or_no()
    no_body_status: int = either(200, 204)

    # Settings
    page_size: int = field(default=10)
    active_limit: int = field(default=30)
    going_limit: int = field(default=30)
