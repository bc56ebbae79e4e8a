"""Configurations made to do harm, files that are not what they seem, and homes of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyman.config import Settings, find_config, find_home, load, places, prepare_home
from keyman.config.kinds import PROVIDERS
from keyman.config.schema import FileShape
from keyman.config.wording import keys_of
from keyman.config.yaml_source import DEPTH_LIMIT
from keyman.errors import ConfigError, NotAllowed

as_root = pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root can give files away: sudo .venv/bin/pytest tests/test_config_hostile.py",
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.touch(0o600)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, home=path.parent / "home", environ={})
    return caught.value.message


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.slow
def test_what_is_large_for_good_reason_is_read(config: Path) -> None:
    one = "provider: google, project: my-project, location: eu, source: {kind: metadata}, policy: "
    lines = [f"  v{n}: {{{one}{{rotate_before: {n % 50 + 1}m}}}}" for n in range(4_000)]
    config.write_text("credentials:\n" + "\n".join(lines))
    assert len(load(config, home=config.parent / "home", environ={}).credentials) == 4_000


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (BOMB.encode(), "more than 400000 values"),
        (b"a: &a [*a]", "an alias (*) that names nothing before it"),
        (b"a: *b", "an alias (*) that names nothing before it"),
        (b"[" * 50_000, "nested too deeply"),
        (b"{a: " * 10_000, "nested too deeply"),
        (b"- " * 50_000, "nested too deeply"),
        (b"? " * 50_000, "a key must be plain text"),
        (b"a" * (4 * 1024 * 1024 + 1), "is larger than 4096 KiB"),
        (b"log: {level: in\0fo}", "1: a control character has no place here"),
        (b"a: 1\nb: \x1b[2J", "2: a control character has no place here"),
        (b"a: \xff", "is not UTF-8 text (line 1)"),
        ("a: ä".encode("utf-16"), "is not UTF-8 text (line 1)"),
        (b'a: "\\ud800"', "an escape that stands for no character"),
        (b'a: "\\UFFFFFFFF"', "not valid YAML"),
        (b"%YAML 1." + b"9" * 5000 + b"\n--- a", "not valid YAML"),
        (b"[a]: b", "a key must be plain text"),
        (b"!env X: b", "a key must be plain text"),
        (b"<<: {log: null}", "<<: unknown key"),
        (b"a: [1, 2", "not valid YAML"),
    ],
)
def test_hostile_text_is_refused(raw: bytes, said: str, config: Path) -> None:
    config.write_bytes(raw)
    assert said in refusal(config)


def test_aliases_are_fine_in_moderation_and_a_mark_at_the_front_as_well(config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbfdefaults: {policy: &p {overlap: 2h}}\nlog: {level: info}\n")
    assert load(config, home=config.parent, environ={}).defaults.overlap.seconds == 7200
    config.write_text("")
    assert load(config, home=config.parent, environ={}).source == config


def test_the_depth_limit_leaves_room_for_a_configuration() -> None:
    assert DEPTH_LIMIT > 5


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nothing")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_folder, "is not a regular file"),
        (_pipe, "is not a regular file"),
        (Path.unlink, "cannot be read: No such file"),
        (_link_to_nothing, "cannot be read: No such file"),
        (lambda path: path.chmod(0o660), "can be written by others"),
        (lambda path: path.chmod(0o602), "can be written by others"),
    ],
)
def test_what_is_no_trustworthy_file(
    spoil: Callable[[Path], None], said: str, config: Path
) -> None:
    spoil(config)
    assert said in refusal(config)


@as_root
def test_a_file_of_someone_else_is_refused(config: Path) -> None:
    os.chown(config, 12345, -1)
    assert "belongs to uid 12345" in refusal(config)


@given(text=st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_settings_or_a_config_error(folder: Path, text: str) -> None:
    _settings_or_error(text, {}, folder)


SCALARS = st.sampled_from(
    ["null", "3", "-1", "9d", "[]", "{}", "!env A", "!file a", "*a", "&a x", '"\\ud800"', "x"]
) | st.text(max_size=8)
OF_CREDENTIALS = sorted({key for section in PROVIDERS.values() for key in keys_of(section)})
MORE = "kind path key socket allow_uids level lifetime window factor a file target from delegates"
KEYS = st.sampled_from([*FileShape.model_fields, *OF_CREDENTIALS]) | st.sampled_from(MORE.split())
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(KEYS, inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {item}" for key, item in items.items()) + "}"
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    top=st.dictionaries(KEYS, TREES, max_size=5),
    credential=TREES,
    provider=st.sampled_from(sorted(PROVIDERS)),
    keys=st.dictionaries(KEYS, TREES, max_size=4),
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_of_known_words_does_too(
    folder: Path, top: dict[str, str], credential: str, provider: str, keys: dict[str, str]
) -> None:
    lines = [f"{key}: {value}" for key, value in top.items() if key != "credentials"]
    lines.append("credentials:\n  a: " + credential)
    lines.append(f"  b:\n    provider: {provider}\n    policy: " + credential)
    lines += [f"    {key}: {value}" for key, value in keys.items() if key != "policy"]
    _settings_or_error("\n".join(lines), {}, folder)


@given(
    environ=st.dictionaries(
        st.lists(KEYS, min_size=1, max_size=4).map(lambda keys: "KEYMAN__" + "__".join(keys)),
        TREES | st.text(max_size=20),
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_environment_does_too(folder: Path, environ: dict[str, str]) -> None:
    _settings_or_error("credentials: {a: {provider: oci-genai}}", environ, folder)


def _settings_or_error(text: str, environ: dict[str, str], folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    path.chmod(0o600)
    problems: tuple[str, ...] = ("none",)
    try:
        assert isinstance(load(path, home=folder / "home", environ=environ), Settings)
    except ConfigError as error:
        problems = error.problems
    # Whatever the keys were, what is said of them can be printed.
    assert "\n".join(problems).encode()


# ------------------------------------------------------------------------------------- places


def test_the_configuration_is_where_it_was_said_to_be(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_config(config, {"KEYMAN_CONFIG": "/nowhere"}) == config
    assert find_config(None, {"KEYMAN_CONFIG": str(config)}) == config
    for explicit, environ in ((Path("/nowhere"), {}), (None, {"KEYMAN_CONFIG": "/nowhere"})):
        with pytest.raises(ConfigError, match="no configuration file /nowhere"):
            find_config(explicit, environ)
    monkeypatch.chdir(config.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent / "usual"))
    monkeypatch.setenv("HOME", str(config.parent))
    assert find_config(None, {}) is None, "the current folder must not be looked at"
    usual = platformdirs.user_config_path("keyman", appauthor=False) / "config.yaml"
    usual.parent.mkdir(parents=True)
    usual.touch()
    assert find_config(None, {}) == usual


def test_the_home_is_named_or_usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_home({"KEYMAN_HOME": str(tmp_path / "x" / ".." / "y")}) == tmp_path / "y"
    monkeypatch.chdir(tmp_path)
    assert find_home({"KEYMAN_HOME": "rel"}) == tmp_path / "rel"
    assert find_home({}) == platformdirs.user_data_path("keyman", appauthor=False)


def test_a_home_is_made_for_us_alone_and_closed_if_it_was_open(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    assert prepare_home(home) == []
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    home.chmod(0o755)
    assert prepare_home(home) == [f"the home {home} was open to others (0755); it is 0700 now"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert prepare_home(home) == []


def test_a_home_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/keyman")):
        with pytest.raises(ConfigError, match="the home"):
            prepare_home(path)


@as_root
def test_a_home_of_someone_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(NotAllowed, match="belongs to uid 12345"):
        prepare_home(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("x" * 10)
    path.chmod(0o600)
    assert places.read_trusted(path, 10).text == "x" * 10
    with pytest.raises(ConfigError, match="larger"):
        places.read_trusted(path, 9)


@pytest.mark.skipif(
    not Path("/proc/version").exists(),
    reason="needs /proc: run .venv/bin/pytest tests/test_config_hostile.py on Linux",
)
def test_a_file_that_turns_out_larger_than_it_said_is_still_bounded() -> None:
    assert Path("/proc/version").stat().st_size == 0
    with pytest.raises(ConfigError, match="larger"):
        places.read_trusted(Path("/proc/version"), 9)
