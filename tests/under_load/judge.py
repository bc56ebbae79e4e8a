"""Nothing dead and nothing older was handed out, in a run that came to what it was meant to.

Strict, to the resolution of the machine's clock: once anybody has been answered with a version,
nobody who asks later gets an earlier one; and nobody who asks after a secret's death at the
provider gets that secret. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.under_load.seen import Stretch


def missing(came: Mapping[str, int], wanted: Mapping[str, int]) -> Iterator[str]:
    """What a run did not come to proves nothing."""
    for what, least in wanted.items():
        if came[what] < least:
            yield f"the run: {came[what]:,} {what}, and {least:,} were wanted"


def broken(
    seen: Mapping[str, Sequence[Stretch]],
    order: Sequence[str],
    deaths: Mapping[str, float],
    beside: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """`order`: secrets, oldest first. `deaths`: when the provider last took one.

    Who is `beside` reads the journal or a file, not the agent: they see dead secrets as little as
    anybody, but others need not have what they have.
    """
    rank = {secret: place for place, secret in enumerate(order)}
    for kind, stretches in seen.items():
        for one in stretches:
            if one.secret not in rank:
                yield f"{kind}: {one.secret[:8]} was never the current secret"
            if one.last_asked > deaths.get(one.secret, float("inf")):
                late = one.last_asked - deaths[one.secret]
                yield f"{kind}: {one.secret[:8]} was handed out {late:.6f} s after its death"
            if one.refused:
                yield f"{kind}: {one.refused} calls with {one.secret[:8]} were refused"
    told = {kind: of for kind, of in seen.items() if kind not in beside}
    yield from _older(told, rank)


def _older(seen: Mapping[str, Sequence[Stretch]], rank: Mapping[str, int]) -> Iterator[str]:
    known = [(kind, one) for kind, of in seen.items() for one in of if one.secret in rank]
    for kind, one in known:
        newer = [
            (other.first_answered, who)
            for who, other in known
            if rank[other.secret] > rank[one.secret]
        ]
        if newer and one.last_asked > min(newer)[0]:
            first, who = min(newer)
            late = one.last_asked - first
            yield f"{kind}: {one.secret[:8]} was handed out {late:.6f} s after {who} got a newer"
