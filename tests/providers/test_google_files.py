"""Credentials files: taken for what they are, read when they changed, and never led elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keyman import errors
from keyman.sandbox.google_files import SERVICE, TARGET
from keyman.vendors.google_addresses import (
    check_account,
    check_subject_address,
    exchange_address,
    impersonation_address,
    metadata_address,
    token_address,
)
from tests.providers.google_world import Endpoints, Source, World, world

KINDS = ("service-account", "authorized-user", "external-account")
NONE = Endpoints()


def rejected(google: World, source: str | Source, **options: Any) -> errors.Rejected:
    """What comes of it without anybody having been asked."""
    with pytest.raises(errors.Rejected) as caught:
        google.provider(source, **options).issue(google.wish(), None)
    assert google.asked() == []
    google.check_fit_to_travel(caught.value)
    return caught.value


# What is in a file.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", [*KINDS, "impersonated"])
def test_a_file_of_another_type_is_refused_with_the_next_move(
    google: World, kind: str, file: str
) -> None:
    source = Source(kind, google.files[file])
    if kind == file:
        google.provider(source).issue(google.wish(), None)
        return
    error = rejected(google, source)
    found = json.loads(google.files[file].read_text())["type"]
    assert f"type {found}, and not {kind.replace('-', '_')}" in error.message
    assert "`kind: impersonate`" in error.hint or f"`kind: {file}`" in error.hint


@pytest.mark.parametrize(
    ("changes", "words", "move"),
    [
        ({"type": None}, "no credentials of a known type", "OAuth client"),
        ({"type": 5}, "no credentials of a known type", "OAuth client"),
        ({"type": "\x1b[31m; rm -rf"}, "no credentials of a known type", "OAuth client"),
        (
            {"type": "external_account_authorized_user"},
            "type external_account_authorized",
            "people",
        ),
        ({"type": "gdch_service_account"}, "type gdch_service_account", "not supported"),
        ({"type": "something_new"}, "type something_new", "OAuth client"),
        ({"private_key": None}, "lacks private_key", "made anew"),
        ({"client_email": ""}, "lacks client_email", "made anew"),
        ({"client_email": "a/../b"}, "'a/../b' is no service account", "looks like"),
        ({"client_email": 7}, "'7' is no service account", "looks like"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\ncanary-x\n"}, "can't use these", "made"),
        ({"private_key": 7}, "can't use these credentials", "as Google made it"),
    ],
)
def test_a_key_file_that_is_not_as_google_made_it_is_told(
    google: World, changes: dict[str, Any], words: str, move: str
) -> None:
    google.rewrite("service-account", **changes)
    error = rejected(google, "service-account")
    assert words in error.message
    assert move in error.hint


@pytest.mark.parametrize("name", ["client_id", "client_secret", "refresh_token"])
def test_a_login_that_is_incomplete_is_told(google: World, name: str) -> None:
    google.rewrite("authorized-user", **{name: None})
    assert f"lacks {name}" in rejected(google, "authorized-user").message


@pytest.mark.parametrize(
    "content",
    [b"", b"canary-x", b'{"private_key": "canary-x', b"[]", b"null", b"\xff\xfe", b"[" * 9999],
)
def test_a_file_that_is_no_json_object_is_told_without_its_content(
    google: World, content: bytes
) -> None:
    google.files["service-account"].write_bytes(content)
    error = rejected(google, "service-account")
    assert f"{google.files['service-account']} holds no credentials" in error.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_there_is_named(google: World, kind: str, tmp_path: Path) -> None:
    error = rejected(google, Source(kind, tmp_path / "none.json"))
    assert f"{tmp_path / 'none.json'} can't be read: No such file" in error.message


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_never_read(google: World, kind: str, tmp_path: Path) -> None:
    """Reading a pipe would wait for whoever writes to it, and so would every lookup."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, Path("/dev/null"), pipe):
        source = Source(kind, path)
        assert f"{path} can't be read: it is no regular" in rejected(google, source).message
        assert google.provider(source).lookup().principal is None


def test_a_home_in_a_path_is_the_users(google: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(google.folder))
    assert google.files["service-account"].parent == google.folder
    source = Source("service-account", Path("~/service-account.json"))
    google.provider(source).issue(google.wish(), None)


# When it is read.


@pytest.mark.parametrize("kind", ["service-account", "authorized-user"])
def test_a_replaced_file_is_taken_up(google: World, kind: str) -> None:
    provider, files, path = google.provider(kind), google.sandbox.files, google.files[kind]
    provider.issue(google.wish(), None)
    if kind == "service-account":
        google.sandbox.person.delete_key(json.loads(path.read_text())["private_key_id"])
    else:
        google.sandbox.person.revoke_person("somebody@example.com")
    with pytest.raises(errors.Rejected, match="invalid_grant"):
        provider.issue(google.wish(), None)
    new = google.folder / "new.json"
    if kind == "service-account":
        files.service_account(new)
    else:
        files.authorized_user(new, "somebody.else@example.com")
    new.replace(path)
    assert google.accepts(provider.issue(google.wish(), None).secret)


def test_a_file_that_did_not_change_is_not_read_again(google: World) -> None:
    """Asked of the system, in a process of its own: an audit hook can't be taken away again."""
    program = (
        "import sys\n"
        "from tests.providers.google_world import world\n"
        "opened = []\n"
        "def heard(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).endswith('.json'):\n"
        "        opened.append(arguments[0])\n"
        "with world() as google:\n"
        "    kinds = ('service-account', 'authorized-user', 'external-account')\n"
        "    providers = [google.provider(kind) for kind in kinds]\n"
        "    sys.addaudithook(heard)\n"
        "    for provider in providers * 3:\n"
        "        provider.lookup()\n"
        "        provider.issue(google.wish(), None)\n"
        "assert len(opened) == 3, opened\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_a_subject_token_is_read_each_time(google: World) -> None:
    provider = google.provider("external-account")
    provider.issue(google.wish(), None)
    google.sandbox.files.subject_token(google.folder / "external-account.subject", "another")
    google.sandbox.person.let_impersonate(
        "principal://iam.googleapis.com/projects/123456789012/locations/global"
        "/workloadIdentityPools/sandbox/subject/another",
        TARGET,
    )
    provider.issue(google.wish(), None)
    assert google.sandbox.calls("ExchangeToken")[-1].actor.endswith("/subject/another")


# Where a file may lead.

HOSTILE = (
    "https://evil.example/token",
    "http://oauth2.googleapis.com/token",
    "https://oauth2.googleapis.com.evil.example/token",
    "https://oauth2.googleapis.com@evil.example/token",
    "https://evil.example\\.googleapis.com/token",
    "https://evil.example#.googleapis.com",
    "https://evil.example?.googleapis.com",
    "https://evilgoogleapis.com/token",
    "https://oauth2.googleapis.com:8443/token",
    "https://user:canary-x@oauth2.googleapis.com/token",
    "https://oauth2.goo\ngleapis.com/token",
    "https://oauth2.googleapis.com\u3002evil.example/token",
    "https://oauth2.googleapis.com /token",
    "https://[::1]/token",
    "https://169.254.169.254/token",
    "file:///etc/passwd",
    "ftp://oauth2.googleapis.com/token",
    "//oauth2.googleapis.com/token",
    "https://oauth2.googleapis.com:99999/token",
    "https://[oauth2.googleapis.com/token",
    ["https://oauth2.googleapis.com/token"],
    7,
)
FIELDS = [
    ("service-account", "token_uri", "token"),
    ("external-account", "token_url", "sts"),
    ("external-account", "service_account_impersonation_url", "iam"),
]


@pytest.mark.parametrize("address", HOSTILE, ids=str)
@pytest.mark.parametrize(("kind", "field", "key"), FIELDS)
def test_an_address_that_is_not_googles_is_refused(
    google: World, kind: str, field: str, key: str, address: Any
) -> None:
    if key == "iam":
        path = "/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken"
        address = f"{str(address).removesuffix('/token')}{path}"
    url = google.sandbox.url
    others = {"token": url, "sts": url, "iam": url, key: None}
    google.rewrite(kind, **{field: address})
    error = rejected(google, kind, endpoints=Endpoints(**others))
    assert "not Google" in error.message
    assert f"`endpoints.{key}`" in error.hint
    assert "canary" not in error.message


@pytest.mark.parametrize(("kind", "field", "key"), FIELDS)
def test_a_configured_address_counts_whatever_the_file_says(
    google: World, kind: str, field: str, key: str
) -> None:
    thief = f"https://evil.example/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    google.rewrite(kind, **{field: thief})
    assert google.accepts(google.provider(kind).issue(google.wish(), None).secret)


@pytest.mark.parametrize(
    "address",
    [
        "https://oauth2.googleapis.com/token",
        "https://oauth2.mtls.googleapis.com/token",
        "https://www.googleapis.com/oauth2/v3/token",
        "https://www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/o/oauth2/token",
        "https://oauth2.googleapis.com:443/token",
    ],
)
def test_addresses_of_google_are_taken_as_they_are(address: str) -> None:
    assert token_address(NONE, address) == address


@pytest.mark.parametrize(
    "address",
    [
        "https://www.googleapis.com/upload/storage/v1/b/evil/o",
        "https://www.googleapis.com/oauth2/v4/token/../../../upload/storage/v1/b/evil/o",
        "https://www.googleapis.com/",
        "https://evil.www.googleapis.com/oauth2/v4/token",
        "https://evil-www.googleapis.com/oauth2/v4/token",
        "https://accounts.google.com/signin",
        "https://evil.accounts.google.com/o/oauth2/token",
    ],
)
def test_where_google_does_much_else_only_its_own_paths_count(address: str) -> None:
    for asked in (token_address, exchange_address):
        with pytest.raises(errors.Rejected, match="not Google"):
            asked(NONE, address)


@pytest.mark.parametrize(
    "host",
    [
        *("sts", "sts.mtls", "sts.us-east1.rep", "us-east1-sts", "us-east1.sts", "sts-us"),
        *("sts.us-east-1", "sts.US-WEST1", "us-east-1.sts.mtls", "US-WEST-1-sts.mtls"),
        *("sts.us-east-1.mtls", "sts-mine.p", "sts-xyz-123.p", "sts-xyz-123.p.mtls"),
    ],
)
def test_addresses_of_its_regions_too(host: str) -> None:
    address = f"https://{host}.googleapis.com/v1/token"
    assert exchange_address(NONE, address) == address
    address = address.replace("sts", "iamcredentials")
    assert impersonation_address(NONE, "7", address) == address


@pytest.mark.parametrize(
    "host",
    [
        *("storage", "oauth2.storage", "sts.storage", "iamcredentials.storage", "a.b.sts"),
        *("iamcredentials.x", "sts.x.y", "sts.p", "xyz-sts.p", "sts-xyz.p1", "sts-xyz.123.p"),
    ],
)
def test_another_service_of_google_gets_nothing(host: str) -> None:
    address = f"https://{host}.googleapis.com/token"
    for asked in (token_address, exchange_address):
        with pytest.raises(errors.Rejected, match="not Google"):
            asked(NONE, address)
    with pytest.raises(errors.Rejected, match="not Google"):
        impersonation_address(NONE, "7", address)


def test_an_address_in_a_login_is_overlooked(google: World) -> None:
    google.rewrite("authorized-user", token_uri="https://evil.example/token")
    google.provider("authorized-user").issue(google.wish(), None)


@pytest.mark.parametrize("target", ["", "a/b@c", "x:y", "../x", "a@b c", "a@b\n", "a@b/..", "5\n"])
def test_a_target_that_would_change_the_address_is_refused(google: World, target: str) -> None:
    source = Source("impersonate", target=target, origin=google.source("service-account"))
    assert "no service account" in rejected(google, source).message
    chain = Source(
        "impersonate", target=TARGET, delegates=(target,), origin=google.source("service-account")
    )
    assert "no service account" in rejected(google, chain).message


# What the configuration may say.


def test_an_address_without_a_path_gets_googles() -> None:
    for base in ("https://x.example", "https://x.example/"):
        ends = Endpoints(token=base, sts=base, iam=base, metadata="http://127.0.0.1:8/")
        assert token_address(ends, "https://evil.example") == "https://x.example/token"
        assert exchange_address(ends) == "https://x.example/v1/token"
        assert impersonation_address(ends, "7") == (
            "https://x.example/v1/projects/-/serviceAccounts/7:generateAccessToken"
        )
        assert metadata_address(ends) == "http://127.0.0.1:8"
    ends = Endpoints(token="https://x/y/z/", sts="https://x/y", iam="https://x/y/")
    assert token_address(ends) == "https://x/y/z"
    assert exchange_address(ends) == "https://x/y"
    assert impersonation_address(ends, "7").startswith("https://x/y/v1/projects/")


def test_googles_own_addresses_are_the_usual_ones() -> None:
    assert token_address(NONE) == "https://oauth2.googleapis.com/token"
    assert exchange_address(NONE) == "https://sts.googleapis.com/v1/token"
    assert impersonation_address(NONE, SERVICE) == (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{SERVICE}:generateAccessToken"
    )
    assert metadata_address(NONE) == "http://169.254.169.254"


@pytest.mark.parametrize(
    "address",
    [
        "http://x.example",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "https://u:p@x.example",
        "https://x.example?a=b",
        "https://x.example#a",
        "ftp://x.example",
        "x.example",
        "https://",
        "https://a b",
    ],
)
@pytest.mark.parametrize("key", ["token", "sts", "iam"])
def test_a_configured_address_that_cannot_be_used_is_named(
    google: World, key: str, address: str
) -> None:
    kind = {"token": "service-account", "sts": "external-account", "iam": "impersonate"}[key]
    error = rejected(google, kind, endpoints=Endpoints(**{key: address}))
    assert f"endpoints.{key} can't be used" in error.message


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("http://127.0.0.1:80", True),
        ("http://localhost", True),
        ("http://[::1]:8", True),
        ("http://169.254.169.254", True),
        ("http://[fd20:ce::254]", True),
        ("http://metadata.google.internal", True),
        ("https://meta.example", True),
        ("http://meta.example", False),
        ("http://10.0.0.1", False),
        ("http://169.254.169.253", False),
    ],
)
def test_metadata_may_be_asked_in_clear_where_it_lives(address: str, fine: bool) -> None:
    if fine:
        assert metadata_address(Endpoints(metadata=address)) == address
        return
    with pytest.raises(errors.Rejected, match=r"endpoints\.metadata"):
        metadata_address(Endpoints(metadata=address))


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://token.actions.example/x?y=z", True),
        ("http://169.254.169.254/metadata/identity/oauth2/token?a=b", True),
        ("http://169.254.170.2/v2/credentials", True),
        ("http://[fd00:ec2::254]/latest/api/token", True),
        ("http://127.0.0.1:41741/msi/token", True),
        ("http://localhost:1/x", True),
        ("http://idp.example/token", False),
        ("http://8.8.8.8/token", False),
        ("file:///var/run/token", False),
        ("https://u:p@idp.example/", False),
        (None, False),
    ],
)
def test_a_subject_token_is_not_fetched_in_clear_across_a_network(
    address: str | None, fine: bool
) -> None:
    if fine:
        check_subject_address(address)
        return
    with pytest.raises(errors.Rejected, match="not fetched from"):
        check_subject_address(address)


def test_accounts_have_names_or_numbers() -> None:
    for account in (SERVICE, "123456789012345678901", "x%y+z@d.example"):
        assert check_account(account) == account


# Universes.


@pytest.mark.parametrize("kind", ["service-account", "authorized-user"])
def test_a_key_of_another_universe_needs_its_address_in_the_configuration(
    google: World, kind: str
) -> None:
    google.rewrite(kind, universe_domain="s3nsapis.fr")
    error = rejected(google, kind, endpoints=NONE)
    assert "universe of its own (s3nsapis.fr)" in error.message
    assert "`endpoints.token`" in error.hint
    google.rewrite(kind, universe_domain="\x1b[31m")
    assert "(another one)" in rejected(google, kind, endpoints=NONE).message
    google.provider(kind).issue(google.wish(), None)


# Application default credentials.


@pytest.fixture
def bare(google: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without any; the folder where gcloud would leave its file. A gcloud that is
    started leaves a trace there.
    """
    folder = google.folder / "gcloud"
    folder.mkdir()
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(folder))
    program = google.folder / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {folder}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return folder / "application_default_credentials.json"


@pytest.mark.parametrize(
    ("file", "hops"),
    [
        ("service-account", ["AssertionToken"]),
        ("authorized-user", ["RefreshToken"]),
        ("external-account", ["ExchangeToken", "GenerateAccessToken"]),
        ("impersonated", ["AssertionToken", "GenerateAccessToken"]),
    ],
)
@pytest.mark.parametrize("by_variable", [True, False])
def test_default_credentials_of_each_type_are_found(
    google: World,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    hops: list[str],
    by_variable: bool,
) -> None:
    if by_variable:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.files[file]))
    else:
        google.files[file].rename(bare)
    provider = google.provider("adc")
    assert google.accepts(provider.issue(google.wish(), None).secret)
    assert google.asked(*hops) == hops
    assert provider.lookup().principal in (SERVICE, TARGET, None)
    assert not (bare.parent / "started").exists()


def test_default_credentials_are_looked_for_in_the_usual_order(
    google: World, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = google.provider("adc")
    provider.issue(google.wish(), None)
    google.sandbox.files.authorized_user(bare)
    provider.issue(google.wish(), None)
    path = str(google.files["service-account"])
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
    provider.issue(google.wish(), None)
    assert google.asked() == ["MetadataToken", "RefreshToken", "AssertionToken"]


def test_a_changed_file_of_default_credentials_is_taken_up(google: World, bare: Path) -> None:
    provider = google.provider("adc")
    google.sandbox.files.impersonated(bare, "one@x.iam.gserviceaccount.com")
    provider.issue(google.wish(), None)
    google.sandbox.files.impersonated(bare, "two@x.iam.gserviceaccount.com")
    provider.issue(google.wish(), None)
    assert provider.lookup().principal == "two@x.iam.gserviceaccount.com"
    assert google.sandbox.calls("GenerateAccessToken")[-1].target == "two@x.iam.gserviceaccount.com"


@pytest.mark.usefixtures("bare")
def test_a_variable_that_names_no_file_is_told(
    google: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    assert "names /nowhere.json" in rejected(google, "adc").message


@pytest.mark.usefixtures("bare")
def test_no_default_credentials_at_all_is_a_matter_of_configuration(google: World) -> None:
    nobody = Endpoints(metadata="http://127.0.0.1:9")
    error = rejected(google, "adc", endpoints=nobody)
    assert "no application default credentials" in error.message
    for move in ("GOOGLE_APPLICATION_CREDENTIALS", "gcloud auth", "`source`"):
        assert move in error.hint
    assert google.provider("adc", endpoints=nobody).lookup().principal is None


@pytest.mark.usefixtures("bare")
def test_a_metadata_server_that_answered_once_may_be_away_for_a_while(google: World) -> None:
    provider = google.provider("adc")
    provider.issue(google.wish(), None)
    google.sandbox.stop()
    with pytest.raises(errors.RetryLater):
        provider.issue(google.wish(), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "something_new"},
        {"type": None},
        {"source_credentials": 7},
        {"source_credentials": {"type": "gdch_service_account"}},
        {"service_account_impersonation_url": "nonsense"},
        {"delegates": "nonsense"},
        {"delegates": 7},
    ],
)
def test_default_credentials_that_cannot_be_used_are_refused(
    google: World, bare: Path, changes: dict[str, Any]
) -> None:
    google.rewrite("impersonated", **changes)
    google.files["impersonated"].replace(bare)
    rejected(google, "adc")


def test_the_usual_place_is_below_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.delenv("CLOUDSDK_CONFIG", raising=False)
    with world() as google:
        monkeypatch.setenv("HOME", str(google.folder))
        usual = google.folder / ".config/gcloud/application_default_credentials.json"
        usual.parent.mkdir(parents=True)
        google.sandbox.files.authorized_user(usual)
        google.provider("adc").issue(google.wish(), None)
        assert google.asked() == ["RefreshToken"]
