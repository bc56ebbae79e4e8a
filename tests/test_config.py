"""What a configuration means: defaults, the environment, files, secrets, and the example."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyman.config import Settings, load
from keyman.config.kinds import PROVIDERS
from keyman.config.schema import FileShape, PolicySection, Section
from keyman.config.stores import STORES
from keyman.config.wording import keys_of, sections_of
from keyman.config.yaml_source import read_yaml
from keyman.core.policy import RetireBy
from keyman.errors import ConfigError
from tests.configs import GENAI, mistakes, oci_options, read

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_without_a_file_everything_has_its_default(home: Path) -> None:
    settings = load(None, home=home, environ={})
    assert (settings.source, dict(settings.credentials)) == (None, {})
    assert settings.database == f"sqlite:///{home}/keyman.db"
    assert settings.store.options()["path"] == home / "secrets.db"
    assert settings.store.options()["key"]["path"] == home / "store.key"
    assert settings.agent.socket == home / "agent.sock"


def test_a_credential_of_few_words(home: Path) -> None:
    settings = read(GENAI, home)
    genai, options = settings.credentials["genai"], oci_options(settings)
    assert options.slots == ("key-one", "key-two")
    assert options.endpoint is None
    assert options.base_url == (
        "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/v1"
    )
    spec = genai.spec("installation-1")
    assert (spec.name, spec.provider, spec.installation) == ("genai", "oci-genai", "installation-1")
    assert (spec.slots, spec.key_id, spec.late) == (options.slots, None, timedelta(minutes=6))
    assert (spec.observes, spec.claims, spec.issues) == (True, True, True)


def test_a_credentials_policy_lies_over_the_defaults_and_those_over_ours(home: Path) -> None:
    defaults = (
        "defaults: {policy: {lifetime: 80d, overlap: 2h}, "
        "max_client_staleness: 5m, retry: {max: 2h}}\n"
    )
    own = (
        '    policy: {overlap: 3h, retire: revoke, window: "Mon-Fri 09:00-17:00 Asia/Tokyo"}\n'
        "    verify: {successes: 3, within: 1m}\n"
    )
    settings = read(defaults + GENAI + own, home)
    policy = settings.credentials["genai"].policy
    assert (policy.lifetime, policy.rotate_before) == (timedelta(days=80), timedelta(days=60))
    assert (policy.overlap, policy.retire) == (timedelta(hours=3), RetireBy.REVOKE)
    assert policy.max_client_staleness == timedelta(minutes=5)
    assert (policy.retry.first, policy.retry.max) == (timedelta(seconds=1), timedelta(hours=2))
    assert (policy.verify.successes, policy.verify.within) == (3, timedelta(minutes=1))
    assert policy.window is not None
    saturday = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert policy.window.opening(saturday) == datetime(2026, 11, 23, 0, tzinfo=UTC)
    assert settings.defaults.overlap == timedelta(hours=2)


def test_paths_lie_below_the_home_the_user_or_the_file(home: Path) -> None:
    auth = "    auth: {kind: session-token, file: ~/.oci/other, token: token}\n"
    settings = read("network: {ca_bundle: ca.pem}\n" + GENAI + auth, home, HOME="/home/someone")
    assert settings.network.ca_bundle == home.parent / "ca.pem"
    options = oci_options(settings)
    assert options.auth.file == Path("/home/someone/.oci/other")
    assert options.auth.token == home.parent / "token"


# ---------------------------------------------------------------------------- environment and files


def test_the_environment_wins(home: Path) -> None:
    settings = read(
        GENAI.replace("genai:", "gen-ai_2:", 1),
        home,
        KEYMAN__STORE__KIND="memory",
        keyman__log__level="debug",
        KEYMAN__CREDENTIALS__GEN_AI_2__REGION="eu-frankfurt-1",
        KEYMAN__CREDENTIALS__GEN_AI_2__SLOTS="[a, b]",
        KEYMAN__CREDENTIALS__GEN_AI_2__POLICY__OVERLAP="48h",
        KEYMAN__AGENT__ALLOW_UIDS="[0]",
        KEYMAN__NETWORK__PROXY="",
        KEYMAN_HOME="/elsewhere",
    )
    assert (settings.store.kind, settings.log.level) == ("memory", "debug")
    credential = settings.credentials["gen-ai_2"]
    options = oci_options(settings, "gen-ai_2")
    assert (options.region, options.slots) == ("eu-frankfurt-1", ("a", "b"))
    assert credential.policy.overlap == timedelta(hours=48)
    assert settings.agent.allow_uids == (0,)


def test_an_override_leaves_what_shares_an_alias_alone(home: Path) -> None:
    text = GENAI.replace("genai:", "one: &c", 1) + "    policy: {overlap: 2h}\n  two: *c\n"
    settings = read(text, home, KEYMAN__CREDENTIALS__TWO__POLICY__OVERLAP="3h")
    overlaps = [c.policy.overlap.total_seconds() / 3600 for c in settings.credentials.values()]
    assert overlaps == [2, 3]


def test_mistakes_in_the_environment_name_the_variable(home: Path) -> None:
    two = GENAI.replace("genai:", "a-b:", 1) + GENAI.replace("credentials:\n", "").replace(
        "genai:", "a_b:", 1
    )
    assert mistakes(
        two,
        home,
        KEYMAN__LOG__LEVEL="loud",
        KEYMAN__STOER__KIND="memory",
        KEYMAN__CREDENTIALS__A_B__REGION="x",
        KEYMAN__NETWORK__PROXY="http://h:1",
        keyman__network__proxy="http://h:2",
    ) == [
        "KEYMAN__CREDENTIALS__A_B__REGION: may mean a-b or a_b",
        "keyman__network__proxy: set twice (also by KEYMAN__NETWORK__PROXY)",
        "KEYMAN__LOG__LEVEL: log.level: must be one of debug, info, warning, error",
        "KEYMAN__STOER__KIND: stoer: unknown key (did you mean store?)",
    ]


def test_env_and_file_bring_text_whatever_it_looks_like(home: Path) -> None:
    (home.parent / "pass").write_bytes(b"\xef\xbb\xbf[1, 2]\n")
    text = "store: {key: {kind: passphrase, passphrase: !file pass}}\nlog: {level: !env LEVEL}"
    settings = read(text, home, LEVEL="debug")
    assert settings.store.options()["key"]["passphrase"].reveal() == "[1, 2]"
    assert settings.log.level == "debug"
    numeric = read("store: {key: {kind: passphrase, passphrase: !env P}}", home, P="007")
    assert numeric.store.options()["key"]["passphrase"].reveal() == "007"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "the file missing cannot be read: No such file or directory"),
        ("../outside", "a relative path must stay below the configuration's folder"),
        (".", "the file . is not a regular file"),
        ("big", "the file big is larger than 64 KiB"),
        ("latin", "the file latin is not UTF-8 text (line 2)"),
        ("wide", "the file wide can be written by others"),
        ("nul", "the file nul holds something that is not text"),
        ("pipe", "the file pipe is not a regular file"),
        ("''", "names no file"),
        ("link", "a relative path must stay below the configuration's folder"),
    ],
)
def test_files_that_cannot_be_followed(name: str, said: str, home: Path) -> None:
    folder = home.parent
    (folder / "big").write_text("x" * 65537)
    (folder / "latin").write_bytes(b"ok\n\xff")
    (folder / "wide").touch()
    (folder / "wide").chmod(0o666)
    (folder / "nul").write_bytes(b"a\0b")
    (folder / "link").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    assert mistakes(f"log: {{level: !file {name}}}", home) == [f"1: log.level: {said}"]


# ------------------------------------------------------------------------------------------ secrets


def test_a_secret_written_out_wants_a_file_that_others_cannot_read(home: Path) -> None:
    text = "store: {key: {kind: passphrase, passphrase: canary-7f3a}}"
    assert "a secret is written out" in mistakes(text, home, 0o644)[0]
    assert "canary" not in repr(read(text, home))
    read(text.replace("canary-7f3a", "!env P"), home, 0o644, P="canary-7f3a")
    read("log: {level: info}", home, 0o644)


@pytest.mark.parametrize(
    "text",
    [
        "store: {key: {kind: CANARY, passphrase: CANARY}}",
        "store: {key: {kind: passphrase, passphrase: [CANARY]}}",
        "store: {key: {kind: passphrase, passphrase: !CANARY x}}",
        "store: {key: {kind: passphrase, passphrase: !CANARY!x x}}",
        "store: {key: {kind: passphrase, passphrase: *CANARY}}",
        'store: {key: {kind: passphrase, passphrase: "CANARY\\n"}}',
        'store: {key: {kind: passphrase, passphrase: "CANARY}}',
        "credentials: {a: {provider: openai, admin_key: CANARY}}",
        "credentials: {a: {provider: CANARY, region: CANARY, policy: CANARY}}",
        "credentials: {a: {provider: oci-genai, region: CANARY, slots: CANARY, verify: CANARY}}",
        "agent: {allow_uids: [CANARY]}\ndefaults: {retry: {factor: CANARY, first: CANARY}}",
        "database: postgresql://u:CANARY@h/d",
        "network: {proxy: 'http://u:CANARY@h:1'}",
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_no_message_repeats_a_value(text: str, mode: int, home: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, home, mode)
    error = caught.value
    told = f"{error!r} {error.message} {error.hint} {error.problems} {error.__cause__!r}"
    assert "CANARY" not in told
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


# ------------------------------------------------------------------------------------------ example


def test_the_example_loads_and_shows_the_defaults(home: Path) -> None:
    example = _example(home)
    bare = load(None, home=home, environ={})
    for part in ("database", "store", "agent", "network", "log", "defaults"):
        assert getattr(example, part) == getattr(bare, part), part


VAULT = """\
store:
  kind: vault
  address: https://vault.example.com:8200
  auth: {kind: approle, role_id: r}
stores:
  aws: {kind: aws-secrets-manager, region: eu-central-1}
credentials:
  it: {provider: static, store: aws, mirrors: [default]}
"""


def test_stores_are_known_by_name_and_credentials_say_which(home: Path) -> None:
    settings = read(VAULT, home)
    assert {name: store.kind for name, store in settings.stores.items()} == {
        "default": "vault",
        "aws": "aws-secrets-manager",
    }
    assert settings.store.options()["auth"]["role_id"] == "r"
    assert (settings.credentials["it"].store, settings.credentials["it"].mirrors) == (
        "aws",
        ("default",),
    )


def test_a_variable_may_change_the_kind_of_store_and_the_rest_stays_written(home: Path) -> None:
    settings = read(VAULT, home, KEYMAN__STORE__KIND="memory")
    assert (settings.store.kind, settings.store.options()) == ("memory", {})


def test_a_secret_of_a_store_is_not_written_where_others_read_it(home: Path) -> None:
    text = "store: {kind: vault, address: 'https://v', auth: {token: hvs.x}}\n"
    with pytest.raises(ConfigError, match="a secret is written out"):
        read(text, home, 0o644)
    token_file = "credentials: {a: {provider: google, endpoints: {token: 'https://x'}}}\n"
    with pytest.raises(ConfigError) as refused:
        read(token_file, home, 0o644)
    assert not any("a secret is written out" in line for line in refused.value.problems)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_the_example_shows_the_defaults_of_each_kind(provider: str, home: Path) -> None:
    """What it gives beyond the keys without a default is what leaving them out gives."""
    few = FEW_WORDS[provider]
    shown = next(c for c in _example(home).credentials.values() if c.provider == provider)
    short = read("credentials:\n  it:\n" + few + ADMIN, home).credentials["it"]
    assert (shown.policy, shown.env) == (short.policy, short.env)
    without = re.findall(r"^ {4}([a-z_]+):", few, re.MULTILINE)
    for key in (item.name for item in fields(shown.options)):
        if key not in without and key != "admin_credential":
            theirs, ours = getattr(shown.options, key), getattr(short.options, key)
            # The example's own folder is where its files lie.
            assert str(theirs) == str(ours).replace(str(home.parent), str(EXAMPLE.parent)), key


FEW_WORDS = {
    "oci-genai": (
        "    provider: oci-genai\n    region: us-chicago-1\n"
        "    compartment_id: ocid1.compartment.oc1..x\n"
    ),
    "google": (
        "    provider: google\n    project: my-project\n    location: us-central1\n"
        "    source: {kind: service-account, file: sa.json}\n"
    ),
    "openai": (
        "    provider: openai\n    admin_key: {credential: openai-admin}\n"
        "    project_id: proj_x\n    service_account_id: svc_acct_x\n"
    ),
    "static": "    provider: static\n",
}
ADMIN = "  openai-admin: {provider: static}\n"


def _example(home: Path) -> Settings:
    return load(EXAMPLE, home=home, environ={})


def test_the_example_names_every_key_and_no_other(home: Path) -> None:
    commented_out = re.compile(r"^( *)# ([a-z_]+: (?:null|\[\]))$", re.MULTILINE)
    text = commented_out.sub(r"\1\2", EXAMPLE.read_text())
    read(text, home, 0o644)
    data: Any = read_yaml(text, "example")[0].plain()
    kinds = data.pop("credentials").values()
    stores = [data.pop("store"), *data.pop("stores").values()]
    named = {"credentials", "store", "stores"}
    listed = {
        key for key in _known(FileShape) if key.startswith("notify.")
    }  # test_config_notify.py
    assert set(_written(data)) | named == set(_known(FileShape)) - listed
    for kind, store in STORES.items():
        written = [set(_written(one)) for one in stores if one["kind"] == kind]
        assert not written or set(_known(store)) == set().union(*written), kind
    assert {STORES[one["kind"]] for one in stores} == set(STORES.values())
    for provider, section in PROVIDERS.items():
        shown = [set(_written(one)) for one in kinds if one["provider"] == provider]
        # A policy with the keys of defaults.policy does not show them again.
        usual = {f"policy.{key}" for key in PolicySection.model_fields}
        shared = usual if section.model_fields["policy"].annotation is PolicySection else set()
        assert set(_known(section)) - shared == set().union(*shown), provider


def _written(data: Any, prefix: str = "") -> Iterator[str]:
    for key, inner in data.items() if isinstance(data, dict) else ():
        yield prefix + key
        yield from _written(inner, f"{prefix}{key}.")


def _known(section: type[Section], prefix: str = "") -> Iterator[str]:
    for key, described in keys_of(section).items():
        yield prefix + key
        for inner in sections_of(described.annotation):
            yield from _known(inner, f"{prefix}{key}.")
