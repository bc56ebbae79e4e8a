"""The real servers that tests lean on: used where found, else skipped, with what brings them.

A fixture (or a test) says what it needs, once:

    require("gnome-keyring", found=shutil.which("gnome-keyring-daemon"), hint="apt-get install …")

`found` says where it is, falsy when it isn't there. KEYMAN_REQUIRE=all, or a list such as
KEYMAN_REQUIRE=gnome-keyring,nginx, turns the skip into a failure. What was asked for is listed at
the end of the run (conftest.py), over all workers.
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USED, SKIPPED = "used", "skipped"

asked: dict[str, tuple[str, str]] = {}
"""server → (used or skipped, where it is or the command that brings it); of this process only."""

GNOME_KEYRING = "gnome-keyring"
GNOME_KEYRING_HINT = "apt-get install gnome-keyring dbus"
START_WITHIN = 15.0


def require(name: str, *, found: object, hint: str) -> None:
    """Go on if the server is there; else skip, or fail where it is required."""
    if found:
        asked[name] = (USED, str(found))
        return
    asked[name] = (SKIPPED, hint)
    reason = f"{name} is not here: {hint}"
    wanted = {part.strip() for part in os.environ.get("KEYMAN_REQUIRE", "").split(",")}
    if wanted & {"all", name}:
        pytest.fail(f"{reason} (KEYMAN_REQUIRE asks for it)", pytrace=False)
    pytest.skip(reason)


def table(rows: dict[str, tuple[str, str]]) -> list[str]:
    """Lines for people: the used first, then the skipped with their command."""
    if not rows:
        return ["none was needed"]
    width = max(map(len, rows))
    used_first = sorted(rows.items(), key=lambda row: (row[1][0] != USED, row[0]))
    return [f"{name:<{width}}  {state:<7}  {detail}" for name, (state, detail) in used_first]


@contextlib.contextmanager
def secret_service(folder: Path) -> Iterator[dict[str, str]]:
    """Run a private bus and an unlocked gnome-keyring on it; yield the environment that reaches it.

    Nothing of the user's session is seen or touched: home, data, runtime folder and bus all lie in
    `folder`. Needs no display, and no root.
    """
    daemon, bus = shutil.which("gnome-keyring-daemon"), shutil.which("dbus-daemon")
    require(GNOME_KEYRING, found=daemon and bus and daemon, hint=GNOME_KEYRING_HINT)
    assert daemon is not None
    assert bus is not None
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, parents=True)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_RUNTIME_DIR": str(runtime),
    }
    with contextlib.ExitStack() as running:
        # The address is left to the bus: a path of ours may be too long for a socket.
        bus_process = running.enter_context(
            _process([bus, "--session", "--nofork", "--nopidfile", "--print-address=1"], env)
        )
        assert bus_process.stdout is not None
        address = bus_process.stdout.readline().decode().strip()
        assert address, "dbus-daemon said no address"
        env["DBUS_SESSION_BUS_ADDRESS"] = address
        keyring = running.enter_context(
            _process(
                [
                    *(daemon, "--foreground", "--unlock", "--components=secrets"),
                    *("--control-directory", str(runtime)),
                ],
                env,
            )
        )
        assert keyring.stdin is not None
        keyring.stdin.write(secrets.token_hex(16).encode())
        keyring.stdin.close()  # the end of the input ends the password
        _wait_until_unlocked(address, keyring)
        yield env


@contextlib.contextmanager
def _process(command: list[str], env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_unlocked(address: str, keyring: "subprocess.Popen[bytes]") -> None:
    """Return once the default collection exists and is open, which is what a store needs."""
    from jeepney.bus_messages import message_bus
    from jeepney.io.blocking import Proxy, open_dbus_connection
    from secretstorage import exceptions, get_default_collection

    deadline = time.monotonic() + START_WITHIN
    while True:
        with contextlib.closing(open_dbus_connection(bus=address)) as connection:
            try:
                # Asked before our daemon owns the name, the bus would start a second, locked one.
                owned = Proxy(message_bus, connection).NameHasOwner("org.freedesktop.secrets")[0]
                if owned and not get_default_collection(connection).is_locked():
                    return
                why = "its default collection stays locked" if owned else "it has no name yet"
            except exceptions.SecretStorageException as error:
                why = str(error)
        if time.monotonic() > deadline or keyring.poll() is not None:
            pytest.fail(f"gnome-keyring-daemon did not come up: {why}", pytrace=False)
        time.sleep(0.05)
