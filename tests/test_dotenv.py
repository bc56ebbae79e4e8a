"""A `.env` file with one value set anew: that value changes, every other byte stays.

python-dotenv and node's dotenv say what the file means, before and after.
"""

from __future__ import annotations

import random

import pytest

from keyman import dotenv, quoting
from tests import judges
from tests.judges import node_dotenv, python_dotenv

KEY, URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ("", "KEY=new\n"),
        ("KEY=old", "KEY=new"),
        ("KEY=old\n", "KEY=new\n"),
        ("A=1\nKEY=old\nB=2\n", "A=1\nKEY=new\nB=2\n"),
        ("A=1\n", "A=1\nKEY=new\n"),
        ("A=1", "A=1\nKEY=new\n"),
        ("A=1\r\nB=2\r\n", "A=1\r\nB=2\r\nKEY=new\r\n"),
        ("A=1\r\nKEY=old\r\nB=2", "A=1\r\nKEY=new\r\nB=2"),
        ("A=1\rKEY=old\rB=2\r", "A=1\rKEY=new\rB=2\r"),
        ("\ufeffKEY=old\n", "\ufeffKEY=new\n"),
        ("export KEY=old\n", "export KEY=new\n"),
        ("  export\tKEY = old  \n", "  export\tKEY = new  \n"),
        ("KEY=\n", "KEY=new\n"),
        ("KEY=   \nA=1\n", "KEY=   new\nA=1\n"),
        ("KEY=old # of the team\n", "KEY=new # of the team\n"),
        ("KEY= # none yet\n", "KEY=new # none yet\n"),
        ("KEY=#old\n", "KEY=new\n"),
        ("KEY=o#ld\n", "KEY=new\n"),
        ("KEY='o # ld' # of the team\n", "KEY=new # of the team\n"),
        ('KEY="o\\"ld"\n', "KEY=new\n"),
        ("KEY='o\\'ld'\n", "KEY=new\n"),
        ("KEY='two\nlines'\nA=1\n", "KEY=new\nA=1\n"),
        ("KEY='not closed\nA=1\n", "KEY=new\nA=1\n"),
        ("KEY='old' more\nA=1\n", "KEY=new\nA=1\n"),
        ("KEY=old\nA=1\nKEY=older\n", "KEY=new\nA=1\nKEY=new\n"),
        ("# KEY=old\n", "# KEY=old\nKEY=new\n"),
        ("MY_KEY=old\nKEY2=old\n", "MY_KEY=old\nKEY2=old\nKEY=new\n"),
        ("A='first\nKEY=within\nlast'\n", "A='first\nKEY=within\nlast'\nKEY=new\n"),
        ('A="first\nKEY=within"\nKEY=old\n', 'A="first\nKEY=within"\nKEY=new\n'),
        ("KEY\n", "KEY\nKEY=new\n"),
        ("\n\n", "\n\nKEY=new\n"),
    ],
)
def test_only_the_value_changes(there: str, then: str) -> None:
    assert dotenv.put(there.encode(), {"KEY": "new"}) == then.encode()


def test_what_is_no_text_stays() -> None:
    there = b"A=\xff\xfe\nKEY=old\n\x80"
    assert dotenv.put(there, {"KEY": "new"}) == b"A=\xff\xfe\nKEY=new\n\x80"


def test_what_was_put_is_not_put_again() -> None:
    once = dotenv.put(b"A=1", {KEY: "a", URL: "'b c'"})
    assert once == b"A=1\nOPENAI_API_KEY=a\nOPENAI_BASE_URL='b c'\n"
    assert dotenv.put(once, {KEY: "a", URL: "'b c'"}) == once


MANY = 200_000
LONG = (f"KEY=x{' ' * MANY}y", f"KEY={' ' * MANY}x", "A='" * MANY, "KEY= #" * MANY, "\\'" * MANY)


@pytest.mark.parametrize("line", LONG, ids=lambda line: str(line)[:6])
def test_a_long_line_takes_no_longer_than_it_must(line: str) -> None:
    """Blanks, open quotes, comments: with none of them it starts over at every letter. That would
    take hours.
    """
    assert b"KEY=" in dotenv.put(f"{line}\n{line}\n".encode(), {"KEY": "new"})


LINES = (
    "# a comment with KEY=old",
    "",
    "   ",
    "A=1",
    "B = spaced  ",
    "export C=exported",
    "D='it # is' # so",
    'E="over\ntwo lines"',
    "F='three\nKEY=within\nlines'",
    "G=with # a comment",
    "KEY=old",
    "export KEY='old one' # ours",
    'KEY="ol\\"d"',
    "H=",
    "I=a#b",
    "J=back\\slash",
)
FILES = 1500


def files() -> list[tuple[str, str, str]]:
    """What is there, the value that is put, and the whole as it is then."""
    dice = random.Random(11)
    values = [v for v in judges.values(seed=12, count=3 * FILES) if quoting.agreed_on(v)][:FILES]
    made = []
    for value in values:
        end = dice.choice(("\n", "\n", "\r\n"))
        chosen = [dice.choice(LINES) for _ in range(dice.randrange(8))]
        there = end.join(chosen) + dice.choice(("", end))
        quoted = quoting.dotenv_value(value)
        then = dotenv.put(there.encode(), {"KEY": quoted}).decode()
        made.append((there, value, then))
    return made


def test_two_readers_find_the_new_value_and_all_others_as_before() -> None:
    found = files()
    assert len(found) == FILES
    befores, afters = [there for there, _, _ in found], [then for _, _, then in found]
    for before, after in (
        (list(map(python_dotenv, befores)), list(map(python_dotenv, afters))),
        (node_dotenv(befores), node_dotenv(afters)),
    ):
        for (there, value, then), old, new in zip(found, before, after, strict=True):
            assert new == {**old, "KEY": value}, (there, then)
