"""What a configuration means, and what is said of one that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest

from keyman.config import Settings, load, values
from keyman.config.schema import FileShape, OciGenaiSection, Section
from keyman.config.yaml_source import read_yaml
from keyman.core.policy import RetireBy
from keyman.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"
GENAI = """\
credentials:
  genai:
    provider: oci-genai
    region: us-chicago-1
    compartment_id: ocid1.compartment.oc1..x
"""
KEY_ID = "ocid1.generativeaiapikey.oc1.us-chicago-1.amaaaa"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def read(text: str, home: Path, mode: int = 0o600, **environ: str) -> Settings:
    path = home.parent / "config.yaml"
    path.write_text(text)
    path.chmod(mode)
    return load(path, home=home, environ=environ)


def mistakes(text: str, home: Path, mode: int = 0o600, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, home, mode, **environ)
    assert caught.value.problems
    assert all(line in caught.value.message for line in caught.value.problems)
    return [line.removeprefix("config.yaml:") for line in caught.value.problems]


# ---------------------------------------------------------------------------- what it means


def test_without_a_file_everything_has_its_default(home: Path) -> None:
    settings = load(None, home=home, environ={})
    assert (settings.source, dict(settings.credentials)) == (None, {})
    assert settings.database == f"sqlite:///{home}/keyman.db"
    assert settings.store.options()["path"] == home / "secrets.db"
    assert settings.store.options()["key"]["path"] == home / "store.key"
    assert settings.agent.socket == home / "agent.sock"


def test_a_credential_of_few_words(home: Path) -> None:
    genai = read(GENAI, home).credentials["genai"]
    assert genai.options.slots == ("key-one", "key-two")
    assert genai.options.endpoint is None
    assert genai.options.base_url == (
        "https://inference.generativeai.us-chicago-1.oci.oraclecloud.com/20231130/actions/v1"
    )
    spec = genai.spec("installation-1")
    assert (spec.name, spec.provider, spec.installation) == ("genai", "oci-genai", "installation-1")
    assert (spec.slots, spec.key_id, spec.late) == (genai.options.slots, None, timedelta(minutes=6))
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
    options = settings.credentials["genai"].options
    assert options.auth.file == Path("/home/someone/.oci/other")
    assert options.auth.token == home.parent / "token"


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("90d", 7776000), ("12h", 43200), ("0.2s", 0.2), ("250ms", 0.25), ("2w", 1209600), ("0s", 0)],
)
def test_durations(raw: str, seconds: float) -> None:
    assert values.duration(raw) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "raw",
    ["", "90", "d", "-1d", "1 d", "1h30m", "1D", "1.d", "\u0661d", "99999999d", "1e3s", "1d\n"],
)
def test_what_is_no_duration(raw: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.duration(raw)


@pytest.mark.parametrize(
    ("raw", "days", "end"),
    [
        ("Mon-Fri 09:00-17:00 UTC", {0, 1, 2, 3, 4}, time(17)),
        ("sat,Sun 00:00-24:00 Asia/Tokyo", {5, 6}, time.max),
        ("Fri-Mon 01:30-02:00 Etc/GMT+3", {4, 5, 6, 0}, time(2)),
        ("Mon,Wed-Thu  09:00-09:01  UTC", {0, 2, 3}, time(9, 1)),
    ],
)
def test_windows(raw: str, days: set[int], end: time) -> None:
    found = values.window(raw)
    assert (set(found.days), found.end) == (days, end)


@pytest.mark.parametrize(
    "raw",
    [
        "09:00-17:00 UTC",
        "Mon 09:00-17:00",
        "Mun 09:00-17:00 UTC",
        "Mon 17:00-09:00 UTC",
        "Mon 09:00-25:00 UTC",
        "Mon 24:00-24:00 UTC",
        "Mon, 09:00-10:00 UTC",
        "Mon 09:00-10:00 Mars/Base",
        "Mon 09:00-10:00 ../../etc/passwd",
        "Mon 09:00-10:00 America",
    ],
)
def test_what_is_no_window(raw: str) -> None:
    with pytest.raises(ValueError, match=r"must|names"):
        values.window(raw)


@pytest.mark.parametrize(
    "raw",
    ["https://a.example/v1", "http://127.0.0.1:80/x", "http://[::1]:8080", "http://localhost:1"],
)
def test_addresses(raw: str) -> None:
    assert values.url(raw + "/") == raw


@pytest.mark.parametrize(
    "raw",
    [
        "http://a.example",
        "http://127.0.0.1.a.example",
        "http://localhost@a.example",
        "https://u:p@a.example",
        "https://a.example/?q",
        "https://a.example/#",
        "https://a.example:99999",
        "https://a.example\\@b",
        "https://a b",
        "https:///x",
        "https://",
        "ftp://a.example",
        "file:///etc/passwd",
        "https://[::1",
        "https://a.example:0",
        "https://ä.example",
    ],
)
def test_what_is_no_address(raw: str) -> None:
    with pytest.raises(ValueError, match="must"):
        values.url(raw)


# ------------------------------------------------------------------------- what is said of it

MISTAKES = [
    ("store: {kid: memory}", ["1: store.kid: unknown key (did you mean kind?)"]),
    (
        GENAI + "    rotate_befor: 3d",
        ["6: credentials.genai.rotate_befor: unknown key (did you mean rotate_before, under "],
    ),
    (
        GENAI + "    policy:\n      rotate_befor: 3d",
        ["7: credentials.genai.policy.rotate_befor: unknown key (did you mean rotate_before?)"],
    ),
    (
        "log: {level: warn, format: jsn}\nagent: {allow_uids: [0, x]}\ndatabse: x",
        [
            "1: log.level: must be one of debug, info, warning, error (did you mean warning?)",
            "1: log.format: must be one of text, json (did you mean json?)",
            "2: agent.allow_uids[1]: must be a whole number",
            "3: databse: unknown key (did you mean database?)",
        ],
    ),
    ("log:\n  level: info\n  level: debug", ["3: log.level: written twice (first in line 2)"]),
    ("store: {kind: vault}", ["1: store.kind: not in this version"]),
    ("agent: {listen: '127.0.0.1:1'}", ["1: agent.listen: not in this version"]),
    ("agent: {metadata_listen: x}", ["1: agent.metadata_listen: not in this version"]),
    ("notify: [{url: x}]", ["1: notify: not in this version"]),
    ("database: postgresql+psycopg://u:p@h/d", ["1: database: not in this version"]),
    ("database: mysql://h/d", ["1: database: must be sqlite:/// and the path of a file"]),
    ("database: 'sqlite:///:memory:'", ["1: database: must be sqlite:/// and the path of a file"]),
    ("database: sqlite:///a?mode=ro", ["1: database: the path must not contain ?"]),
    (
        "credentials:\n  vertex: {provider: google}",
        ["2: credentials.vertex.provider: not in this version"],
    ),
    (
        "credentials:\n  a: {provider: oci-genia}\n  b: {}\n  c: 3",
        [
            "2: credentials.a.provider: must be one of oci-genai (did you mean oci-genai?)",
            "3: credentials.b: provider is required",
            "4: credentials.c: must be a mapping with at least `provider`",
        ],
    ),
    (
        "credentials:\n  a: {provider: oci-genai}",
        [
            "2: credentials.a: region is required (unless endpoint and base_url are given)",
            "2: credentials.a: compartment_id is required (unless api_key_id is given)",
        ],
    ),
    (
        GENAI + "    slots: [a, a]",
        ["6: credentials.genai.slots: must not name the same thing twice"],
    ),
    (GENAI + "    slots: []", ["6: credentials.genai.slots: must list at least 1"]),
    (
        GENAI + "    slots:\n    - ok\n    - 1/2",
        ["8: credentials.genai.slots[1]: must be letters, digits, - and _, beginning with a "],
    ),
    (
        GENAI + "    api_key_id: ocid1.generativeaiapikey.oc1..a/../b",
        ["6: credentials.genai.api_key_id: must be an OCID (ocid1.generativeaiapikey.…)"],
    ),
    (
        GENAI + "    verify: {successes: 5, every: 30s, within: 2m}",
        ["6: credentials.genai.verify: so many successes, so far apart, do not fit in `within`"],
    ),
    (
        GENAI + "    env: {key: A, base_url: A}",
        ["6: credentials.genai.env: key and base_url must be different variables"],
    ),
    (
        GENAI + "    policy: {lifetime: 50d}",
        ["6: credentials.genai.policy: rotate_before must be less than lifetime"],
    ),
    (
        "log: {level: x}\n" + GENAI + "    bogus: 1\n    policy: {overlap: 40d}",
        [
            "1: log.level: must be one of debug, info, warning, error",
            "7: credentials.genai.bogus: unknown key",
            "8: credentials.genai.policy: overlap must not exceed lifetime - rotate_before",
        ],
    ),
    (
        "defaults: {policy: {overlap: 5s}}",
        ["1: defaults.policy: overlap must be at least max_client_staleness"],
    ),
    (
        "defaults: {retry: {factor: 0.5}}",
        ["1: defaults.retry.factor: must be at least 1.0"],
    ),
    (
        "store: {key: {kind: passphrase}}",
        ["1: store.key: passphrase is required (best as !file or !env)"],
    ),
    ("store: 3", ["1: store: must be a mapping of keys to values"]),
    ("- a", ["1: the file must be a mapping of keys to values"]),
    ("a: 1\n---\nb: 2", ["2: one document is enough: remove this one"]),
    (
        "log: !!python/name:os.system x",
        ["1: log: the only tags are !env NAME", "1: log: must be a mapping"],
    ),
    ("network: {proxy: http://u:p@h:1}", ["1: network.proxy: must not carry a user or a password"]),
    ("log: {level: info}\n\tx: 1", ["2: not valid YAML: found character '\\t' that cannot start"]),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_each_mistake_is_named_with_its_line(text: str, expected: list[str], home: Path) -> None:
    said = mistakes(text, home)
    assert [line[: len(wanted)] for line, wanted in zip(said, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("0-_", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("-a", False),
        ("A", False),
        ("a/b", False),
        ("..", False),
        ('"a\\n"', False),
        ("ä", False),
    ],
)
def test_names_follow_the_grammar(name: str, good: bool, home: Path) -> None:
    text = GENAI.replace("genai:", name + ":", 1)
    if good:
        assert list(read(text, home).credentials) == [name]
    else:
        assert "a name is 1 to 63" in mistakes(text, home)[0]


def test_a_key_that_could_not_be_read_is_not_also_called_missing(home: Path) -> None:
    text = GENAI.replace("us-chicago-1", "!env REGION").replace("ocid1.compartment.oc1..x", "x")
    either = "ocid1.compartment.… or ocid1.tenancy.…"
    assert mistakes(text, home) == [
        "4: credentials.genai.region: the environment variable REGION is not set",
        f"5: credentials.genai.compartment_id: must be an OCID ({either})",
    ]


def test_region_and_compartment_may_be_left_out_where_others_stand_in(home: Path) -> None:
    text = (
        "credentials: {a: {provider: oci-genai, endpoint: 'http://127.0.0.1:1', "
        f"base_url: 'http://127.0.0.1:1/v1', api_key_id: {KEY_ID}}}}}"
    )
    assert read(text, home).credentials["a"].options.region is None


def test_a_socket_has_to_fit_and_strangers_have_to_reach_it(home: Path) -> None:
    stranger = os.getuid() + 1
    assert mistakes(f"agent: {{allow_uids: [{stranger}]}}", home)[0].startswith(
        "1: agent.allow_uids"
    )
    outside = f"agent: {{allow_uids: [{stranger}], socket: /run/keyman/agent.sock}}"
    assert read(outside, home).agent.allow_uids == (stranger,)
    read(f"agent: {{allow_uids: {sorted({0, os.getuid()})}}}", home)
    read(f"agent: {{socket: /{'x' * 99}}}", home)
    assert "is 101 bytes long" in mistakes(f"agent: {{socket: /{'x' * 100}}}", home)[0]


# ---------------------------------------------------------------------- environment and files


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
    assert (credential.options.region, credential.options.slots) == ("eu-frankfurt-1", ("a", "b"))
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
    assert settings.store.key.passphrase is not None
    assert settings.store.key.passphrase.reveal() == "[1, 2]"
    assert settings.log.level == "debug"
    numeric = read("store: {key: {kind: passphrase, passphrase: !env P}}", home, P="007")
    assert numeric.store.key.passphrase is not None
    assert numeric.store.key.passphrase.reveal() == "007"


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


# ------------------------------------------------------------------------------------ secrets


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


# ------------------------------------------------------------------------------------ example


def test_the_example_loads_and_shows_the_defaults(home: Path) -> None:
    example = load(EXAMPLE, home=home, environ={})
    bare = load(None, home=home, environ={})
    for part in ("database", "store", "agent", "network", "log", "defaults"):
        assert getattr(example, part) == getattr(bare, part), part
    shown, short = example.credentials["genai"], read(GENAI, home).credentials["genai"]
    assert (shown.policy, shown.env) == (short.policy, short.env)
    for key in ("api_key_id", "slots", "auth", "endpoint", "base_url", "verify", "late_after"):
        assert getattr(shown.options, key) == getattr(short.options, key), key


def test_the_example_names_every_key_and_no_other(home: Path) -> None:
    commented_out = re.compile(r"^( *)# ([a-z_]+: (?:null|\[\]))$", re.MULTILINE)
    text = commented_out.sub(r"\1\2", EXAMPLE.read_text())
    read(text, home, 0o644)
    written = set(_written(read_yaml(text, "example")[0].plain()))
    known = set(_known(FileShape)) | set(_known(OciGenaiSection, "credentials.genai."))
    # A credential's policy has the keys of defaults.policy, which are not shown twice.
    assert {key for key in known if not key.startswith("credentials.genai.policy.")} == written


def _written(data: Any, prefix: str = "") -> Iterator[str]:
    for key, inner in data.items() if isinstance(data, dict) else ():
        if prefix != "credentials.":
            yield prefix + key
        yield from _written(inner, f"{prefix}{key}.")


def _known(section: type[Section], prefix: str = "") -> Iterator[str]:
    for key, described in section.model_fields.items():
        yield prefix + key
        for inner in (described.annotation, *get_args(described.annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from _known(inner, f"{prefix}{key}.")
