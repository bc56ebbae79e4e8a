"""What `init` finds, asks and writes, without a terminal and without a provider."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keyman.config import Settings, values
from keyman.config.kinds import PROVIDERS
from keyman.config.loading import judge
from keyman.config.schema import Section
from keyman.config.stores import STORES
from keyman.config.wording import keys_of, sections_of
from keyman.config.yaml_source import read_yaml
from keyman.errors import ConfigError, Conflict, UsageError
from keyman.setting_up import answers as given_as
from keyman.setting_up import placing
from keyman.setting_up.answers import Answers
from keyman.setting_up.question import left_as_it_is
from keyman.setting_up.questions import NAMES, next_question, provider_question
from keyman.setting_up.surroundings import look_around
from keyman.setting_up.writing import SAID, SAID_OF_STORES, Wanted, written

TENANCY, KEY = "ocid1.tenancy.oc1..t", "ocid1.generativeaiapikey.oc1.us-chicago-1.k"
PROFILE = f"[DEFAULT]\ntenancy={TENANCY}\nregion=us-chicago-1\nuser=u\nkey_file=/k.pem\n"
TEAM = "[TEAM]\nsecurity_token_file=/token\nregion=eu-frankfurt-1\n"
ENOUGH: Mapping[str, Answers] = {
    "oci-genai": {"region": "us-chicago-1", "compartment_id": TENANCY},
    "google": {"project": "my-project", "location": "global", "source.kind": "metadata"},
    "openai": {
        "project_id": "proj_x",
        "service_account_id": "svc_acct_x",
        "admin_key": "!env ADMIN",
    },
    "static": {},
}
ENVIRON = {"ADMIN": "sk-admin-x", "HOME": "/home/somebody"}

each_kind = pytest.mark.parametrize("kind", PROVIDERS)


def settings(text: str, folder: Path = Path("/etc/keyman")) -> Settings:
    return judge(text, folder / "config.yaml", home=Path("/var/lib/keyman"), environ=ENVIRON)


# Putting it in its place.


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.yaml"
    placing.put("one", path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("one", 0o600)
    with pytest.raises(Conflict):
        placing.put("two", path)
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for odd in (tmp_path / "file" / "config.yaml", tmp_path / ("x" * 300), tmp_path / "\0"):
        with pytest.raises(ConfigError):
            placing.put("text", odd)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# What lies around.


def person(home: Path, **environ: str) -> dict[str, str]:
    return {"HOME": str(home), **environ}


def file(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_lies_around(tmp_path: Path) -> None:
    around = look_around(person(tmp_path))
    assert (around.found, around.remarks, around.oci, around.google) == ((), (), None, None)


def test_profiles_with_what_they_inherit(tmp_path: Path) -> None:
    file(tmp_path, ".oci/config", PROFILE + TEAM)
    oci = look_around(person(tmp_path)).oci
    assert oci is not None
    assert oci.written == "~/.oci/config"
    found = [(one.name, one.region, one.tenancy, one.session) for one in oci.profiles]
    assert found == [
        ("DEFAULT", "us-chicago-1", TENANCY, False),
        ("TEAM", "eu-frankfurt-1", TENANCY, True),
    ]


def test_a_file_of_profiles_that_the_environment_names(tmp_path: Path) -> None:
    named = file(tmp_path, "elsewhere", PROFILE)
    oci = look_around(person(tmp_path, OCI_CONFIG_FILE=str(named))).oci
    assert oci is not None
    assert oci.written == str(named)
    around = look_around(person(tmp_path, OCI_CONFIG_FILE="/nowhere"))
    assert around.remarks == ("/nowhere: can't be read (No such file or directory)",)


def test_values_that_no_configuration_takes_are_left_out(tmp_path: Path) -> None:
    file(tmp_path, ".oci/config", "[DEFAULT]\nregion=\x1b[2J\ntenancy=<b>\n[ok]\nregion=x y\n")
    oci = look_around(person(tmp_path)).oci
    assert oci is not None
    assert {(one.region, one.tenancy) for one in oci.profiles} == {(None, None)}


@pytest.mark.parametrize(
    ("info", "kind", "project"),
    [
        ({"type": "service_account", "project_id": "mine-1"}, "service-account", "mine-1"),
        ({"type": "authorized_user", "quota_project_id": "payer-1"}, "authorized-user", "payer-1"),
        ({"type": "external_account"}, "external-account", None),
        ({"type": "service_account", "project_id": ["odd"]}, "service-account", None),
    ],
)
def test_a_credentials_file_of_google(
    tmp_path: Path, info: dict[str, Any], kind: str, project: str | None
) -> None:
    file(tmp_path, ".config/gcloud/application_default_credentials.json", json.dumps(info))
    google = look_around(person(tmp_path)).google
    assert google is not None
    assert (google.kind, google.project) == (kind, project)
    assert google.written == "~/.config/gcloud/application_default_credentials.json"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"type": "gdch"}', "{" * 100_000, "null"])
def test_what_is_no_credentials_file_is_a_remark(tmp_path: Path, text: str) -> None:
    odd = file(tmp_path, "odd.json", text)
    around = look_around(person(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(odd)))
    assert around.google is None
    assert around.remarks[0].startswith(f"{odd}: holds no credentials")


def test_no_secret_is_taken_out_of_any_file(tmp_path: Path) -> None:
    file(tmp_path, ".oci/config", PROFILE + "pass_phrase=hunter2\n")
    info = {"type": "service_account", "private_key": "hunter2", "client_secret": "hunter2"}
    named = file(tmp_path, "sa.json", json.dumps(info))
    environ = person(
        tmp_path, OPENAI_ADMIN_KEY="hunter2", GOOGLE_APPLICATION_CREDENTIALS=str(named)
    )
    around = look_around(environ)
    assert around.admin_key
    assert len(around.found) == 3
    assert "hunter2" not in repr(around)


# What is asked.


def asked(kind: str, environ: Mapping[str, str], said: Answers) -> list[str]:
    """The keys that somebody is asked for who always presses Enter, or else types `said`."""
    answers: dict[str, str | None] = {}
    keys = []
    while question := next_question(kind, look_around(environ), answers, environ):
        keys += [question.key] if question.ask else []
        typed = question.default or said.get(question.key)
        answers = {**(question.read(typed) if typed else left_as_it_is(question)), **answers}
    return keys


@each_kind
def test_never_more_than_five_answers(kind: str, tmp_path: Path) -> None:
    """The kind itself is the first; the worst case is that nothing lies around."""
    said = {**ENOUGH[kind], "admin_key": "$ADMIN", "base_url": "https://a.example"}
    environ = {**ENVIRON, "HOME": str(tmp_path)}
    assert len(asked(kind, environ, said)) <= 4
    file(tmp_path, ".oci/config", PROFILE + TEAM)
    assert len(asked(kind, environ, said)) <= 4


def test_the_kind_that_lies_nearest_is_the_default(tmp_path: Path) -> None:
    def default(**environ: str) -> str | None:
        return provider_question(look_around(person(tmp_path, **environ))).default

    assert default() == "oci-genai"
    assert default(OPENAI_ADMIN_KEY="k") == "openai"
    file(tmp_path, ".config/gcloud/application_default_credentials.json", '{"type": "x"}')
    assert default(OPENAI_ADMIN_KEY="k") == "openai"
    user = '{"type": "authorized_user"}'
    file(tmp_path, ".config/gcloud/application_default_credentials.json", user)
    assert default(OPENAI_ADMIN_KEY="k") == "google"
    file(tmp_path, ".oci/config", PROFILE)
    assert default(OPENAI_ADMIN_KEY="k") == "oci-genai"


def test_what_options_said_is_not_asked(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HOME": str(tmp_path)}
    around = look_around(environ)
    said = {"auth.kind": "instance-principal", "region": "us-chicago-1", "api_key_id": None}
    question = next_question("oci-genai", around, said, environ)
    assert question is not None
    assert question.key == "compartment_id"


def test_an_existing_key_needs_no_compartment(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HOME": str(tmp_path)}
    said = {"auth.kind": "instance-principal", "region": "us-chicago-1", "api_key_id": KEY}
    question = next_question("oci-genai", look_around(environ), said, environ)
    assert question is not None
    assert (question.key, question.needed) == ("compartment_id", False)


# What is written.


@each_kind
def test_what_is_written_is_what_was_answered(kind: str) -> None:
    made = settings(written(Wanted(kind, NAMES[kind], ENOUGH[kind]), "x"))
    bare = "\n".join(
        ["credentials:", f"  {NAMES[kind]}:", f"    provider: {kind}"]
        + [
            f"    {key.partition('.')[0]}: {{{key.partition('.')[2]}: {value}}}"
            if "." in key
            else f"    {key}: {value}"
            for key, value in ENOUGH[kind].items()
        ]
    )
    assert made == settings(bare)


@each_kind
def test_lines_that_are_commented_out_are_the_defaults(kind: str) -> None:
    """Each may be taken in by removing its mark, without changing a thing."""
    text = written(Wanted(kind, NAMES[kind], ENOUGH[kind]), "x")
    taken_in = re.sub(r"^( +)# ( *[a-z_]+:( |$))", r"\1\2", text, flags=re.MULTILINE)
    assert taken_in.count("\n") == text.count("\n")
    assert len(re.findall(r"^ +# ", taken_in, re.MULTILINE)) == 2, "but two remarks"
    assert settings(taken_in) == settings(text)


def leaves(section: type[Section], path: str = "") -> Iterator[str]:
    for key, field in keys_of(section).items():
        inner = sections_of(field.annotation)
        if inner and key != "admin_key":
            yield from leaves(inner[0], f"{path}{key}.")
        elif (path + key) not in ("provider", "kind"):
            yield path + key


@each_kind
def test_every_key_of_the_schema_can_be_set(kind: str) -> None:
    for key in leaves(PROVIDERS[kind]):
        said = given_as.of_credential(kind, [f"{key}=!env ADMIN"])
        text = written(Wanted(kind, "it", said), "x")
        top, problems = read_yaml(text, "it")
        node = top.nearest(("credentials", "it", *key.split(".")))
        assert (node.tag, node.value, problems) == ("!env", "ADMIN", []), text


@pytest.mark.parametrize("store", STORES)
def test_and_of_every_store(store: str) -> None:
    for key in leaves(STORES[store]):
        said = given_as.of_store(store, [f"{key}=!env ADMIN"])
        text = written(Wanted("static", "it", {}, store, said), "x")
        top, _ = read_yaml(text, "it")
        assert top.nearest(("store", *key.split("."))).value == "ADMIN", text


def test_what_is_said_is_said_of_keys_that_there_are() -> None:
    sections: list[tuple[type[Section], Mapping[str, str]]]
    sections = [(PROVIDERS[kind], said) for kind, said in SAID.items()]
    sections += [(STORES[kind], said) for kind, said in SAID_OF_STORES.items()]
    for section, said in sections:
        known = set(leaves(section)) | {key.partition(".")[0] for key in leaves(section)}
        assert [key for key in said if key not in known] == []


@example("/tmp/a:")
@example("C:")
@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), min_size=1))
def test_a_value_comes_back_as_it_was_given(value: str) -> None:
    if not value.isprintable() or value.startswith(("[", "{", "!")) or value in ("null", "~"):
        return
    said = {"auth.profile": value, **ENOUGH["oci-genai"]}
    top, problems = read_yaml(written(Wanted("oci-genai", "it", said), "x"), "it")
    node = top.nearest(("credentials", "it", "auth", "profile"))
    assert (node.value, problems) == (value, [])


def test_lists_and_mappings_stay_what_they_are() -> None:
    said = {**ENOUGH["oci-genai"], "slots": "[one, two]"}
    said["policy"] = "{lifetime: 30d, rotate_before: 20d, overlap: 1h}"
    made = settings(written(Wanted("oci-genai", "it", said), "x")).credentials["it"]
    assert made.options.slots == ("one", "two")  # type: ignore[union-attr]
    assert made.policy.lifetime.days == 30


@pytest.mark.parametrize(
    ("kind", "given", "allowed"),
    [
        ("openai", "admin_key=!env ADMIN", True),
        ("openai", "admin_key=!file /a b", True),
        ("openai", "admin_key={credential: admin}", True),
        ("openai", "admin_key=abcdefgh", False),
        ("openai", "project_id=sk-admin-0123456789", False),
        ("openai", "admin_key={credential: sk-0123456789}", False),
        ("oci-genai", "auth.token=/run/token", True),
    ],
)
def test_secrets_may_be_pointed_at_only(kind: str, given: str, allowed: bool) -> None:
    if allowed:
        given_as.of_credential(kind, [given])
        return
    with pytest.raises(UsageError) as refused:
        given_as.of_credential(kind, [given])
    assert "0123456789" not in refused.value.message + refused.value.hint


def test_and_so_may_those_of_stores() -> None:
    for secret in ("auth.token=hvs.x", "auth.secret_id=x"):
        with pytest.raises(UsageError):
            given_as.of_store("vault", [secret])
    with pytest.raises(UsageError):
        given_as.of_store("sealed-file", ["key.passphrase=x"])
    given_as.of_store("oci-vault", ["auth.token=/run/token"])


def test_the_usual_names_are_names() -> None:
    assert all(values.NAME.fullmatch(name) for name in NAMES.values())
    assert NAMES.keys() == PROVIDERS.keys()
