"""`keyman init`: from an empty home to a credential that rotates, asked or scripted; what it finds,
what it refuses, and what is left of it when it is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from keyman import errors
from keyman.config import OciGenaiOptions
from keyman.sandbox.openai import OpenAISandbox
from keyman.setting_up import placing
from tests.commands import killed
from tests.commands.shapes import FINDING, mistakes
from tests.commands.terminals import at_a_terminal
from tests.commands.world import COMPARTMENT, GENEROUS, ROOT, Cloud, Done, Home
from tests.scratch import short_folder

TENANCY = "ocid1.tenancy.oc1..sandbox"


@pytest.fixture
def bare(sky: Cloud) -> Iterator[Home]:
    """A home of a person who has a profile of Oracle's and nothing of keyman's."""
    folder = short_folder()
    made = Home(sky, folder, {"OCI_CONFIG_FILE": str(sky.profile)})
    for name in ("OPENAI_ADMIN_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"):
        made.environ[name] = ""
    yield made
    shutil.rmtree(folder)


def scripted(place: Home, *words: str) -> Done:
    """With the sandbox's address, which no profile knows."""
    url = place.cloud.url
    told = ("--set", f"endpoint={url}", "--set", f"base_url={url}/20231130/actions/v1")
    return place.keyman("init", "--provider", "oci-genai", *told, *words)


def test_five_answers_lead_to_a_credential_that_rotates(bare: Home) -> None:
    answers = ["", bare.cloud.url, "", ""]  # Enter, but for the sandbox's address
    with at_a_terminal(bare, "init") as person:
        assert "profile DEFAULT (us-chicago-1)" in person.sees("What should keyman keep?")
        for answer in answers:
            person.sees("\n>")
            person.types(answer)
        assert person.ends() == 0, person.shown
    assert "next: keyman daemon" in person.shown
    assert "manage generative-ai-apikey" in person.shown
    assert "0 errors, 0 warnings" in person.shown
    assert person.shown.count("\n>") == len(answers) <= 5
    assert stat.S_IMODE(bare.config.stat().st_mode) == 0o600
    assert (bare.state / "keyman.db").is_file()
    assert (bare.state / "store.key").is_file()
    assert bare.run("daemon", "--once").status == 0
    assert bare.keyman("rotate", "genai").status == 0
    assert bare.keyman("get", "genai", "--field", "version").out == "2\n"


def test_what_is_typed_wrong_is_asked_again_and_ctrl_c_writes_nothing(bare: Home) -> None:
    with at_a_terminal(bare, "init") as person:
        person.sees("\n>")
        person.types("oracle")
        person.sees("that is none of oci-genai, google, openai, static")
        person.sees(">")
        person.types("oci-genai")
        person.sees("Region")
        person.types("http://evil.example.com:80")
        person.sees("that must begin with https://")
        person.types("https://evil.example.com")
        person.sees("that is no sandbox of this machine")
        assert person.interrupts() == 130
    assert not bare.config.exists()
    assert not bare.state.exists()


@pytest.mark.slow
def test_of_several_profiles_one_is_asked_for(bare: Home) -> None:
    file = bare.folder / ".oci" / "config"
    file.parent.mkdir()
    text = bare.cloud.profile.read_text()
    file.write_text(text + "[TEAM]\nregion=eu-frankfurt-1\nsecurity_token_file=/t\nkey_file=/k\n")
    bare.environ["OCI_CONFIG_FILE"] = ""
    with at_a_terminal(bare, "init", "--provider", "oci-genai") as person:
        person.sees("Which profile of ~/.oci/config? DEFAULT, TEAM")
        person.sees("[DEFAULT]")
        person.types("TEAM")
        person.sees("[eu-frankfurt-1]")
        person.types()
        person.sees(f"[{TENANCY}]")  # the default section's, as OCI's own tools have it
        person.types()
        person.sees("Enter: have one made")
        person.types()
        person.ends()
    auth = bare.settings.credentials["genai"].options.auth  # type: ignore[union-attr]
    assert (auth.kind, auth.profile, auth.file) == ("session-token", "TEAM", file)
    assert f"file: {file}" not in bare.config.read_text()  # it is where it is expected


@pytest.mark.slow
def test_what_options_said_stands_whatever_is_answered(bare: Home) -> None:
    elsewhere = "http://127.0.0.1:9/openai/v1"
    words = ("--provider", "oci-genai", "--set", f"base_url={elsewhere}")
    with at_a_terminal(bare, "init", *words) as person:
        for answer in (bare.cloud.url, "", ""):
            person.sees("\n>")
            person.types(answer)
        person.ends()
    options = bare.settings.credentials["genai"].options
    assert isinstance(options, OciGenaiOptions)
    assert (options.endpoint, options.base_url) == (bare.cloud.url, elsewhere)


def test_scripted(bare: Home) -> None:
    done = scripted(bare, "--set", f"compartment_id={COMPARTMENT}", "--name", "chat", "--json")
    assert (done.status, done.err) == (0, "")
    said = done.json
    assert [m for one in said["findings"] for m in mistakes(one, FINDING)] == []
    assert (said["config"], said["home"]) == (str(bare.config), str(bare.state))
    assert (said["credential"], said["provider"]) == ("chat", "oci-genai")
    assert any(COMPARTMENT in statement for statement in said["statements"])
    assert said["next"] == "keyman daemon"
    usual = {"key_beside_store", "notify_empty"}
    assert {one["code"] for one in said["findings"]} == {"will_create", *usual}
    assert bare.keyman("check").status == 0


def test_an_existing_key_is_to_be_adopted_next(bare: Home) -> None:
    key, secrets = bare.cloud.by_hand()
    done = scripted(bare, "--set", f"api_key_id={key}")
    assert done.status == 0, done.err
    following = "adopt genai --slot key-one"
    assert done.out.endswith(f"next: keyman {following}\n")
    assert bare.keyman(*following.split(), stdin=secrets["key-one"]).status == 0


def test_what_check_finds_decides_the_status_and_the_file_stays(bare: Home) -> None:
    done = bare.keyman("init", "--provider", "oci-genai", "--set", "endpoint=http://127.0.0.1:9")
    assert done.status == 1
    assert "error: genai: no answer from OCI" in done.out
    assert done.out.endswith("next: keyman check\n")
    assert bare.config.exists()


def test_nobody_is_there_to_be_asked(bare: Home) -> None:
    done = bare.keyman("init")
    assert (done.status, done.out) == (2, "")
    assert "--provider oci-genai --set region=" in done.err
    bare.environ["OCI_CONFIG_FILE"] = ""
    done = bare.keyman("init", "--provider", "oci-genai", "--json")
    assert done.status == 2
    assert done.json["error"]["message"] == "oci-genai needs region and compartment_id"
    assert "--set region=… --set compartment_id=…" in done.err
    assert not bare.config.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "regoin=x"], "did you mean region?"),
        (["--set", "auth.flie=x"], "did you mean file?"),
        (["--set", "region"], "takes KEY=VALUE"),
        (["--set", "region=no such region"], "must be a region such as us-chicago-1"),
        (["--set", "policy.overlap=90d"], "overlap"),
        (["--set", "policy={}", "--set", "policy.overlap=1h"], "one of them is enough"),
        (["--set", "auth.profile=NOBODY"], "is none of DEFAULT"),
        (["--name", "Not A Name"], "--name"),
        (["--store", "vault"], "store: address is required"),
        (["--store-set", "adress=x"], "unknown key"),
        (["--set", "provider=openai"], "has an option of its own"),
        (["--set", "region=a\x1b[2Jb"], "control characters"),
    ],
)
def test_what_makes_no_configuration_is_not_written(
    bare: Home, words: list[str], said: str
) -> None:
    done = scripted(bare, *words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "\x1b" not in done.err
    assert list(bare.folder.iterdir()) == []


def test_it_overwrites_nothing(bare: Home) -> None:
    assert scripted(bare).status == 0
    before = bare.config.read_bytes()
    again = scripted(bare, "--name", "other", "--json")
    assert (again.status, again.json["error"]["code"]) == (1, "conflict")
    assert "keyman init --dry-run" in again.err
    assert bare.config.read_bytes() == before
    bare.config.unlink()
    bare.config.symlink_to(bare.folder / "nowhere")
    assert scripted(bare).status == 1
    assert not (bare.folder / "nowhere").exists()


def test_what_would_be_added_can_be_seen(bare: Home) -> None:
    shown = scripted(bare, "--dry-run").out
    assert not bare.config.exists()
    assert shown.startswith("# keyman's configuration")
    assert scripted(bare).status == 0
    assert bare.config.read_text() == shown
    more = scripted(bare, "--name", "second", "--dry-run").out
    assert more.startswith("credentials:\n")
    bare.config.write_text(shown + more.partition("\n")[2])
    assert bare.keyman("list").out == "genai\nsecond\n"


def test_of_two_at_once_one_writes(bare: Home) -> None:
    """Each with a name of its own, so that a mixture would show."""
    names = ["one", "two", "three"]
    url = bare.cloud.url
    told = ("--set", f"endpoint={url}", "--set", f"base_url={url}/20231130/actions/v1")
    words = [("init", "--provider", "oci-genai", *told, "--name", name) for name in names]
    started = [bare.process(*each, stdin=-3) for each in words]
    said = [process.communicate() for process in started]
    ended = [process.returncode for process in started]
    assert sorted(ended) == [0, 1, 1], said
    [winner] = [name for name, status in zip(names, ended, strict=True) if status == 0]
    assert bare.keyman("list").out == f"{winner}\n"


def test_who_comes_to_nothing_takes_nothing_from_another_that_is_writing(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"

    def look(_: FrameType, event: str, called: object) -> None:
        if event == "c_call" and called is os.link:
            sys.setprofile(None)
            with pytest.raises(errors.ConfigError, match="not usable"):
                placing.put("what no file holds: \ud800", path)

    sys.setprofile(look)
    try:
        placing.put("credentials: {}\n", path)
    finally:
        sys.setprofile(None)
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / f".config.yaml.{32 * 'a'}"
    left.write_text("half")
    (tmp_path / ".config.yaml.mine").touch()
    placing.put("credentials: {}\n", tmp_path / "config.yaml")
    assert sorted(one.name for one in tmp_path.iterdir()) == [".config.yaml.mine", "config.yaml"]


@pytest.mark.slow
def test_killed_at_any_instant_it_leaves_nothing_half(bare: Home) -> None:
    """Until the file is there, and a little longer; then the daemon makes the rest."""
    url = bare.cloud.url
    told = ("--set", f"endpoint={url}", "--set", f"base_url={url}/20231130/actions/v1")
    after = 0
    for ended in killed.each_instant(bare, "init", "--provider", "oci-genai", *told):
        if bare.config.exists():
            assert ended != 0
            assert bare.settings.credentials.keys() == {"genai"}
            after += 1
            if after == 4:
                break
            bare.config.unlink()
            shutil.rmtree(bare.state, ignore_errors=True)
    assert after == 4
    bare.config.unlink()
    shutil.rmtree(bare.state, ignore_errors=True)
    assert scripted(bare).status == 0
    assert sorted(one.name for one in bare.folder.iterdir()) == ["config.yaml", "home"]


def test_a_daemon_that_runs_without_a_configuration_takes_it_up(bare: Home) -> None:
    bare.environ["KEYMAN_CONFIG"] = ""
    bare.environ["XDG_CONFIG_HOME"] = str(bare.folder / "xdg")
    with bare.daemon():
        done = scripted(bare)
        assert done.status == 0, done.err
        assert done.out.endswith("next: keyman reload\n")
        assert bare.keyman("reload").out == "the daemon works by the new configuration: genai\n"


def test_a_place_of_its_own(bare: Home) -> None:
    other = bare.folder / "deep" / "er" / "my config.yaml"
    url = bare.cloud.url
    told = ["--set", f"endpoint={url}", "--set", f"base_url={url}/20231130/actions/v1"]
    done = bare.keyman("--config", str(other), "init", "--provider", "oci-genai", *told)
    assert done.status == 0, done.err
    assert stat.S_IMODE(other.parent.stat().st_mode) == 0o700
    assert done.out.endswith(f"next: keyman --config '{other}' daemon\n")


@pytest.mark.slow
@pytest.mark.parametrize("in_the_way", ["folder", "pipe", "bytes", "no profiles", "link"])
def test_an_unreadable_profile_is_mentioned_and_stops_nobody(bare: Home, in_the_way: str) -> None:
    file = bare.folder / ".oci" / "config"
    file.parent.mkdir()
    if in_the_way == "folder":
        file.mkdir()
    elif in_the_way == "pipe":
        os.mkfifo(file)
    elif in_the_way == "link":
        file.symlink_to(file)
    else:
        file.write_bytes(b"\xff\xfe\x00" if in_the_way == "bytes" else b"no = profiles\n")
    bare.environ["OCI_CONFIG_FILE"] = ""
    with at_a_terminal(bare, "init", "--provider", "oci-genai") as person:
        person.sees("warning: ~/.oci/config: ")
        person.sees("How does keyman sign in to OCI?")
        person.sees("\n>")
        person.types("/nowhere/at/all")
        person.sees("that is no file that is there")
        person.types(str(bare.cloud.profile))
        person.sees("[us-chicago-1]")
        person.types(bare.cloud.url)
        person.sees(">")
        person.types()
        person.sees("have one made")
        person.types()
        assert person.ends() == 0, person.shown


NOBODY = """
import os, sys
import keyman.cli.init, platformdirs.unix
from keyman.__main__ import main
os.setresuid(54321, 54321, 54321)
sys.exit(main(["init", "--provider", "static"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: sudo make test")
def test_without_a_home_it_says_so() -> None:
    """For a user of whom the system knows nothing, as in a container."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", NOBODY]
    done = subprocess.run(
        command, env=kept, cwd="/", capture_output=True, text=True, check=False, timeout=GENEROUS
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "there is no HOME" in done.stderr
    assert "export HOME" in done.stderr


@pytest.mark.slow
def test_an_admin_key_is_pointed_at_and_never_copied(bare: Home) -> None:
    sandbox = OpenAISandbox(seed=1)
    with sandbox.serve():
        account = str(sandbox.dashboard.create_account("apps")["id"])
        bare.environ |= {
            "OPENAI_ADMIN_KEY": sandbox.admin_key,
            "OPENAI_PROJECT_ID": sandbox.project,
            "OCI_CONFIG_FILE": "",
        }
        with at_a_terminal(bare, "init", "--set", "x=y", "--yes") as person:
            assert person.ends() == 2
        url = ("--provider", "openai", "--set", f"base_url={sandbox.base_url}")
        with at_a_terminal(bare, "init", *url) as person:
            person.sees("OpenAI: OPENAI_ADMIN_KEY in the environment")
            person.sees(f"[{sandbox.project}]")
            person.types()
            person.sees("Keys of which service account?")
            person.types(account)
            person.sees("[$OPENAI_ADMIN_KEY]")
            person.types("sk-admin-pasted-by-mistake-0123456789")
            person.sees("looks like the key itself")
            person.types()
            assert person.ends() == 0, person.shown
        written = bare.config.read_text()
        assert "admin_key: !env OPENAI_ADMIN_KEY" in written
        assert sandbox.admin_key not in written + person.shown
        assert "pasted-by-mistake" not in written
        assert bare.run("daemon", "--once").status == 0
        assert bare.keyman("get", "openai-main").status == 0


def test_a_secret_on_the_command_line_is_refused_unseen(bare: Home) -> None:
    given = "admin_key=sk-admin-0123456789abcdef"
    done = bare.keyman("init", "--provider", "openai", "--set", given, "--json")
    assert done.status == 2
    assert "!file PATH" in done.err
    assert "0123456789abcdef" not in done.out + done.err


def test_google_by_the_file_that_gcloud_left(bare: Home) -> None:
    file = bare.folder / ".config" / "gcloud" / "application_default_credentials.json"
    file.parent.mkdir(parents=True)
    about = {"type": "authorized_user", "client_id": "c", "client_secret": "s"}
    token = "1//a-refresh-token"
    file.write_text(json.dumps({**about, "refresh_token": token, "quota_project_id": "payer-1"}))
    bare.environ["OCI_CONFIG_FILE"] = ""
    with at_a_terminal(bare, "init", "--set", "endpoints.token=http://127.0.0.1:9", "--yes") as p:
        assert p.ends() == 2  # options need to know of what
    with at_a_terminal(bare, "init") as person:
        person.sees("[google]")
        person.types()
        person.sees("[~/.config/gcloud/application_default_credentials.json]")
        assert person.interrupts() == 130
    done = bare.keyman(
        *("init", "--provider", "google", "--set", "endpoints.token=http://127.0.0.1:9")
    )
    assert done.status == 1  # nobody answers there
    options = bare.settings.credentials["vertex"].options
    assert options.project == "payer-1"  # type: ignore[union-attr]
    assert options.source.kind == "authorized-user"  # type: ignore[union-attr]
    assert token not in bare.config.read_text() + done.out


@pytest.mark.parametrize(
    ("store", "more", "durable"),
    [("memory", [], False), ("sealed-file", ["path={home}/elsewhere.db"], True)],
)
def test_another_store(bare: Home, store: str, more: list[str], durable: bool) -> None:
    said = [word for one in more for word in ("--store-set", one)]
    done = scripted(bare, "--store", store, *said)
    assert done.status == 0, done.err
    assert bare.settings.store.kind == store
    assert (bare.state / "elsewhere.db").exists() is durable


def test_a_credential_that_comes_by_hand(bare: Home) -> None:
    with at_a_terminal(bare, "init", "--provider", "static", "--name", "partner-2") as person:
        person.sees("Enter: none")
        person.types("https://api.example.com/v1")
        person.sees("Enter: no probes")
        person.types()
        person.sees("Enter: not known")
        person.types("tomorrow")
        person.sees("that must be a time such as")
        person.types("2099-01-31T00:00:00Z")
        assert person.ends() == 0, person.shown
    assert person.shown.endswith("next: keyman put partner-2\n")
    assert bare.keyman("put", "partner-2", stdin="s3cret").status == 0
