"""Where the sealed file's key comes from: first start, every later start, and what is refused."""

import base64
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keyman.clock import new_id
from keyman.core.model import Secret
from keyman.errors import ConfigError, StoreFailed
from keyman.stores import open_store, private_file
from keyman.stores.os_keyring import OsKeyring
from keyman.stores.sealing_key import _Costs, exchange, load_key

KEY = bytes(range(32))
TEXT = base64.urlsafe_b64encode(KEY).decode()


def options_of(kind: str, tmp_path: Path) -> dict[str, Any]:
    options: dict[str, Any] = {"kind": kind, "installation": new_id(), "home": tmp_path}
    if kind in ("file", "passphrase"):
        options["path"] = tmp_path / "store.key"
    if kind == "passphrase":
        options["passphrase"] = "correct horse"
    return options


@pytest.fixture(params=["file", "passphrase", "keyring"])
def made_here(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Options of each kind that makes something at first start."""
    if request.param == "keyring":
        for name, value in request.getfixturevalue("secret_service").items():
            monkeypatch.setenv(name, value)
    return options_of(request.param, tmp_path)


def test_made_at_first_start_and_the_same_ever_after(made_here: dict[str, Any]) -> None:
    made = load_key(made_here, make=True)
    assert len(made) == 32
    assert load_key(made_here, make=True) == made
    assert load_key(made_here, make=False) == made


def test_two_installations_have_two_keys(made_here: dict[str, Any], tmp_path: Path) -> None:
    other = {**made_here, "installation": new_id()}
    if "path" in other:
        other["path"] = tmp_path / "other.key"
    assert load_key(made_here, make=True) != load_key(other, make=True)


def test_not_made_unless_asked_to(made_here: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="missing"):
        load_key(made_here, make=False)
    assert list(tmp_path.iterdir()) == []


def test_the_key_file_is_the_owner_s_alone_and_base64(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = load_key(options_of("file", tmp_path), make=True)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert base64.urlsafe_b64decode(file.read_text().strip()) == key


@pytest.mark.parametrize("kind", ["file", "passphrase"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, kind: str, mode: int) -> None:
    options = options_of(kind, tmp_path)
    load_key(options, make=True)
    options["path"].chmod(mode)
    with pytest.raises(StoreFailed, match="open to other users"):
        load_key(options, make=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away: sudo make test")
def test_a_key_file_of_another_user_is_refused(tmp_path: Path) -> None:
    options = options_of("file", tmp_path)
    load_key(options, make=True)
    os.chown(options["path"], 65534, -1)
    with pytest.raises(StoreFailed, match="another user"):
        load_key(options, make=False)


def test_a_key_file_that_is_a_link_or_a_folder_is_refused(tmp_path: Path) -> None:
    options = options_of("file", tmp_path)
    real = tmp_path / "real.key"
    load_key({**options, "path": real}, make=True)
    options["path"].symlink_to(real)
    with pytest.raises(StoreFailed):
        load_key(options, make=True)
    options["path"].unlink()
    options["path"].mkdir()
    with pytest.raises(StoreFailed, match="not a plain file"):
        load_key(options, make=True)


@pytest.mark.parametrize(
    "content",
    [
        *("", "\n", TEXT[:-4], TEXT + "AAAA", TEXT + "X", "?" * 43, "ключ", KEY.hex()),
        f"{TEXT}\n{TEXT}",
    ],
)
def test_what_is_not_a_key_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    options = options_of("file", tmp_path)
    options["path"].touch(mode=0o600)
    options["path"].write_text(content)
    with pytest.raises(StoreFailed, match="not a key") as failed:
        load_key(options, make=True)
    assert not content.strip() or content.strip() not in failed.value.message + failed.value.hint


@pytest.mark.parametrize(
    "text", [TEXT, TEXT.rstrip("="), base64.b64encode(KEY).decode(), f"  {TEXT}\r\n"]
)
def test_any_usual_base64_is_understood(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KEYMAN_STORE_KEY", text)
    assert load_key({"kind": "env"}, make=False) == KEY


def test_the_variable_can_be_named_and_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", TEXT)
    monkeypatch.delenv("KEYMAN_STORE_KEY", raising=False)
    assert load_key({"kind": "env", "variable": "ELSEWHERE"}, make=False) == KEY
    with pytest.raises(StoreFailed, match="KEYMAN_STORE_KEY"):
        load_key({"kind": "env"}, make=True)


@pytest.mark.parametrize("content", [KEY, TEXT.encode(), TEXT.encode() + b"\n"])
def test_a_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "keyman-store-key").write_bytes(content)
    (tmp_path / "other").write_bytes(content[::-1])
    assert load_key({"kind": "systemd-credential"}, make=False) == KEY
    with pytest.raises(StoreFailed, match="/absent could not be read: "):
        load_key({"kind": "systemd-credential", "name": "absent"}, make=True)
    for outside in ("../other", "a/b", ".", "..", "/etc/passwd"):
        with pytest.raises(ConfigError):
            load_key({"kind": "systemd-credential", "name": outside}, make=True)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(StoreFailed, match="CREDENTIALS_DIRECTORY"):
        load_key({"kind": "systemd-credential"}, make=True)


def test_a_passphrase_gives_its_key_and_no_other(tmp_path: Path) -> None:
    options = options_of("passphrase", tmp_path)
    key = load_key(options, make=True)
    assert load_key({**options, "passphrase": Secret("correct horse")}, make=False) == key
    assert load_key({**options, "passphrase": "correct horsf"}, make=False) != key
    assert b"correct" not in options["path"].read_bytes()


@pytest.mark.parametrize("passphrase", [None, "", Secret("")])
def test_no_passphrase_is_a_mistake_in_the_configuration(
    tmp_path: Path, passphrase: object
) -> None:
    with pytest.raises(ConfigError):
        load_key({**options_of("passphrase", tmp_path), "passphrase": passphrase}, make=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "argon2id m=1048577 t=3 p=4 salt={salt}",
        "argon2id m=999999999 t=3 p=4 salt={salt}",
        "argon2id m=8 t=3 p=4 salt={salt}",
        "argon2id m=65536 t=0 p=4 salt={salt}",
        "argon2id m=65536 t=9999 p=4 salt={salt}",
        "argon2id m=65536 t=3 p=0 salt={salt}",
        "argon2id m=65536 t=3 p=4 salt=short",
        "argon2d m=65536 t=3 p=4 salt={salt}",
        "",
    ],
)
def test_hostile_costs_are_refused_before_they_are_paid(tmp_path: Path, line: str) -> None:
    options = options_of("passphrase", tmp_path)
    options["path"].touch(mode=0o600)
    options["path"].write_text(line.format(salt="A" * 22))
    with pytest.raises(StoreFailed):
        load_key(options, make=False)


@pytest.mark.parametrize("kind", [None, "File", "kms", ""])
def test_an_unknown_kind_names_the_known(kind: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        load_key({"kind": kind}, make=True)
    assert "passphrase" in refused.value.hint
    assert "systemd-credential" in refused.value.hint


def test_a_store_that_lost_its_key_gets_no_new_one(tmp_path: Path) -> None:
    options = {"installation": "x", "home": tmp_path, "path": tmp_path / "secrets.db"}
    options["key"] = {"kind": "file", "path": tmp_path / "store.key"}
    with closing(open_store("sealed-file", options)) as store:
        store.put("genai", 1, Secret("sk-one"))
    kept = (tmp_path / "store.key").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreFailed, match="missing"):
        open_store("sealed-file", options)
    assert not (tmp_path / "store.key").exists()
    kept.rename(tmp_path / "store.key")
    with closing(open_store("sealed-file", options)) as store:
        assert store.get("genai", 1) == Secret("sk-one")


def test_reading_only_makes_neither_key_nor_file(tmp_path: Path) -> None:
    options = {"installation": "x", "home": tmp_path, "path": tmp_path / "secrets.db"}
    options["key"] = {"kind": "file", "path": tmp_path / "store.key"}
    with pytest.raises(StoreFailed):
        open_store("sealed-file", {**options, "read_only": True})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_is_said_with_what_to_do(tmp_path: Path) -> None:
    for kind in ("file", "passphrase"):
        with pytest.raises(StoreFailed, match="is missing") as missing:
            load_key(options_of(kind, tmp_path), make=False)
        assert missing.value.hint == (
            "put it back: without it the sealed secrets cannot be read; "
            "if the store was never used, move its file away and start `keyman daemon`"
        )
        without = {**options_of(kind, tmp_path), "path": ""}
        with pytest.raises(ConfigError, match=f"store.key of kind {kind} has no path"):
            load_key(without, make=True)


# m, t, p: at their bounds, and beyond them by one.
PAID = [(19 * 1024, 1, 1), (1024 * 1024, 64, 64), (65536, 3, 4)]
UNPAID = [
    *((19 * 1024 - 1, 3, 4), (1024 * 1024 + 1, 3, 4)),
    *((65536, 0, 4), (65536, 65, 4), (65536, 3, 0), (65536, 3, 65)),
]


@pytest.mark.parametrize("costs", [*PAID, *UNPAID], ids=str)
def test_costs_have_bounds(tmp_path: Path, costs: tuple[int, int, int]) -> None:
    path = tmp_path / "store.key"
    memory, passes, lanes = costs
    line = f"argon2id m={memory} t={passes} p={lanes} salt=AAECAwQFBgcICQoLDA0ODw\n".encode()
    private_file.make(path, line)
    if costs in UNPAID:
        with pytest.raises(StoreFailed, match="costs of Argon2id that are out of bounds"):
            _Costs.read(path)
    else:
        read = _Costs.read(path)
        assert (read.memory, read.passes, read.lanes, read.salt) == (*costs, bytes(range(16)))
        assert read.text() == line


def test_bytes_that_are_no_text_are_no_costs(tmp_path: Path) -> None:
    options = options_of("passphrase", tmp_path)
    private_file.make(options["path"], b"argon2id m=65536 t=3 p=4 salt=\xff\xfe")
    with pytest.raises(StoreFailed, match="does not hold the salt and costs"):
        load_key(options, make=False)


# Another key in the place of the one in use.


def test_a_key_file_is_exchanged_whole(tmp_path: Path) -> None:
    options = options_of("file", tmp_path)
    before = load_key(options, make=True)
    another = exchange(options)
    assert load_key(options, make=False) == before != another.key
    another.take_place()
    assert load_key(options, make=False) == another.key
    assert options["path"].read_bytes() == base64.urlsafe_b64encode(another.key) + b"\n"
    assert stat.S_IMODE(options["path"].stat().st_mode) == 0o600


def test_a_passphrase_gives_another_key_with_another_salt(tmp_path: Path) -> None:
    options = options_of("passphrase", tmp_path)
    private_file.make(options["path"], cheap := b"argon2id m=19456 t=1 p=1 salt=" + b"A" * 22)
    another = exchange(options)
    assert options["path"].read_bytes() == cheap
    another.take_place()
    assert load_key(options, make=False) == another.key
    costs = _Costs.read(options["path"])
    assert (costs.memory, costs.passes, costs.lanes) == (64 * 1024, 3, 4)
    assert costs.salt != bytes(16)


@pytest.mark.parametrize("kind", ["env", "systemd-credential"])
def test_what_is_handed_over_is_not_exchanged_here(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"of kind {kind} is handed over") as refused:
        exchange({"kind": kind})
    assert refused.value.hint == (
        "let the file admit a new one with --key, change the configuration, then --finish"
    )


def test_a_secret_service_keeps_the_key_under_a_service_of_its_own(
    tmp_path: Path, secret_service: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in secret_service.items():
        monkeypatch.setenv(name, value)
    options, lock = options_of("keyring", tmp_path), tmp_path / "keyring.lock"
    named = {**options, "service": f"named/{new_id()}"}

    def filed(service: str) -> OsKeyring:
        return OsKeyring("secret-service", service, lock=lock)

    services = {f"keyman/{options['installation']}/store-key": options, named["service"]: named}
    for service, those in services.items():
        with closing(filed(service)) as there:
            with pytest.raises(StoreFailed, match="is missing"):
                load_key(those, make=False)
            assert there.list() == []
            key = load_key(those, make=True)
            assert load_key(those, make=True) == load_key(those, make=False) == key
            kept = there.get("store-key", 1)
            assert kept is not None
            assert base64.urlsafe_b64decode(kept.reveal()) == key
            another = exchange(those)
            assert load_key(those, make=False) == key != another.key
            another.take_place()
            assert load_key(those, make=False) == another.key
            assert there.list() == [("store-key", 1)]
            there.put("store-key", 1, Secret("no key"))
            with pytest.raises(StoreFailed, match="is not a key"):
                load_key(those, make=True)
    assert list(tmp_path.iterdir()) == [lock]
    with pytest.raises(ConfigError, match="no keyring backend 'nonsense'"):
        load_key({**options, "backend": "nonsense"}, make=True)
