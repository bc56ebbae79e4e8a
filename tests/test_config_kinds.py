"""Configurations of google, openai and static: what they mean, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman.config import (
    CredentialSettings,
    GoogleOptions,
    GoogleSource,
    OpenaiOptions,
    StaticOptions,
)
from keyman.config.kinds.google import base_url
from keyman.core.model import Secret, Spec
from keyman.core.policy import RetireBy
from tests.configs import mistakes, read

EVERY_KIND = """\
credentials:
  vertex:
    provider: google
    project: my-project
    location: us-central1                   # or global
    endpoint_id: openapi                    # or a deployed endpoint's id
    base_url: null                          # default from the above, v1
    source: {kind: service-account, file: sa.json}
    scopes: [https://www.googleapis.com/auth/cloud-platform]
    endpoints: {token: null, iam: null, sts: null, metadata: null}
  openai-main:
    provider: openai
    admin_key: !env OPENAI_ADMIN_KEY        # or {credential: openai-admin}
    project_id: proj_x
    service_account_id: svc_acct_x
    base_url: https://api.openai.com/v1
    policy: {lifetime: 30d, rotate_before: 10d, overlap: 24h}
  partner:
    provider: static                        # by hand with `keyman put`
    base_url: https://api.example.com/v1
    expires_at: 2027-01-31T00:00:00Z
    verify: {get: /models}
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def google(home: Path, *lines: str, source: str = "{kind: metadata}") -> CredentialSettings:
    text = "credentials:\n  v:\n    provider: google\n    project: my-project\n"
    text += f"    location: global\n    source: {source}\n"
    return read(text + "".join(f"    {line}\n" for line in lines), home).credentials["v"]


def google_options(one: CredentialSettings) -> GoogleOptions:
    assert isinstance(one.options, GoogleOptions)
    return one.options


def openai_options(one: CredentialSettings) -> OpenaiOptions:
    assert isinstance(one.options, OpenaiOptions)
    return one.options


def wrong(home: Path, provider: str, *lines: str) -> list[str]:
    """What is said of that credential `c`, without line and path."""
    text = f"credentials:\n  c:\n    provider: {provider}\n"
    said = mistakes(text + "".join(f"    {line}\n" for line in lines), home)
    return [
        line.partition("credentials.c")[2].removeprefix(".").removeprefix(": ") for line in said
    ]


GOOGLE = ("project: my-project", "location: global")
OPENAI = ("admin_key: x", "project_id: proj_x", "service_account_id: svc_acct_x")


def test_the_configuration_of_the_interface_is_understood(home: Path) -> None:
    settings = read(EVERY_KIND, home, OPENAI_ADMIN_KEY="sk-admin-1")
    vertex, main, partner = settings.credentials.values()
    options = google_options(vertex)
    assert options.base_url == (
        "https://us-central1-aiplatform.googleapis.com/v1/projects/my-project"
        "/locations/us-central1/endpoints/openapi"
    )
    assert options.source == GoogleSource("service-account", home.parent / "sa.json")
    assert openai_options(main).admin_key == Secret("sk-admin-1")
    assert openai_options(main).admin_credential is None
    ends = datetime(2027, 1, 31, tzinfo=UTC)
    assert partner.options == StaticOptions("https://api.example.com/v1", ends, "/models")
    assert {(c.env.key, c.env.base_url) for c in settings.credentials.values()} == {
        ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    }


def test_what_the_core_is_told_of_each_kind(home: Path) -> None:
    settings = read(EVERY_KIND, home, OPENAI_ADMIN_KEY="x")
    vertex, main, partner = (c.spec("here") for c in settings.credentials.values())
    told = ("slots", "key_id", "observes", "claims", "issues", "probes", "revokes", "late")

    def traits(spec: Spec) -> tuple[Any, ...]:
        return tuple(getattr(spec, name) for name in told)

    none = timedelta(0)
    assert traits(vertex) == ((), None, False, False, True, False, False, none)
    assert traits(main) == ((), None, True, False, True, True, True, timedelta(minutes=6))
    assert traits(partner) == ((), None, False, False, False, True, False, none)
    assert (main.name, main.provider, main.installation) == ("openai-main", "openai", "here")
    assert main.policy == settings.credentials["openai-main"].policy


# ------------------------------------------------------------------------------------------- google


@pytest.mark.parametrize(
    ("location", "endpoint", "url"),
    [
        ("global", "openapi", "https://aiplatform.googleapis.com/v1/projects/p/locations/global"),
        ("us", "openapi", "https://aiplatform.us.rep.googleapis.com/v1/projects/p/locations/us"),
        (
            "europe-west4",
            "123",
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4",
        ),
    ],
)
def test_where_a_location_is(location: str, endpoint: str, url: str) -> None:
    assert base_url("p", location, endpoint) == f"{url}/endpoints/{endpoint}"


def test_a_base_url_stands_in_for_what_it_is_made_of(home: Path) -> None:
    url = "https://123.us-central1-456.prediction.vertexai.goog/v1/x"
    text = f"credentials: {{v: {{provider: google, base_url: '{url}/', source: {{kind: adc}}}}}}"
    options = google_options(read(text, home).credentials["v"])
    assert (options.project, options.base_url) == (None, url)


def test_tokens_have_a_policy_of_their_own(home: Path) -> None:
    """Nothing of `defaults.policy` is taken over: it speaks of keys that live for months."""
    policy = google(home, source="{kind: authorized-user, file: f}").policy
    lead, share = policy.rotate_before, policy.rotate_before_share
    assert (lead, share, policy.lifetime) == (timedelta(minutes=5), 0.25, HOUR)
    assert (policy.overlap, policy.max_overlap, policy.retire) == (
        timedelta(0),
        None,
        RetireBy.KEEP,
    )
    assert (policy.verify.successes, policy.window) == (0, None)
    assert policy.retry.max == timedelta(minutes=1)
    text = 'defaults: {policy: {overlap: 2h, window: "Mon 01:00-02:00 UTC"}, retry: {max: 5s}}\n'
    source = "{kind: authorized-user, file: f}"
    text += f"credentials: {{v: {{provider: google, base_url: 'https://x', source: {source}}}}}"
    other = read(text, home).credentials["v"].policy
    assert other == replace(policy, retry=replace(policy.retry, max=timedelta(seconds=5)))


def test_who_says_when_to_replace_a_token_is_followed(home: Path) -> None:
    for kind in ("metadata", "adc"):  # the second may turn out to be the first
        repeats = google(home, source=f"{{kind: {kind}}}").policy
        assert repeats.rotate_before == timedelta(seconds=225)
        assert repeats.rotate_before_share == 0
    own = google(home, "policy: {rotate_before: 7m, window: 'Mon 01:00-02:00 UTC'}").policy
    assert (own.rotate_before, own.rotate_before_share) == (timedelta(minutes=7), 0)
    assert own.window is not None


def test_impersonation(home: Path) -> None:
    few = google(home, source="{kind: impersonate, target: robot@p.iam.gserviceaccount.com}")
    source = google_options(few).source
    assert (source.origin, source.lifetime) == (GoogleSource("adc"), HOUR)
    account = "a@p.iam.gserviceaccount.com"
    much = google(
        home,
        "policy: {rotate_before: 1h}",
        source=f"{{kind: impersonate, target: {account}, lifetime: 12h, delegates: [{account}], "
        "from: {kind: authorized-user, file: ~/adc.json}}",
    )
    source = google_options(much).source
    assert (source.lifetime, source.delegates) == (timedelta(hours=12), (account,))
    assert source.origin is not None
    assert (source.origin.kind, source.origin.file) == (
        "authorized-user",
        Path.home() / "adc.json",
    )
    assert much.policy.lifetime == timedelta(hours=12)
    same = f"{{kind: impersonate, target: {account}}}"
    told = google(home, "policy: {lifetime: 2h}", source=same)
    assert (told.policy.lifetime, google_options(told).source.lifetime) == (2 * HOUR, 2 * HOUR)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            (),
            [
                "project is required (unless base_url is given)",
                "location is required: a region, or global (unless base_url is given)",
                "source: kind is required: one of service-account, authorized-user, ",
            ],
        ),
        (
            (*GOOGLE, "source: {kind: service-acount}"),
            ["source.kind: must be one of service-account, "],
        ),
        ((*GOOGLE, "source: {kind: service-account}"), ["source: file is required for service-"]),
        (
            (*GOOGLE, "source: {kind: adc, file: x}"),
            ["source.file: belongs to service-account and"],
        ),
        (
            (*GOOGLE, "source: {kind: metadata, target: a@b.c, lifetime: 1h, from: {kind: adc}}"),
            [
                "source.from: belongs to impersonate, not to metadata",
                "source.lifetime: belongs to impersonate, not to metadata",
                "source.target: belongs to impersonate, not to metadata",
            ],
        ),
        (
            (*GOOGLE, "source: {kind: impersonate, from: {}}"),
            [
                "source: target is required for impersonate",
                "source.from: kind is required: one of service-account, authorized-user, ",
            ],
        ),
        (
            (*GOOGLE, "source: {kind: impersonate, target: a@b, from: {kind: impersonate}}"),
            ["source.from.kind: must be one of service-account, authorized-user, "],
        ),
        (
            (*GOOGLE, "source: {kind: impersonate, target: a@b, form: {kind: adc}}"),
            ["source.form: unknown key (did you mean from?)"],
        ),
        (
            (*GOOGLE, "source: {kind: impersonate, target: a@b, lifetime: 13h}"),
            ["source.lifetime: Google lets no token live longer than 12h"],
        ),
        (
            (
                *GOOGLE,
                "source: {kind: impersonate, target: a@b, lifetime: 2h}",
                "policy: {lifetime: 3h}",
            ),
            ["policy.lifetime: source.lifetime says otherwise"],
        ),
        (
            (*GOOGLE, "source: {kind: adc}", "policy: {lifetime: 2h}"),
            ["policy.lifetime: Google decides how long these tokens live"],
        ),
        (
            (
                *GOOGLE,
                "source: {kind: adc}",
                "policy: {overlap: 1h, max_overlap: 1h, retire: keep}",
            ),
            [
                "policy.overlap: google has no overlap: a token works until its own end",
                "policy.max_overlap: google has no overlap",
                "policy.retire: google has nothing to retire",
            ],
        ),
        (
            (*GOOGLE, "source: {kind: adc}", "policy: {rotate_before: 1h}"),
            ["policy: rotate_before (5m if nothing is said) must be less than the token's life"],
        ),
        (
            (*GOOGLE, "source: {kind: impersonate, target: a@b, lifetime: 5m}"),
            ["policy: rotate_before (5m if nothing is said) must be less than the token's life"],
        ),
        (
            ("project: My/Project", "location: ../x", "endpoint_id: a/b", "source: {kind: adc}"),
            [
                "project: must be a project's id such as my-project",
                "location: must be a location such as us-central1, or global",
                "endpoint_id: must be openapi, or a deployed endpoint's id",
            ],
        ),
        (
            (*GOOGLE, "source: {kind: adc}", "scopes: ['https://a b', x]", "quota_project: '-'"),
            [
                "scopes[0]: must be a scope such as",
                "scopes[1]: must be a scope such as",
                "quota_project: must be a project's id",
            ],
        ),
        (
            (
                *GOOGLE,
                "source: {kind: adc}",
                "endpoints: {token: 'http://evil.example', iam: 'ftp://x', metadata: 'http://[::1]:1'}",
            ),
            [
                "endpoints.token: must begin with https:// (http:// only to this machine)",
                "endpoints.iam: must be an address such as https://host/path",
            ],
        ),
        (
            ("base_url: http://evil.example", "source: {kind: adc}"),
            ["base_url: must begin with https://"],
        ),
    ],
)
def test_mistakes_with_google(lines: tuple[str, ...], said: list[str], home: Path) -> None:
    found = wrong(home, "google", *lines)
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


@pytest.mark.parametrize("project", ["my-project", "example.com:my-project", "123456789012"])
def test_projects_have_names_and_numbers(project: str, home: Path) -> None:
    text = f"credentials: {{v: {{provider: google, project: '{project}', location: eu, "
    options = google_options(read(text + "source: {kind: adc}}}", home).credentials["v"])
    assert options.project == project


# ------------------------------------------------------------------------------------------- openai


def test_what_would_be_switched_off_is_deleted(home: Path) -> None:
    text = "defaults: {policy: {retire: %s}}\ncredentials:\n  c:\n    provider: openai\n    "
    said = {
        way: read(text % way + "\n    ".join(OPENAI), home).credentials["c"].policy.retire
        for way in RetireBy
    }
    assert said == {
        RetireBy.DEACTIVATE: RetireBy.REVOKE,
        RetireBy.REVOKE: RetireBy.REVOKE,
        RetireBy.KEEP: RetireBy.KEEP,
    }


def test_an_admin_key_cannot_begin_with_itself(home: Path) -> None:
    """It replaces itself later on, but somebody has to bring the first one."""
    text = "credentials: {a: {provider: openai, key_type: admin, admin_key: {credential: a}}}"
    assert "somebody has to bring the first key" in mistakes(text, home)[0]
    begins = text.replace("{credential: a}", "sk-admin-first")
    options = openai_options(read(begins, home).credentials["a"])
    assert (options.key_type, options.admin_credential) == ("admin", None)


def test_no_admin_key_is_shown_or_left_lying_about(home: Path) -> None:
    text = "credentials:\n  c:\n    provider: openai\n    " + "\n    ".join(OPENAI)
    text = text.replace("admin_key: x", "admin_key: sk-admin-canary")
    assert "canary" not in repr(read(text, home))
    assert "a secret is written out in a file" in mistakes(text, home, 0o644)[0]
    read(
        text.replace("sk-admin-canary", "{credential: b}") + "\n  b: {provider: static}",
        home,
        0o644,
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            (),
            [
                "admin_key is required: it must be the key itself (best !env or !file), or {cred",
                "project_id is required (unless key_type is admin)",
                "service_account_id is required (unless key_type is admin)",
            ],
        ),
        (("admin_key: [x]", *OPENAI[1:]), ["admin_key: must be the key itself (best !env or"]),
        (("admin_key: ''", *OPENAI[1:]), ["admin_key: must not be empty"]),
        (("admin_key: {}", *OPENAI[1:]), ["admin_key.credential: is required"]),
        (
            ("admin_key: {credental: x}", *OPENAI[1:]),
            [
                "admin_key.credential: is required",
                "admin_key.credental: unknown key (did you mean credential?)",
            ],
        ),
        (
            ("admin_key: {credential: 'A B'}", *OPENAI[1:]),
            ["admin_key.credential: must be the name of a credential"],
        ),
        (
            ("key_type: admin", *OPENAI),
            [
                "project_id: an admin key belongs to the organization",
                "service_account_id: an admin key belongs to the organization",
            ],
        ),
        (
            ("admin_key: x", "project_id: ../x", "service_account_id: a/b"),
            [
                "project_id: must be a project's id (proj_…)",
                "service_account_id: must be a service account's id (svc_acct_…)",
            ],
        ),
        (
            (*OPENAI, "policy: {lifetime: 366d, rotate_before: 366d, retire: deactivate}"),
            [
                "policy: rotate_before must be less than lifetime",
                "policy: lifetime must be at most 365d",
                "policy.retire: OpenAI can't switch a key off",
            ],
        ),
        (
            (*OPENAI, "verify: {successes: 3, every: 1m, within: 2m}", "base_url: http://x"),
            [
                "verify: so many successes, so far apart",
                "base_url: must begin with https://",
            ],
        ),
    ],
)
def test_mistakes_with_openai(lines: tuple[str, ...], said: list[str], home: Path) -> None:
    found = wrong(home, "openai", *lines)
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


def chain(**links: str) -> str:
    """Credentials of openai whose admin keys are others' secrets; an admin one ends in `!`."""
    text = "credentials:\n  by-hand: {provider: static}\n  token: {provider: google, "
    text += "base_url: 'https://x', source: {kind: adc}}\n"
    for name, other in links.items():
        admin, more = "key_type: admin", "project_id: proj_x, service_account_id: svc_acct_x"
        kind = admin if other.endswith("!") else more
        needs = f"{{credential: {other.removesuffix('!')}}}"
        text += f"  {name}: {{provider: openai, {kind}, admin_key: {needs}}}\n"
    return text


@pytest.mark.parametrize(
    "links",
    [
        {"a": "by-hand"},
        {"a": "b", "b": "by-hand!"},
    ],
)
def test_an_admin_key_may_be_another_credential(links: dict[str, str], home: Path) -> None:
    settings = read(chain(**links), home)
    assert openai_options(settings.credentials["a"]).admin_credential == links["a"]


NO_NAME = "no credential has this name"
BACK = "leads back to this credential: somebody has to bring the first key"
NO_KEY = "has no admin key: it must be static, or openai with key_type admin"


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ({"a": "b", "b": "b!"}, {"b": BACK}),
        ({"a": "b", "b": "c!", "c": "c!"}, {"c": BACK}),
        ({"a": "nobody"}, {"a": NO_NAME}),
        ({"a": "by-hnad"}, {"a": NO_NAME + " (did you mean by-hand?)"}),
        ({"a": "a"}, {"a": BACK}),
        ({"a": "b", "b": "a"}, {"a": BACK, "b": BACK}),
        ({"a": "b!", "b": "c!", "c": "a!"}, {"a": BACK, "b": BACK, "c": BACK}),
        ({"a": "token"}, {"a": NO_KEY}),
        ({"a": "b", "b": "by-hand"}, {"a": NO_KEY}),
    ],
)
def test_an_admin_key_that_leads_nowhere(
    links: dict[str, str], said: dict[str, str], home: Path
) -> None:
    found = [line.partition(": ")[2] for line in mistakes(chain(**links), home)]
    assert found == [
        f"credentials.{name}.admin_key.credential: {why}" for name, why in said.items()
    ]


def test_what_is_named_but_broken_is_not_also_called_missing(home: Path) -> None:
    text = chain(a="by-hand").replace("provider: static", "provider: static, verify: {gat: /x}")
    assert [line.partition(": ")[2] for line in mistakes(text, home)] == [
        "credentials.by-hand.verify.gat: unknown key (did you mean get?)"
    ]


# ------------------------------------------------------------------------------------------- static


def test_a_secret_that_comes_by_hand(home: Path) -> None:
    few = read("credentials: {p: {provider: static}}", home).credentials["p"]
    assert few.options == StaticOptions(None, None, None)
    assert few.spec("x").probes is False
    policy = few.policy
    assert (policy.rotate_before, policy.rotate_before_share) == (timedelta(days=14), 0)
    assert (policy.retire, policy.verify.successes) == (RetireBy.KEEP, 0)
    text = "credentials: {p: {provider: static, base_url: 'https://x', verify: {get: '/m?a=b'}}}"
    probed = read(text, home).credentials["p"]
    assert (probed.spec("x").probes, probed.policy.verify.successes) == (True, 1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-31T00:00:00Z", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31 09:00:00+09:00", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31t00:00:00.500z", datetime(2027, 1, 31, 0, 0, 0, 500_000, UTC)),
        ("2027-01-31T00:00:00.123456789-00:00", datetime(2027, 1, 31, 0, 0, 0, 123_456, UTC)),
    ],
)
def test_when_it_ends(written: str, meant: datetime, home: Path) -> None:
    text = f"credentials: {{p: {{provider: static, expires_at: '{written}'}}}}"
    options = read(text, home).credentials["p"].options
    assert options == StaticOptions(None, meant, None)
    assert meant.tzinfo is UTC


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("expires_at: 2027-01-31",), ["expires_at: must be a time such as 2027-01-31T00:00:00Z"]),
        (("expires_at: 2027-01-31T00:00:00",), ["expires_at: must end with its zone: Z for UTC"]),
        (("expires_at: 2027-02-30T00:00:00Z",), ["expires_at: is no time that a calendar and a"]),
        (("expires_at: 0001-01-01T00:00:00+14:00",), ["expires_at: is no time that a calendar"]),
        (("expires_at: 30d",), ["expires_at: must be a time such as 2027-01-31T00:00:00Z"]),
        (
            ("policy: {wait_for_clients: true}",),
            ["policy.wait_for_clients: means nothing here: the secret comes by hand"],
        ),
        (
            ("policy: {lifetime: 1d, overlap: 1h, window: x, rotate_befor: 3d}",),
            [
                "policy.lifetime: means nothing here: the secret comes by hand",
                "policy.overlap: means nothing here",
                "policy.window: means nothing here",
                "policy.rotate_befor: unknown key (did you mean rotate_before?)",
            ],
        ),
        (("verify: {get: /models}",), ["base_url is required: verify.get is a path below it"]),
        (
            ("base_url: https://x", "verify: {get: //evil/x}"),
            ["verify.get: must be a path such as /models"],
        ),
        (("base_url: https://x", "verify: {get: models}"), ["verify.get: must be a path such as"]),
        (("base_url: https://x", "verify: {get: '/a#b'}"), ["verify.get: must be a path such as"]),
        (("base_url: https://x", 'verify: {get: "/a b"}'), ["verify.get: must be a path such as"]),
        (("base_url: http://10.0.0.1/v1",), ["base_url: must begin with https://"]),
        (("env: {key: A, base_url: A}",), ["env: key and base_url must be different variables"]),
        (("admin_key: x",), ["admin_key: unknown key"]),
    ],
)
def test_mistakes_with_static(lines: tuple[str, ...], said: list[str], home: Path) -> None:
    found = wrong(home, "static", *lines)
    assert [line[: len(start)] for line, start in zip(found, said, strict=True)] == said


# ------------------------------------------------------------------------------------- all together


def test_mistakes_in_all_kinds_are_told_at_once(home: Path) -> None:
    text = EVERY_KIND.replace("us-central1", "us central").replace("proj_x", "x")
    text = text.replace("get: /models", "gte: /models").replace("lifetime: 30d", "lifetime: 5d")
    assert [line.partition(":")[0] for line in mistakes(text, home)] == [
        "5",
        "13",
        "14",
        "17",
        "22",
    ]
