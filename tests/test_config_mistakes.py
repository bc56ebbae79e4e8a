"""What is said of a configuration that is wrong: everything at once, with line and key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyman.config import load
from keyman.errors import ConfigError
from tests.configs import GENAI, mistakes, oci_options, read

KEY_ID = "ocid1.generativeaiapikey.oc1.us-chicago-1.amaaaa"

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
    (  # what was meant by it is in doubt, so the rest of the policy is not weighed against it
        "defaults: {policy: {rotate_befor: 20d, lifetime: 30d}}\n" + GENAI,
        ["1: defaults.policy.rotate_befor: unknown key (did you mean rotate_before?)"],
    ),
    ("log:\n  level: info\n  level: debug", ["3: log.level: written twice (first in line 2)"]),
    (
        "store: {kind: vault, address: https://v:8200/v1/, auth: {kind: token, token: x}}",
        ["1: store: address must end before /v1"],
    ),
    ("store: {kind: vault}", ["1: store: address is required", "1: store.auth: give either"]),
    ("agent: {metadata_listen: x}", ["1: agent.metadata_listen: not in this version"]),
    ("database: postgresql+psycopg://u:p@h/d", ["1: database: not in this version"]),
    ("database: mysql://h/d", ["1: database: must be sqlite:/// and the path of a file"]),
    ("database: 'sqlite:///:memory:'", ["1: database: must be sqlite:/// and the path of a file"]),
    ("database: sqlite:///a?mode=ro", ["1: database: the path must not contain ?"]),
    (
        "credentials:\n  a: {provider: oci-genia}\n  b: {}\n  c: 3",
        [
            "2: credentials.a.provider: must be one of oci-genai, google, openai, static (did you",
            "3: credentials.b: provider is required",
            "4: credentials.c: must be a mapping with at least `provider`",
        ],
    ),
    (
        "credentials:\n  x:\n    provdier: oci-genai\n    region: us-chicago-1\n    regoin: y",
        [
            "2: credentials.x: provider is required",
            "3: credentials.x.provdier: unknown key (did you mean provider?)",
            "5: credentials.x.regoin: unknown key (did you mean region?)",
        ],
    ),
    (
        "credentials:\n  a: {provider: oci-genia, polcy: {}}\n  b: {provdier: openai, admn_key: x}",
        [
            "2: credentials.a.provider: must be one of oci-genai, google, openai, static (did you",
            "2: credentials.a.polcy: unknown key (did you mean policy?)",
            "3: credentials.b: provider is required",
            "3: credentials.b.provdier: unknown key (did you mean provider?)",
            "3: credentials.b.admn_key: unknown key (did you mean admin_key?)",
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
    (GENAI + "    slots: []", ["6: credentials.genai.slots: must list 1 to 16"]),
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
        GENAI.replace("us-chicago-1", "a/b") + "    policy: {lifetime: 50d}",
        [
            "4: credentials.genai.region: must be a region such as us-chicago-1",
            "6: credentials.genai.policy: rotate_before must be less than lifetime",
        ],
    ),
    (
        GENAI + "    policy: {lifetime: 50d, rotate_before: soon}",
        ["6: credentials.genai.policy.rotate_before: must be a duration such as 90d, 12h, 30m"],
    ),
    ("credentials:\n  a:\n    region: x", ["2: credentials.a: provider is required"]),
    (
        GENAI + "    slots: [!env NOT_SET]\n    policy: !env NOT_SET",
        [
            "6: credentials.genai.slots[0]: the environment variable NOT_SET is not set",
            "7: credentials.genai.policy: the environment variable NOT_SET is not set",
        ],
    ),
    (
        "defaults: {policy: {overlap: 5s}}",
        ["1: defaults.policy: overlap must be at least max_client_staleness, which is 60s"],
    ),
    (
        "defaults: {retry: {factor: 0.5}}",
        ["1: defaults.retry.factor: must be at least 1.0"],
    ),
    (
        "store: {key: {kind: passphrase}}",
        ["1: store.key: passphrase is required (best as !file or !env)"],
    ),
    ("store: 3", ["1: store: must be a mapping with at least `kind`"]),
    ("stores: 3", ["1: stores: must be a mapping of names to stores"]),
    ("stores: {default: {kind: memory}}", ["1: stores.default: a name is"]),
    ("stores: {it: {path: x}}", ["1: stores.it: kind is required"]),
    ("stores: {it: {kind: valt}}", ["1: stores.it.kind: must be one of sealed-file"]),
    ("stores: {it: {kind: memory, mount: x}}", ["1: stores.it.mount: unknown key"]),
    ("stores: {it: {kind: oci-vault}}", ["1: stores.it: "] * 4),
    (
        "credentials: {it: {provider: static, store: tem}}\nstores: {team: {kind: memory}}",
        ["1: credentials.it.store: no store has this name (did you mean team?)"],
    ),
    (
        "credentials: {it: {provider: static, mirrors: [default]}}",
        ["1: credentials.it.mirrors: names the store itself"],
    ),
    (
        "credentials: {it: {provider: static, mirrors: [a, a]}}\nstores: {a: {kind: memory}}",
        ["1: credentials.it.mirrors: must not name the same thing twice"],
    ),
    ("- a", ["1: the file must be a mapping of keys to values"]),
    ("a: 1\n---\nb: 2", ["2: one document is enough: remove this one"]),
    (
        "log: !!python/name:os.system x",
        ["1: log: the only tags are !env NAME", "1: log: must be a mapping"],
    ),
    ("network: {proxy: http://u:p@h:1}", ["1: network.proxy: must not carry a user or a password"]),
    ("log: {level: info}\n\tx: 1", ["2: not valid YAML: found character '\\t' that cannot start"]),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


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
    assert oci_options(read(text, home), "a").region is None


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


def test_the_file_is_named_in_full_even_if_it_is_not_yaml(home: Path) -> None:
    path = home.parent / "config.yaml"
    path.write_text("credentials: [\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(path, home=home, environ={})
    assert caught.value.message.startswith(f"1 mistake in {path}: config.yaml:2: not valid YAML")
    assert len(caught.value.problems) == 1
