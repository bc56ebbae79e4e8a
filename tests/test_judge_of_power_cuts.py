"""The judge of power cuts on stories that are told to it: what it must see, and what allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.power_cut.evidence import Evidence, Handed, Nothing, Put
from tests.power_cut.static_case import StaticJudge
from tests.power_cut.verdict import PUBLISHED_WITHIN, Judge

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OVERLAP = timedelta(seconds=3)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def handed(version: int, secret: str, at: float) -> Handed:
    return Handed(
        client="one",
        asked=after(at),
        answered=after(at),
        version=version,
        secret=secret,
        expires_at=None,
    )


def never(*_: datetime) -> bool:
    return False


def judge(*answers: Handed) -> Judge:
    return Judge(Evidence(handed=list(answers)), (), overlap=OVERLAP)


def test_a_promise_lasts_an_overlap_from_the_last_answer_before() -> None:
    verdict = judge(handed(1, "a", 0), handed(1, "a", 5), handed(2, "b", 6))
    assert verdict.promised_until("a", after(5.1)) == after(5) + OVERLAP - PUBLISHED_WITHIN
    assert verdict.promised_until("b", after(5.1)) is None


def test_what_a_rollback_brings_back_was_free_to_end_in_between() -> None:
    verdict = judge(handed(1, "a", 0), handed(2, "b", 1), handed(3, "a", 20))
    until = verdict.promised_until("a", after(10))
    assert until is not None
    assert until < after(10)
    assert verdict.promised_until("a", after(21)) == after(20) + OVERLAP - PUBLISHED_WITHIN


def test_what_was_put_may_end_before_anybody_was_given_it() -> None:
    evidence = Evidence(
        handed=[handed(1, "a", 0)],
        nothing=[Nothing("one", after(9), after(9), "version 2 has expired")],
        put=[Put(after(1), "b", ends=after(8))],
    )
    assert list(StaticJudge(evidence, [], [], never)._nothing_to_hand_out()) == []
    evidence.nothing.insert(0, Nothing("one", after(7), after(7), "it is not said why"))
    assert len(list(StaticJudge(evidence, [], [], never)._nothing_to_hand_out())) == 1
