"""`keyman env`: what a shell is told to set and to unset, and how it is named."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import platformdirs
import pytest

from keyman.cli import variables
from keyman.config.settings import EnvNames
from tests.commands.odd_agent import lookup, odd_agent
from tests.commands.world import ROOT, Home
from tests.judges import program

STRAYS = "unset -v OPENAI_PROJECT_ID\nunset -v OPENAI_ORG_ID\n"
PARTNER = "  partner:\n    provider: static\n    base_url: https://api.example.com/v1\n"


@pytest.fixture
def started(place: Home) -> Home:
    place.environ["SHELL"] = "/bin/bash"
    place.start()
    return place


def with_partner(place: Home, secret: str, more: str = "") -> None:
    """Another credential, whose secret comes by hand."""
    place.config.write_text(place.config.read_text() + PARTNER + more)
    done = place.keyman("put", "partner", stdin=secret)
    assert done.status == 0, done.err


def test_the_lines_for_a_shell_with_and_without_a_daemon(started: Home) -> None:
    secret = started.keyman("get", "genai").out.strip()
    url = started.keyman("get", "genai", "--field", "base_url").out.strip()
    lines = f"export OPENAI_API_KEY={secret}\nexport OPENAI_BASE_URL={url}\n{STRAYS}"
    alone = started.run("env", "genai")
    assert (alone.status, alone.out, alone.err) == (0, lines, "")
    with started.daemon():
        served = started.run("env", "genai")
    assert (served.status, served.out, served.err) == (0, lines, "")


def test_a_shell_that_runs_them_has_the_secret_and_no_strays(started: Home) -> None:
    with_partner(started, 'it\'s $HOME "quoted" \\ and # more')
    shown = 'printf "%s|%s|%s" "$OPENAI_API_KEY" "$OPENAI_BASE_URL" "${OPENAI_ORG_ID-none}"'
    ran = subprocess.run(
        [program("sh"), "-c", f"{started.keyman('env', 'partner').out}{shown}"],
        env={"OPENAI_ORG_ID": "org-left-over"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = 'it\'s $HOME "quoted" \\ and # more|https://api.example.com/v1|none'
    assert ran.stdout == expected


@pytest.mark.parametrize(
    ("shell", "first"),
    [
        ("/bin/bash", "export OPENAI_API_KEY="),
        ("/usr/bin/zsh", "export OPENAI_API_KEY="),
        ("", "export OPENAI_API_KEY="),
        ("/usr/bin/fish", "set -gx OPENAI_API_KEY "),
        ("/opt/microsoft/powershell/7/pwsh", "$env:OPENAI_API_KEY = '"),
    ],
)
def test_the_shell_that_is_used_decides(started: Home, shell: str, first: str) -> None:
    started.environ["SHELL"] = shell
    assert started.keyman("env", "genai").out.startswith(first)


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("sh", "export OPENAI_API_KEY="),
        ("bash", "export OPENAI_API_KEY="),
        ("zsh", "export OPENAI_API_KEY="),
        ("fish", "set -gx OPENAI_API_KEY "),
        ("powershell", "$env:OPENAI_API_KEY = '"),
        ("cmd", 'set "OPENAI_API_KEY='),
        ("dotenv", "OPENAI_API_KEY="),
        ("json", '{"OPENAI_API_KEY": "'),
    ],
)
def test_the_format_that_is_asked_for_wins(started: Home, form: str, first: str) -> None:
    started.environ["SHELL"] = "/usr/bin/fish" if form != "fish" else "/bin/sh"
    done = started.keyman("env", "genai", f"--format={form}")
    assert (done.status, done.out.startswith(first)) == (0, True), done.out


def test_json_names_what_is_to_be_unset(started: Home) -> None:
    said = started.keyman("env", "genai", "--json").json
    assert said == started.keyman("env", "genai", "--format", "json").json
    assert list(said) == [
        *("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *("OPENAI_PROJECT_ID", "OPENAI_ORG_ID"),
    ]
    assert said["OPENAI_API_KEY"].startswith("sk-sandbox-")
    assert (said["OPENAI_PROJECT_ID"], said["OPENAI_ORG_ID"]) == (None, None)


def test_no_locale_changes_a_secret(place: Home) -> None:
    place.environ |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    with odd_agent(lookup("sk-é€")) as path:
        place.environ["KEYMAN_SOCKET"] = str(path)
        with place.process("get", "odd", text=False) as process:
            assert process.stdout is not None
            assert process.stdout.read().decode() == "sk-é€\n"  # type: ignore[attr-defined]
        done = place.run("run", "odd", "--", "printenv", "OPENAI_API_KEY")
    assert done.out == "sk-é€\n"


def test_what_lies_here_does_not_stand_in_for_an_agent_elsewhere(started: Home) -> None:
    started.environ |= {"KEYMAN_URL": "http://127.0.0.1:9", "KEYMAN_TOKEN": f"kmc_{43 * 'x'}"}
    for words in (["env", "genai"], ["get", "genai"], ["run", "genai", "--", "true"]):
        done = started.run(*words)
        assert (done.status, done.out, done.err.count("\n")) == (6, "", 2), done.err


# Names of variables.


def test_the_configuration_names_the_variables(started: Home) -> None:
    started.configure(env="{key: MY_KEY, base_url: OPENAI_ORG_ID}")
    said = started.keyman("env", "genai", "--json").json
    assert list(said) == ["MY_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"]
    assert said["OPENAI_ORG_ID"].startswith("http")
    assert said["OPENAI_PROJECT_ID"] is None


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ('"\\x65nv": {key: ESCAPED}', "ESCAPED"),
        ("'env' : {'key': QUOTED}", "QUOTED"),
        ("env: {key: !env NAME_OF_IT}", "NAMED"),
        ("env: {base_url: OTHER_URL}", "OPENAI_API_KEY"),
    ],
)
def test_however_they_are_written(started: Home, written: str, key: str) -> None:
    started.environ["NAME_OF_IT"] = "NAMED"
    text = started.config.read_text()
    started.config.write_text(f"{text}    {written}\n")
    done = started.keyman("env", "genai", "--unset")
    assert done.out.startswith(f"unset -v {key}\n"), done.err


@pytest.mark.parametrize(
    "variable", ["KEYMAN__CREDENTIALS__GENAI__ENV__KEY", "keyman__credentials__genai__env__key"]
)
def test_the_environment_lies_over_the_configuration(started: Home, variable: str) -> None:
    started.environ[variable] = "OVERLAID"
    assert started.keyman("env", "genai", "--unset").out.startswith("unset -v OVERLAID\n")


def test_what_else_is_wrong_in_the_configuration_stands_in_nobody_s_way(started: Home) -> None:
    """The daemon has variables that whoever asks it need not have."""
    with started.daemon():
        text = started.config.read_text()
        started.config.write_text(f"log: {{level: !env LOG_LEVEL}}\n{text.partition(chr(10))[2]}")
        started.config.chmod(0o600)
        assert started.keyman("env", "genai").status == 0
        started.config.write_text(f"{started.config.read_text()}    env: {{key: MINE}}\n")
        assert started.keyman("env", "genai").out.startswith("export MINE=")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("{key: !env NOT_SET}", "NOT_SET is not set"),
        ("{key: 1st}", "env.key must be the name of an environment variable"),
        ("{key: [A]}", "env.key must be the name of an environment variable"),
    ],
)
def test_variables_that_can_t_be_told_are_an_error(started: Home, env: str, said: str) -> None:
    started.configure(env=env)
    done = started.keyman("env", "genai")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 2)
    assert "genai" in done.err
    assert said in done.err


def test_a_configuration_that_is_named_must_be_there(started: Home) -> None:
    started.environ["KEYMAN_CONFIG"] = str(started.folder / "nowhere.yaml")
    done = started.keyman("env", "genai", "--unset")
    assert (done.status, done.out) == (2, "")


def test_var_names_the_secret_alone(started: Home) -> None:
    done = started.keyman("env", "genai", "--var", "MY_KEY", "--format", "sh")
    assert [line.partition("=")[0] for line in done.out.splitlines()] == [
        *("export MY_KEY", "export OPENAI_BASE_URL"),
        *STRAYS.splitlines(),
    ]


def test_several_names_with_variables_of_their_own(started: Home) -> None:
    with_partner(started, "sk-partner", "    env: {key: PARTNER_KEY, base_url: PARTNER_URL}\n")
    said = started.keyman("env", "genai", "partner", "--json").json
    assert (said["PARTNER_KEY"], said["PARTNER_URL"]) == (
        "sk-partner",
        "https://api.example.com/v1",
    )
    assert said["OPENAI_API_KEY"].startswith("sk-sandbox-")


def test_two_names_for_one_variable_are_refused(started: Home) -> None:
    with_partner(started, "sk-partner")
    done = started.keyman("env", "genai", "partner")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [
        "keyman: error: genai and partner would both be OPENAI_API_KEY",
        f"keyman: hint: {variables.HOW_TO_RENAME}",
    ]
    assert started.keyman("env", "genai", "genai").status == 0


def test_an_address_that_nobody_knows_is_left_alone(started: Home) -> None:
    text = started.config.read_text()
    started.config.write_text(f"{text}  bare:\n    provider: static\n")
    assert started.keyman("put", "bare", stdin="sk-bare").status == 0
    assert started.keyman("env", "bare").out == f"export OPENAI_API_KEY=sk-bare\n{STRAYS}"


# Removing.


def test_unset_needs_neither_agent_nor_journal(place: Home) -> None:
    done = place.keyman("env", "genai", "--unset", "--format", "sh")
    assert done.out == "unset -v OPENAI_API_KEY\nunset -v OPENAI_BASE_URL\n"
    said = place.keyman("env", "genai", "--unset", "--json").json
    assert said == {"OPENAI_API_KEY": None, "OPENAI_BASE_URL": None}
    assert not place.state.exists()


# Mistakes.


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("", 2),
        ("genai --format tcsh", 2),
        ("genai --format", 2),
        ("genai --loudly", 2),
        ("genai --persist", 2),
        ("genai --persist --format cmd", 2),
        ("genai --unset --format dotenv", 2),
        ("genai partner --var X", 2),
        ("genai --var 1X", 2),
        ("genai --var X-Y", 2),
        ("genai --var ÄX", 2),
        ("genai --var OPENAI_BASE_URL", 2),
        ("nobody", 3),
        ("Genai", 3),
        ("Genai --unset", 3),
    ],
)
def test_mistakes_are_two_lines_and_print_nothing(started: Home, words: str, status: int) -> None:
    done = started.keyman("env", *words.split())
    assert (done.status, done.out, done.err.count("\n")) == (status, "", 2), done.err


def test_csh_is_told_what_to_do_instead(started: Home) -> None:
    started.environ["SHELL"] = "/bin/tcsh"
    done = started.keyman("env", "genai")
    assert (done.status, done.out) == (2, "")
    assert "keyman run" in done.err
    assert started.keyman("env", "genai", "--format", "sh").status == 0


@pytest.mark.parametrize("form", ["sh", "fish", "powershell", "cmd", "dotenv", "json"])
def test_a_secret_of_several_lines_is_refused(place: Home, form: str) -> None:
    with odd_agent(lookup("sk-first\nsk-second")) as path:
        place.environ["KEYMAN_SOCKET"] = str(path)
        done = place.keyman("env", "odd", "--format", form)
        said = place.keyman("env", "odd", "--json")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 2)
    assert "sk-" not in done.err
    assert said.json["error"]["code"] == "usage"


# What it costs.


def test_it_needs_the_standard_library_only(started: Home) -> None:
    """As long as an agent answers and the configuration renames nothing."""
    program = (
        f"import sys; sys.path.append({str(ROOT)!r}); sys.argv = ['keyman', 'env', 'genai']\n"
        "from keyman.__main__ import main\n"
        "status = main()\n"
        "heavy = {'re', 'json', 'socket', 'pathlib', 'logging', 'click', 'yaml', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "sys.exit(status)\n"
    )
    with started.daemon():
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program],
            env=started.variables,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ran.returncode, ran.stdout.startswith("export OPENAI_API_KEY=")) == (0, True), (
        ran.stderr
    )


def test_its_usual_names_and_folder_are_those_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tuple(field.default for field in fields(EnvNames)) == variables.USUAL
    for folder in ("", "  ", "/elsewhere/config"):
        monkeypatch.setenv("XDG_CONFIG_HOME", folder)
        usual = platformdirs.user_config_path("keyman", appauthor=False) / "config.yaml"
        assert Path(variables._usual_config()) == usual
