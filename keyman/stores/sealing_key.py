"""Where the key comes from that opens the sealed file: outside of it, one way per kind.

    file                a file of its own, made at first start
    keyring             the keyring of the operating system, made at first start
    passphrase          computed with Argon2id; salt and costs lie in a file, made at first start
    systemd-credential  handed over by systemd
    env                 an environment variable

Never prompts, never shows a key, and never makes a new one where one was: a lost key must be seen.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyman.core.model import Secret
from keyman.errors import ConfigError, StoreFailed
from keyman.stores import private_file

if TYPE_CHECKING:
    from keyman.stores.os_keyring import OsKeyring

KEY_BYTES = 32
CREDENTIAL = "keyman-store-key"
VARIABLE = "KEYMAN_STORE_KEY"

Options = Mapping[str, Any]

_MADE_BY = (
    'python3 -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
)


def load_key(options: Options, *, make: bool) -> bytes:
    """The 32 bytes; made first if they are missing, `make` is set and the kind can.

    `options` is the configuration's `store.key`, beside it `installation` and `home` where the kind
    is keyring. Raises ConfigError for an unknown or incomplete kind, StoreFailed for a key that is
    missing, malformed, or lies where others can read it.
    """
    kind = options.get("kind")
    if kind in _MADE_HERE:
        return _MADE_HERE[kind](options, make=make)
    if kind in _HANDED_OVER:
        return _HANDED_OVER[kind](options)
    known = ", ".join([*_MADE_HERE, *_HANDED_OVER])
    raise ConfigError(f"store.key has no kind {kind!r}", hint=f"the kinds are: {known}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A new key, and how it takes the place of the one in use: at once or not at all."""

    key: bytes
    take_place: Callable[[], None]


def exchange(options: Options) -> Exchange:
    """Another key of the same kind. Raises ConfigError where it is handed over from outside."""
    kind = options.get("kind")
    if kind == "file":
        return _another_file(options)
    if kind == "keyring":
        return _another_in_the_keyring(options)
    if kind == "passphrase":
        return _another_salt(options)
    raise ConfigError(
        f"a store.key of kind {kind} is handed over: keyman can't make another",
        hint="let the file admit a new one with --key, change the configuration, then --finish",
    )


def _fresh() -> bytes:
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES))


def _another_file(options: Options) -> Exchange:
    path, text = _path(options), _fresh()
    return Exchange(_decoded(text, "the new key"), lambda: private_file.replace(path, text + b"\n"))


def _another_in_the_keyring(options: Options) -> Exchange:
    text = _fresh()

    def take_place() -> None:
        with _keyring(options) as keyring:
            keyring.put("store-key", 1, Secret(text.decode()))

    return Exchange(_decoded(text, "the new key"), take_place)


def _another_salt(options: Options) -> Exchange:
    """The passphrase is the one that the configuration has; its file may bring another by now."""
    path, passphrase, costs = _path(options), _passphrase(options), _Costs.fresh()
    key = costs.derive(passphrase.encode())
    return Exchange(key, lambda: private_file.replace(path, costs.text()))


def _from_file(options: Options, *, make: bool) -> bytes:
    path = _path(options)
    if make:
        private_file.make(path, _fresh() + b"\n")
    return _decoded(_required(path), f"the key file {path}")


def _from_keyring(options: Options, *, make: bool) -> bytes:
    service = _service(options)
    with _keyring(options) as keyring:
        found = keyring.get("store-key", 1)
        if found is None and make:
            found = Secret(_fresh().decode())
            keyring.put("store-key", 1, found)
    if found is None:
        raise _missing(f"the store's key ({service}) in the keyring")
    return _decoded(found.reveal().encode(), f"the store's key ({service}) in the keyring")


def _service(options: Options) -> str:
    """Of its own: dropping an installation's secrets must not drop what seals a file."""
    return options.get("service") or f"keyman/{options['installation']}/store-key"


def _keyring(options: Options) -> contextlib.closing[OsKeyring]:
    from keyman.stores.os_keyring import OsKeyring

    lock = Path(options["home"]) / "keyring.lock"
    keyring = OsKeyring(options.get("backend"), _service(options), lock=lock)
    return contextlib.closing(keyring)


def _passphrase(options: Options) -> str:
    given = options.get("passphrase")
    passphrase: str | None = given.reveal() if isinstance(given, Secret) else given
    if not passphrase:
        raise ConfigError(
            "store.key of kind passphrase has no passphrase",
            hint="passphrase: !file PATH (or !env NAME); nothing prompts for it",
        )
    return passphrase


def _from_passphrase(options: Options, *, make: bool) -> bytes:
    path, passphrase = _path(options), _passphrase(options)
    if make:
        private_file.make(path, _Costs.fresh().text())
    return _Costs.read(path).derive(passphrase.encode())


def _from_systemd(options: Options) -> bytes:
    name, folder = options.get("name") or CREDENTIAL, os.environ.get("CREDENTIALS_DIRECTORY")
    if "/" in name or name in (".", ".."):
        raise ConfigError(f"{name!r} is not the name of a systemd credential")
    if not folder:
        raise StoreFailed(
            "systemd handed over no credentials ($CREDENTIALS_DIRECTORY is not set)",
            hint=f"LoadCredentialEncrypted={name}:… in the unit, and start keyman by it",
        )
    path = Path(folder) / name
    # Whose it is and who may read it is systemd's affair: it uses ACLs on a file system of its own.
    with private_file.translated(path, "read"):
        content = path.read_bytes()
    return content if len(content) == KEY_BYTES else _decoded(content, f"the credential {name}")


def _from_env(options: Options) -> bytes:
    name = options.get("variable") or VARIABLE
    value = os.environ.get(name)
    if not value:
        raise StoreFailed(
            f"the environment has no {name}, which holds the store's key",
            hint=f"set it to a key made by {_MADE_BY}",
        )
    return _decoded(os.fsencode(value), f"the variable {name}")


_MADE_HERE: dict[str, Callable[..., bytes]] = {
    "file": _from_file,
    "keyring": _from_keyring,
    "passphrase": _from_passphrase,
}
_HANDED_OVER: dict[str, Callable[[Options], bytes]] = {
    "systemd-credential": _from_systemd,
    "env": _from_env,
}


class _Costs:
    """Argon2id's salt and costs, kept so that the same passphrase gives the same key again."""

    # RFC 9106, second choice; what is read may differ, but neither invite guessing nor eat the
    # machine.
    MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
    MEMORY_FLOOR_KIB, MEMORY_CEILING_KIB = 19 * 1024, 1024 * 1024
    MOST_PASSES, MOST_LANES = 64, 64

    PATTERN = re.compile(
        r"argon2id m=(\d{1,9}) t=(\d{1,4}) p=(\d{1,4}) salt=([A-Za-z0-9_-]{22})\n?"
    )

    def __init__(self, memory: int, passes: int, lanes: int, salt: bytes) -> None:
        self.memory, self.passes, self.lanes, self.salt = memory, passes, lanes, salt

    @classmethod
    def fresh(cls) -> _Costs:
        return cls(cls.MEMORY_KIB, cls.PASSES, cls.LANES, secrets.token_bytes(16))

    @classmethod
    def read(cls, path: Path) -> _Costs:
        found = cls.PATTERN.fullmatch(_required(path).decode(errors="replace"))
        if not found:
            raise StoreFailed(f"{path} does not hold the salt and costs of a passphrase")
        memory, passes, lanes = (int(number) for number in found.groups()[:3])
        if not (
            cls.MEMORY_FLOOR_KIB <= memory <= cls.MEMORY_CEILING_KIB
            and 1 <= passes <= cls.MOST_PASSES
            and 1 <= lanes <= cls.MOST_LANES
        ):
            raise StoreFailed(f"{path} asks for costs of Argon2id that are out of bounds")
        return cls(memory, passes, lanes, base64.urlsafe_b64decode(found.group(4) + "=="))

    def text(self) -> bytes:
        salt = base64.urlsafe_b64encode(self.salt).decode().rstrip("=")
        return f"argon2id m={self.memory} t={self.passes} p={self.lanes} salt={salt}\n".encode()

    def derive(self, passphrase: bytes) -> bytes:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        kdf = Argon2id(
            salt=self.salt,
            length=KEY_BYTES,
            iterations=self.passes,
            lanes=self.lanes,
            memory_cost=self.memory,
        )
        return kdf.derive(passphrase)


def _path(options: Options) -> Path:
    if not options.get("path"):
        raise ConfigError(f"store.key of kind {options['kind']} has no path")
    return Path(options["path"])


def _required(path: Path) -> bytes:
    content = private_file.read(path)
    if content is None:
        raise _missing(str(path))
    return content


def _missing(what: str) -> StoreFailed:
    return StoreFailed(
        f"{what} is missing",
        hint="put it back: without it the sealed secrets cannot be read; "
        "if the store was never used, move its file away and start `keyman daemon`",
    )


def _decoded(content: bytes, what: str) -> bytes:
    """base64, of either alphabet, padded or not."""
    text = content.strip().translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        key = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise StoreFailed(
            f"{what} is not a key: it must be {KEY_BYTES} random bytes in base64",
            hint=f"restore it, or for a new store make one by {_MADE_BY}",
        )
    return key
