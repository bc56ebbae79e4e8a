"""The judge of power cuts on stories that are told to it: what it must see, and what allow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from keyman.core.model import Stage
from tests.credentials import at, version
from tests.power_cut.case import ended_before
from tests.power_cut.evidence import Evidence, Found, Handed, Kill, Nothing, Ordered, Put
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


def story(*puts: Put, last: Handed, at: float) -> list[str]:
    """What the judge says if nothing is handed out then."""
    nothing = [Nothing("one", after(at), after(at), "version 2 has expired")]
    evidence = Evidence(handed=[last], nothing=nothing, put=list(puts))
    return list(StaticJudge(evidence, [], [], never)._nothing_to_hand_out())


def test_what_was_put_may_end_before_anybody_was_given_it() -> None:
    cut_off = Put(after(1), "b", ends=after(8))
    told = replace(cut_off, answered=after(2), version=2)
    for brought in (cut_off, told):
        assert story(brought, last=handed(1, "a", 0), at=9) == []
        assert len(story(brought, last=handed(1, "a", 0), at=7)) == 1, "it has not ended"
        assert len(story(brought, last=handed(1, "a", 0), at=60)) == 1, "another could be back"
        assert len(story(brought, last=handed(3, "c", 20), at=21)) == 1, "that was long ago"
    assert len(story(told, last=handed(1, "a", 3), at=9)) == 1, "it was the last one's predecessor"
    refused = replace(cut_off, answered=after(2))
    assert len(story(refused, last=handed(1, "a", 0), at=9)) == 1
    later = Put(after(4), "c", answered=after(5), version=3)
    assert len(story(cut_off, later, last=handed(1, "a", 0), at=9)) == 1


def test_a_secret_has_ended_when_every_version_that_has_it_says_so() -> None:
    first = version(5, Stage.RETIRED, attempt="one", retired_at=at(-20))
    again = version(9, Stage.REVOKED, attempt="one", revoked_at=at(0))
    another = version(8, Stage.REVOKED, revoked_at=at(-9))
    assert ended_before([first, another, again], at(-1)) == [8]
    assert ended_before([first, another, again], at(1)) == [5, 8, 9]
    assert ended_before([first, another, replace(again, stage=Stage.PREVIOUS)], at(1)) == [8]
    to_be_destroyed = replace(again, revoked_at=None, dead_at=at(-5))
    assert ended_before([first, another, to_be_destroyed], at(1)) == [8]


def test_a_rollback_that_came_to_nothing_excuses_nothing() -> None:
    first = version(5, Stage.RETIRED, attempt="one", retired_at=at(-20))
    nothing = version(9, Stage.REVOKED, attempt="one", given_up="no verdict", promoted_at=None)
    assert ended_before([first, nothing], at(1)) == [5, 9]
    assert ended_before([replace(first, stage=Stage.PREVIOUS), nothing], at(1)) == []
    assert ended_before([nothing], at(1)) == []


def test_what_was_put_is_kept_until_two_later_ones_came() -> None:
    told = Put(after(1), "c", answered=after(2), version=3)
    cut_off, later = Put(after(3), "d"), Put(after(4), "e")
    back = Ordered(after(3), "rollback", {}, "key", answered=False)

    def said(latest: int | None, *puts: Put, stored: str = "", rollback: bool = False) -> int:
        kill, kept = Kill("", NOON, after(9)), frozenset(stored)
        found = Found(kill, after(9), stored=kept, latest=latest)
        orders = [back] if rollback else []
        evidence = Evidence(put=[told, *puts], found=[found], ordered=orders)
        return len(list(StaticJudge(evidence, [], [], never)._forgotten()))

    assert said(3, stored="c") == said(4, cut_off, stored="cd") == 0
    assert said(5, cut_off, later, stored="de") == said(5, cut_off, stored="bd", rollback=True) == 0
    assert said(4, cut_off, stored="d") == 1, "the one before is kept"
    assert said(5, cut_off, stored="d") == 1, "nobody brought two"
    assert said(None) == said(2, stored="b") == said(5, stored="e") == 1
