"""What a journal remembers of records that nobody else wrote, and that it never answers with what
somebody else has replaced meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from keyman.core.model import Credential, Observed, OrderState, Spec
from keyman.core.policy import Policy
from keyman.db.journal import Journal
from keyman.errors import ConfigError, Conflict
from tests.blank_journal import lay_down
from tests.contract.journal_cases import (
    MINUTE,
    NOW,
    SPEC,
    full_credential,
    full_observed,
    look,
    order,
    taken,
    version,
)

Opening = Callable[[], Journal]
Loaded = tuple[Credential, Observed | None]
# The two ways of asking, which are to agree.
ASKS: list[Callable[[Journal], Loaded]] = [lambda j: j.load(SPEC), lambda j: j.load_all([SPEC])[0]]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    """Opens it once more: as the journal sees it, another process."""
    url = lay_down(tmp_path / "keyman.db")
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Journal.open(url)))


def saved_twice(journal: Journal) -> Credential:
    """A record of revision 2, with an order that ended and one that did not."""
    saved = journal.save(replace(full_credential(), orders=(order("a"), order("b"))), None)
    done = saved.with_order("a", state=OrderState.DONE, finished_at=NOW)
    return journal.save(done.with_version(1, successes=7), full_observed())


@pytest.mark.parametrize("ask", ASKS)
def test_what_is_remembered_is_what_was_written(
    opening: Opening, tmp_path: Path, ask: Callable[[Journal], Loaded]
) -> None:
    journal = opening()
    saved_twice(journal)
    written = opening().load(SPEC)
    assert ask(journal) == written
    assert [o.id for o in written[0].orders] == ["b"]
    look(tmp_path, "UPDATE versions SET successes = 'x'")  # not by keyman: it would have said so
    assert ask(journal) == written
    assert journal.load(SPEC)[0].versions is ask(journal)[0].versions


@pytest.mark.parametrize("ask", ASKS)
def test_what_somebody_else_wrote_is_read(
    opening: Opening, ask: Callable[[Journal], Loaded]
) -> None:
    journal, other = opening(), opening()
    saved_twice(journal)
    theirs = other.load(SPEC)[0].with_version(2, successes=8)
    other.save(theirs, None)
    after, observed = ask(journal)
    assert [v.successes for v in after.versions if v.number == 2] == [8]
    assert (after.revision, observed) == (3, None)
    assert journal.save(after.with_version(2, successes=9), None).revision == 4
    assert other.load(SPEC)[0].version(2) == after.with_version(2, successes=9).version(2)


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("ask", ASKS)
def test_a_name_that_somebody_else_forgot_and_began_anew_is_read(
    opening: Opening, ask: Callable[[Journal], Loaded], driven: bool
) -> None:
    """Its revision may be the same again; its driver's fence never is."""
    journal, other = opening(), opening()
    fence = taken(journal, "me").fence if driven else 0
    journal.save(Credential(SPEC, versions=(version(1),), driver=fence), None)
    other.forget("genai")
    fence = taken(other, "they").fence if driven else 0
    other.save(Credential(SPEC, versions=(version(2),), driver=fence), None)
    after = ask(journal)[0]
    assert after.revision == 1
    assert [v.number for v in after.versions] == [2]


@pytest.mark.parametrize("ask", ASKS)
def test_a_name_that_was_forgotten_here_is_empty(
    opening: Opening, ask: Callable[[Journal], Loaded]
) -> None:
    journal = opening()
    saved_twice(journal)
    journal.forget("genai")
    assert ask(journal)[0].revision == 0


def test_a_record_that_was_not_written_is_not_remembered(opening: Opening) -> None:
    journal, other = opening(), opening()
    saved = saved_twice(journal)
    other.save(other.load(SPEC)[0].with_version(1, successes=8), None)
    with pytest.raises(Conflict):
        journal.save(saved.with_version(1, successes=9), None)
    assert journal.load(SPEC) == other.load(SPEC)


def test_the_configuration_is_todays(opening: Opening) -> None:
    journal = opening()
    saved_twice(journal)
    changed = replace(SPEC, policy=Policy(overlap=MINUTE))
    for spec in (changed, SPEC):
        assert journal.load(spec)[0].spec is spec
        assert journal.load_all([spec])[0][0].spec is spec
    with pytest.raises(ConfigError):
        journal.load(Spec("genai", "openai"))
    with pytest.raises(ConfigError):
        journal.load_all([Spec("genai", "openai")])
