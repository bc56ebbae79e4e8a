"""The questions about OCI Generative AI that its documents leave open, and one cloud's answers.

Each field of `Behaviour` is one question; its default is the kindest plausible answer, and the
others that `either` lists are as plausible. `Behaviour.from_seed` answers all of them by a seed.
Whoever works against every seed works against the real cloud, whichever of these it turns out to
be.

Durations are seconds on the sandbox's clock. A status of 200 stands for "allowed".
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import TypeVar

T = TypeVar("T")


def either(kindest: T, *others: T) -> T:
    """A question and its plausible answers, the kindest first."""
    return field(default=kindest, metadata={"answers": (kindest, *others)})


def yes_or_no() -> bool:
    """A question whose kindest answer is yes."""
    return either(*(True, False))


def no_or_yes() -> bool:
    """A question whose kindest answer is no."""
    return either(*(False, True))


def about(kindest: T, *others: T) -> T:
    """A question whose answers are examples: any number of their kind will do."""
    return field(default=kindest, metadata={"answers": (kindest, *others), "open": True})


def lasts(kindest: float, *others: float) -> float:
    """A question about a duration: `from_seed` can stretch or shrink the answers."""
    return field(
        default=kindest, metadata={"answers": (kindest, *others), "open": True, "duration": True}
    )


@dataclass(frozen=True)
class Behaviour:
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

    def __post_init__(self) -> None:
        for question in fields(self):
            answers = question.metadata.get("answers")
            given = getattr(self, question.name)
            if answers and "open" not in question.metadata and given not in answers:
                raise ValueError(f"{question.name}: {given!r} is none of {answers}")

    @classmethod
    def from_seed(cls, seed: int, *, pace: float = 1.0) -> Behaviour:
        """Answer every question by the seed; durations are multiplied by `pace`."""
        chosen = {}
        for question in fields(cls):
            answers = question.metadata.get("answers")
            if answers is None:
                continue
            # A die for each question: adding a question must not change the others' answers.
            answer = random.Random(f"{seed}:{question.name}").choice(answers)
            chosen[question.name] = answer * pace if "duration" in question.metadata else answer
        return cls(**chosen)
