"""The judge of power cuts on stories that are told to it: what it must see, and what allow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from keyman.core.model import Stage
from tests.credentials import at, version
from tests.power_cut.case import over
from tests.power_cut.evidence import Evidence, Found, Handed, Kill, Nothing, Put
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


def test_a_secret_is_over_when_the_last_version_that_has_it_is() -> None:
    first = version(5, Stage.RETIRED, attempt="one", retired_at=at(-20))
    again = version(9, Stage.REVOKED, attempt="one", revoked_at=at(0))
    another = version(8, Stage.REVOKED, revoked_at=at(-1))
    assert over([first, another, again], at(1 / 120), 1.0) == [8], "half a second ago"
    assert over([first, another, again], at(1), 1.0) == [5, 8, 9]
    assert over([first, another, version(9, Stage.PREVIOUS, attempt="one")], at(1), 1.0) == [8]
    abandoned = version(9, Stage.REVOKED, attempt="one", revoked_at=at(-9))
    used = version(5, Stage.CURRENT, attempt="one")
    assert over([used, another, abandoned], at(1), 1.0) == [8]


def test_what_was_put_is_kept_until_two_later_ones_came() -> None:
    told = Put(after(1), "c", answered=after(2), version=3)

    def said(current: int | None, *stored: str) -> list[str]:
        kill, kept = Kill("", NOON, after(9)), frozenset(stored)
        found = Found(kill, after(9), stored=kept, current=current)
        return list(StaticJudge(Evidence(put=[told], found=[found]), [], [], never)._forgotten())

    assert said(3, "c") == said(4, "c", "b") == said(5, "b", "e") == []
    assert len(said(2, "b")) == len(said(4, "b")) == len(said(None)) == 1
