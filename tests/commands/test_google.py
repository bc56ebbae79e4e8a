"""Tokens of Google: minted for a call, kept in memory only, and what `check` finds out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from keyman.cli import terminal
from keyman.once import do_what_is_due
from keyman.sandbox.google import GoogleSandbox
from keyman.sandbox.google_files import SERVICE
from tests.commands.kinds import findings, home_with
from tests.commands.shapes import LOOKUP, mistakes
from tests.commands.world import Home, until

VERTEX = """\
  vertex:
    provider: google
    project: sandbox-project
    location: us-central1
    base_url: {base_url}
    source: {{kind: service-account, file: sa.json}}
    endpoints: {{token: '{url}', iam: '{url}', sts: '{url}', metadata: '{url}'}}
"""


@pytest.fixture
def sandbox() -> Iterator[GoogleSandbox]:
    made = GoogleSandbox(seed=1)
    with made.serve():
        yield made


@pytest.fixture
def place(sandbox: GoogleSandbox) -> Iterator[Home]:
    with home_with(VERTEX.format(base_url=sandbox.base_url, url=sandbox.url)) as made:
        sandbox.files.service_account(made.folder / "sa.json")
        yield made


def asked(sandbox: GoogleSandbox) -> int:
    return len(sandbox.token_requests())


def test_a_token_is_minted_for_one_call_and_nothing_is_made(
    place: Home, sandbox: GoogleSandbox
) -> None:
    done = place.keyman("get", "vertex", "--json")
    assert done.status == 0, done.err
    assert mistakes(done.json, LOOKUP) == []
    assert (done.json["version"], done.json["stage"], done.json["slot"]) == (1, "current", None)
    assert (done.json["base_url"], done.json["principal"]) == (sandbox.base_url, SERVICE)
    assert done.json["expires_at"] is not None
    assert place.keyman("get", "vertex").out.strip() != done.json["value"]
    assert asked(sandbox) == 2
    assert not place.state.exists()
    assert place.keyman("get", "vertex", "--previous").status == 4
    assert asked(sandbox) == 2


def test_tokens_are_written_nowhere(place: Home, sandbox: GoogleSandbox) -> None:
    with place.open() as app:
        do_what_is_due(app)
        token = app.rotator.managed["vertex"].store.get("vertex", 1)
        assert token is not None
        assert app.store.list() == []
        served = app.snapshot.look_up("vertex").plain.body.decode().strip()
        assert served == token.reveal()
    alone = place.keyman("get", "vertex", "--json").json
    assert alone["version"] == 2
    for file in place.state.rglob("*"):
        assert not file.is_file() or b"ya29" not in file.read_bytes(), file
    assert place.keyman("status", "vertex", "--json").json["current"]["version"] == 1


def test_after_a_restart_another_one_is_minted(place: Home, sandbox: GoogleSandbox) -> None:
    for number in (1, 2):
        with place.open() as app:
            do_what_is_due(app)
            assert app.snapshot.look_up("vertex").version == number
    assert asked(sandbox) == 2


def test_a_changed_configuration_does_not_cost_the_tokens(
    place: Home, sandbox: GoogleSandbox
) -> None:
    with place.open() as app:
        do_what_is_due(app)
        app.take_up(place.settings)
        do_what_is_due(app)
        assert app.rotator.managed["vertex"].store.list() == [("vertex", 1)]
        assert app.snapshot.look_up("vertex").version == 1
        assert asked(sandbox) == 1
        place.edit("  vertex:", "  other:")
        app.take_up(place.settings)
        assert app.tokens.list() == []


def test_the_daemon_serves_one_token_to_all(place: Home, sandbox: GoogleSandbox) -> None:
    with place.daemon():
        until(lambda: place.keyman("get", "vertex").status == 0)
        told = {place.keyman("get", "vertex").out for _ in range(3)}
        assert findings(place) == {}
    assert len(told) == 1
    assert asked(sandbox) == 2  # the daemon's, and the one with which `check` tried


# ------------------------------------------------------------------------------------------- check


def test_nothing_is_wrong(place: Home, sandbox: GoogleSandbox) -> None:
    assert findings(place) == {"not_started": [("info", None)]}
    assert asked(sandbox) == 1


def test_a_file_that_others_can_read(place: Home) -> None:
    (place.folder / "sa.json").chmod(0o640)
    assert findings(place)["file_open"] == [("warning", "vertex")]


def test_a_file_that_is_not_there(place: Home) -> None:
    (place.folder / "sa.json").unlink()
    assert findings(place)["provider_failed"] == [("error", "vertex")]


def test_a_file_that_would_send_the_key_elsewhere(place: Home) -> None:
    path = place.folder / "sa.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"token_uri": "https://evil.example"})
    )
    place.edit("endpoints:", "endpoints: {} #")
    assert findings(place)["provider_failed"] == [("error", "vertex")]


def test_addresses_that_are_not_googles(place: Home, sandbox: GoogleSandbox) -> None:
    place.edit(f"base_url: {sandbox.base_url}", "base_url: https://vertex.example/v1")
    assert findings(place)["strange_host"] == [("warning", "vertex")]
    place.edit("https://vertex.example/v1", "https://7.us-central1-8.prediction.vertexai.goog/v1")
    assert "strange_host" not in findings(place)


@pytest.mark.parametrize(
    ("of_the_file", "configured", "found"),
    [
        (None, "", {"no_quota_project": [("warning", "vertex")]}),
        ("payer", "", {}),
        (None, "quota_project: payer-project", {}),
    ],
)
def test_somebody_has_to_pay_for_a_person(
    place: Home,
    sandbox: GoogleSandbox,
    of_the_file: str | None,
    configured: str,
    found: dict[str, object],
) -> None:
    sandbox.files.authorized_user(place.folder / "sa.json", quota_project=of_the_file)
    place.edit("kind: service-account", "kind: authorized-user")
    place.edit("provider: google", f"provider: google\n    {configured}")
    said = findings(place)
    del said["not_started"]
    assert said == found


def test_application_default_credentials_are_pointed_out(place: Home) -> None:
    place.edit("{kind: service-account, file: sa.json}", "{kind: adc}")
    place.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(place.folder / "sa.json")
    said = findings(place)
    assert said["adc"] == [("info", "vertex")]
    assert "provider_failed" not in said


def test_who_impersonates_is_looked_at_too(place: Home, sandbox: GoogleSandbox) -> None:
    target = "robot@sandbox-project.iam.gserviceaccount.com"
    sandbox.files.impersonated(place.folder / "unused.json", target)
    inner = "{kind: service-account, file: sa.json}"
    place.edit(inner, f"{{kind: impersonate, target: {target}, from: {inner}}}")
    (place.folder / "sa.json").chmod(0o644)
    said = findings(place)
    assert said["file_open"] == [("warning", "vertex")]
    assert "provider_failed" not in said


# ------------------------------------------------------------- what it needs, and what it can't do


def test_what_must_be_allowed(place: Home) -> None:
    done = place.keyman("policy", "vertex")
    assert done.status == 0
    assert "aiplatform" in done.out
    assert place.keyman("policy", "vertex", "--one-key").status == 2


def test_tokens_are_forgotten_and_not_revoked(place: Home) -> None:
    with place.open() as app:
        do_what_is_due(app)
    place.edit("  vertex:", "  other:")
    refused = place.keyman("forget", "vertex", "--revoke", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (2, "usage")
    assert "can't be revoked: they end soon" in refused.json["error"]["message"]
    assert place.keyman("forget", "vertex").status == 0


REFUSED = [
    ("rollback vertex", 2, "short-lived tokens", "keyman rotate vertex"),
    ("adopt vertex --slot key-one", 2, "nothing to adopt", "gets its tokens itself"),
    ("adopt vertex --key-id x", 2, "nothing to adopt", "gets its tokens itself"),
    ("put vertex", 2, "issued by google", "gets its tokens itself"),
    ("rotate vertex --overlap 1h", 2, "has no overlap", "leave out --overlap"),
    ("rotate vertex --overlap 1m", 2, "has no overlap", "leave out --overlap"),
    ("rotate vertex --new-key", 2, "no key with slots", "keyman rotate vertex"),
    ("activate vertex --slot key-one", 2, "no slot 'key-one'", "can't be switched"),
    ("deactivate vertex --slot key-one", 2, "no slot 'key-one'", "can't be switched"),
    ("revoke vertex --yes --slot key-one", 3, "nothing of ours", ""),
    ("get vertex --previous", 4, "no previous version", ""),
    ("policy vertex --one-key", 2, "--one-key is for oci-genai", "leave out --one-key"),
]


def test_what_tokens_have_not_is_refused_in_words(place: Home) -> None:
    with place.daemon():
        until(lambda: place.keyman("get", "vertex").status == 0)
        done = [place.keyman(*words.split(), stdin="ya29.x") for words, *_ in REFUSED]
    for said, (words, status, what, advice) in zip(done, REFUSED, strict=True):
        lines = [line for line in said.err.splitlines() if line.startswith("keyman: ")]
        assert (said.status, len(lines)) == (status, 2), (words, said)
        assert lines[0].startswith("keyman: error: "), words
        assert what in lines[0], words
        assert lines[1].startswith("keyman: hint: "), words
        assert advice in lines[1], words


def test_a_leaked_token_is_replaced_and_its_end_is_told(
    place: Home, sandbox: GoogleSandbox
) -> None:
    """Google takes no token of a service account back."""
    with place.daemon():
        until(lambda: place.keyman("get", "vertex").status == 0)
        leaked = place.keyman("get", "vertex", "--json").json
        done = place.keyman("revoke", "vertex", "--yes")
        now = place.keyman("get", "vertex", "--json").json
        order = place.keyman("status", "vertex", "--json").json["order"]
        old = place.keyman("revoke", "vertex", "--version", "1", "--yes", "--json").json
    assert done.status == 0
    assert f"works until its own end at {terminal.moment(leaked['expires_at'])}" in done.out
    assert "lookups get version 2" in done.out
    assert (now["version"], asked(sandbox)) == (2, 2)
    assert order is None
    assert (old["state"], old["until"], old["revoked"]) == ("done", leaked["expires_at"], [])


def test_a_rotation_by_hand_gets_another_token(place: Home, sandbox: GoogleSandbox) -> None:
    with place.daemon():
        until(lambda: place.keyman("get", "vertex").status == 0)
        foretold = place.keyman("rotate", "vertex", "--dry-run", "--json").json["steps"]
        done = place.keyman("rotate", "vertex", "--json")
        assert place.keyman("get", "vertex", "--previous").status == 4
    assert [one["step"] for one in foretold][:3] == ["request", "issue", "promote"]
    assert (done.status, done.json["state"], done.json["until"]) == (0, "done", None)
    assert asked(sandbox) == 2
