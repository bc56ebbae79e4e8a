"""A slice of the fuzzing; all of it: `python -m tests.fuzz`, and `python -m tests.fuzz.api`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from types import ModuleType

import pytest

from keyman.providers import oci_genai
from keyman.vendors import oci_outcomes, openai_outcomes
from tests.fuzz import answers, api, api_world, words
from tests.fuzz.__main__ import PARSERS, Task, run
from tests.fuzz.parser import SECRET, Try
from tests.sim.planting import _module, source

INPUTS = 250


@pytest.mark.parametrize("name", PARSERS)
def test_nothing_but_what_is_declared(name: str) -> None:
    assert run(Task(name, 0, INPUTS, 1))[1] == []


def test_a_creation_that_does_not_say_what_was_made_is_no_refusal() -> None:
    """It may have happened: a ValueError is told as `unknown`, a Rejected as not done."""
    with pytest.raises(ValueError, match="no id"):
        oci_genai._created({"id": "somebody-else", "keys": []}, answers.WISH, "key-one")


@pytest.mark.parametrize("before", range(130, 170, 3))
def test_words_of_a_vendor_are_cut_after_they_were_masked(before: int) -> None:
    said = "x " * (before // 2) + SECRET
    theirs = oci_outcomes.Answer(400, "Odd", said, {})
    asked = oci_outcomes.Asked("ask", changes=True, permission="")
    also = openai_outcomes.Answer(400, {}, {"error": {"message": said}})
    asked_too = openai_outcomes.Asked("ask", changes=True, credential="a", by_admin_key=True)
    for words_ in (
        str(oci_outcomes.meaning(asked, theirs, answers.NOW)),
        str(openai_outcomes.meaning(asked_too, also)),
    ):
        assert SECRET[:6] not in words_


def planted(name: str, passage: str, instead: str) -> ModuleType:
    """The module with one passage of it replaced by another."""
    text = source(name)
    assert text.count(passage) == 1
    return _module("planted_for_fuzz", name, text.replace(passage, instead))


@pytest.mark.parametrize(
    ("name", "opened", "module", "passage", "instead"),
    [
        (".env files", words.dotenv_files, "keyman.dotenv", 'b" " if text', 'b"" if text'),
        (
            "addresses",
            words.addresses,
            "keyman.config.values",
            '(r":[0-9]{1,5}\\Z")',
            '(r":[0-9]{1,5}$")',
        ),
    ],
)
def test_a_planted_bug_is_caught(
    name: str,
    opened: Callable[..., AbstractContextManager[Try]],
    module: str,
    passage: str,
    instead: str,
) -> None:
    with_it = replace(PARSERS[name], open=partial(opened, planted(module, passage, instead)))
    assert run(Task(name, 0, 1_500, 1), with_it)[1]


def test_the_api_answers_as_its_document_says() -> None:
    broken = list[str]()
    with api_world.world() as there:
        counts = api.attempt(there, 1, range(400), broken)
    assert broken == []
    assert {"owner: 200", "client: 200", "client: 403", "no token: 401"} <= counts.keys()


@pytest.mark.slow
def test_a_planted_bug_of_the_api_is_caught() -> None:
    broken = list[str]()
    with api_world.world() as there:
        del there.document["components"]["schemas"]["Current"]["properties"]["fingerprint"]
        api.attempt(there, 1, range(200), broken)
        assert "GET /api/v1/credentials" in str(broken)
        there.app.desk.mirrors = lambda name: [{"store": name, "never": 1 / 0}]
        api.attempt(there, 1, range(150), broken)
    assert "a server error: 500" in str(broken)
