"""`notify:` in the configuration: who is told of what, and what is said of mistakes in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyman.config import NotifyTarget, Told
from keyman.config.notify_settings import USUAL
from keyman.config.schema import NotifySection
from keyman.core.model import Secret
from tests.configs import GENAI, mistakes, read

TOKEN = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
SLACK = f"slack://{TOKEN}"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def targets(text: str, home: Path, **environ: str) -> dict[str, NotifyTarget]:
    return {one.name: one for one in read(text, home, 0o600, **environ).notify}


@pytest.mark.parametrize("text", ["", "notify:\n", "notify: []\n", "notify: null\n"])
def test_nobody_is_told_if_nothing_is_said(text: str, home: Path) -> None:
    assert targets(text, home) == {}


def test_one_is_told_of_whatever_needs_somebody_if_no_more_is_said(home: Path) -> None:
    (one,) = targets(f"notify: [{{url: {SLACK}}}]", home).values()
    assert one.name == "slack", "what stands in a host's place there is part of the secret"
    assert (one.service, one.credentials) == ("slack", ())
    assert one.url.reveal() == SLACK
    assert one.events == USUAL
    assert {Told.DOWN, Told.EXPIRING, Told.OK} <= set(one.events)
    assert not {Told.PROMOTED, Told.RETIRED} & set(one.events)


def test_what_it_may_say_besides(home: Path) -> None:
    text = GENAI + (
        f"notify:\n- url: {SLACK}\n  name: on-call\n  events: [down, at-risk]\n"
        "  credentials: [genai]\n"
    )
    one = targets(text, home)["on-call"]
    assert (one.events, one.credentials) == ((Told.DOWN, Told.AT_RISK), ("genai",))


def unnamed(home: Path, *urls: str) -> dict[str, str]:
    text = "notify:\n" + "".join(f"- {{url: '{url}'}}\n" for url in urls)
    return {one.url.reveal(): name for name, one in targets(text, home).items()}


def test_who_has_no_name_is_called_by_its_own_host_wherever_it_stands(home: Path) -> None:
    """What it was told is kept under that name: nobody inherits what somebody else was told."""
    urls = ["json://a.org", "JSON://b:80", "mailto://u:p@c.org", "json://[::1]:25/x"]

    def named(*chosen: str) -> dict[str, str]:
        return unnamed(home, *chosen)

    names = named(*urls)
    kinds = [re.fullmatch(r"([a-z]+)-[0-9a-f]{6}", name) for name in names.values()]
    assert [found and found[1] for found in kinds] == ["json", "json", "mailto", "json"]
    assert len(set(names.values())) == 4
    assert named(*urls[1:]) == {url: names[url] for url in urls[1:]}
    assert named(*reversed(urls)) == names
    usual, few = "{url: 'json://a.org'}", "{url: 'json://a.org', events: [down]}"
    for text in (f"notify: [{usual}, {few}]", f"notify: [{few}, {usual}]"):
        found = targets(text, home)
        assert sorted(found) == [names["json://a.org"], f"{names['json://a.org']}-2"]
        assert found[names["json://a.org"]].events == (Told.DOWN,)


def test_several_alike_are_numbered_in_whatever_order_they_stand(home: Path) -> None:
    urls = [f"mailto://relay.example.com?from=k@x.org&to={who}@x.org" for who in "cab"]
    names = unnamed(home, *urls)
    assert len(set(names.values())) == 3
    assert unnamed(home, *reversed(urls)) == names


@pytest.mark.parametrize(
    "url",
    [
        "mailtos://keyman:{}@smtp.example.org?to=ops@example.org",
        "mailtos://keyman:{}/x@smtp.example.org:465",
        "mailtos://{}@keyman@smtp.example.org",
        "json://example.org/hook/{}",
        "json://example.org/hook/x@{}.y",
        "json://example.org?+Authorization={}",
        "ntfy://{}",
        "ntfy://{}/other@example.org",
        "opsgenie://{}/?to=x",
        "voipms://{}:ops@example.org/15551234567",
    ],
)
def test_a_name_says_nothing_of_what_is_secret_in_the_address(url: str, home: Path) -> None:
    """Whoever sees it could try passwords until one fits, as long as nothing else is unknown."""
    guesses = (url.format(word) for word in ("Winter2024", "Summer2023", "12345"))
    assert len({name for guess in guesses for name in unnamed(home, guess).values()}) == 1


def test_the_address_comes_from_a_variable_or_a_file_and_is_shown_nowhere(home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    (home.parent / "hook").write_text(SLACK + "\n")
    text = "notify:\n- url: !env HOOK\n- url: !file hook\n"
    (home.parent / "hook").chmod(0o600)
    found = targets(text, home, HOOK=f"mailto://ada:{PASSWORD}@example.com")
    assert [one.service for one in found.values()] == ["mailto", "slack"]
    assert PASSWORD not in repr(found)
    assert TOKEN not in repr(found)


MISTAKES = [
    ("notify: {url: x}", ["1: notify: must be a list"]),
    ("notify: [3]", ["1: notify[0]: must be a mapping of keys to values"]),
    ("notify: [{}]", ["1: notify[0].url: is required"]),
    (
        f"notify: [{{url: '{SLACK}', event: [down]}}]",
        ["1: notify[0].event: unknown key (did you mean events?)"],
    ),
    (
        f"notify:\n- url: {SLACK}\n  events: [down, expiering]",
        ["3: notify[0].events[1]: must be one of failing, given-up, at-risk, down, "],
    ),
    (
        f"notify:\n- {{url: '{SLACK}', events: [down, down]}}",
        ["2: notify[0].events: must not name the same thing twice"],
    ),
    (
        f"notify:\n- {{url: '{SLACK}', name: On Call}}",
        ["2: notify[0].name: must be 1 to 63 of a-z, 0-9, - and _, beginning with a-z or 0-9"],
    ),
    (
        f"notify:\n- {{url: '{SLACK}', name: a}}\n- {{url: '{SLACK}', name: a}}",
        ["1: notify: two are called a"],
    ),
    (
        GENAI + f"notify:\n- {{url: '{SLACK}', name: chat, credentials: [genia]}}",
        ["6: notify: chat: no credential is called genia (did you mean genai?)"],
    ),
    (
        f"notify: [{{url: {PASSWORD}}}]",
        ["1: notify[0].url: must be an address of apprise's such as mailto://… or slack://…"],
    ),
    (
        f"notify: [{{url: 'mailto://ada:{PASSWORD}@example.com\\u202e'}}, {{url: \"a://\\0\"}}]",
        ["1: notify[1].url: "],
    ),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=[text[:50] for text, _ in MISTAKES])
def test_what_is_wrong_is_said_without_the_address(text: str, said: list[str], home: Path) -> None:
    found = mistakes(text, home)
    assert len(found) == len(said), found
    assert all(line.startswith(begin) for line, begin in zip(found, said, strict=True)), found
    assert PASSWORD not in str(found)
    assert TOKEN not in str(found)


def test_the_nearest_event_is_named(home: Path) -> None:
    (said,) = mistakes(f"notify: [{{url: '{SLACK}', events: [expiering]}}]", home)
    assert said.endswith("(did you mean expiring?)")


def test_an_address_written_out_where_others_read_it_is_refused(home: Path) -> None:
    said = mistakes(f"notify:\n- {{url: '{SLACK}'}}", home, mode=0o644)
    assert [line.partition(" (")[0] for line in said] == [
        "2: notify[0].url: a secret is written out in a file that others can read"
    ]
    read("notify: [{url: !env HOOK}]", home, mode=0o644, HOOK=SLACK)


def test_the_example_shows_every_key_and_what_leaving_it_out_means(home: Path) -> None:
    example = (Path(__file__).parent.parent / "config.example.yaml").read_text()
    shown = example.partition("\nnotify: []\n")[2].partition("\n\n")[0]
    text = "notify:\n" + shown.replace("\n#", "\n").removeprefix("#")
    (one,) = read(text, home, KEYMAN_NOTIFY_URL=SLACK).notify
    assert one == NotifyTarget("on-call", Secret(SLACK))
    assert all(f" {key}:" in shown for key in NotifySection.model_fields)
    assert {str(told) for told in Told} == set(re.findall(r"[a-z]+(?:-[a-z]+)*", events_of(shown)))


def events_of(shown: str) -> str:
    (line,) = (line for line in shown.splitlines() if "events:" in line)
    return line.partition("events:")[2].replace("# also", "")
