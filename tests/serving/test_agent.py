"""Starting, stopping, and the socket itself."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from keyman import errors
from tests.serving import world as worlds
from tests.serving.test_api import in_background, waiting
from tests.serving.world import World

GENAI = "/api/v1/secrets/genai"


def test_the_socket_is_open_to_its_owner_only(world: World) -> None:
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o600


def test_with_allow_uids_the_kernel_lets_everybody_connect() -> None:
    with worlds.world(allow_uids=[12345]) as here:
        assert stat.S_IMODE(here.path.stat().st_mode) == 0o666


def test_naming_oneself_in_allow_uids_opens_nothing() -> None:
    with worlds.world(allow_uids=[os.geteuid(), 0]) as here:
        assert stat.S_IMODE(here.path.stat().st_mode) == 0o600


def test_the_umask_is_as_it_was(world: World) -> None:
    world.agent.stop()
    before = os.umask(0o027)
    world.start()
    assert os.umask(before) == 0o027


def test_stop_ends_everything_within_two_seconds(world: World) -> None:
    """Long polls are answered, idle connections closed, the socket is gone."""
    idle = socket.socket(socket.AF_UNIX)
    idle.settimeout(20)
    idle.connect(str(world.path))
    polls = [
        in_background(lambda: world.ask("GET", f"{GENAI}?after=7&wait=300s")) for _ in range(20)
    ]
    waiting(world, "genai", 20)
    begun = time.monotonic()
    world.agent.stop()
    assert time.monotonic() - begun < 2
    for thread, found in polls:
        thread.join(20)
        assert found[0][0] == 304
    assert idle.recv(10) == b""
    idle.close()
    assert not world.path.exists()
    assert not world.agent.alive


@pytest.mark.slow
def test_who_comes_in_as_it_stops_is_hung_up_on(world: World) -> None:
    """Nobody's connection is left behind: the loop could not be closed, and says so."""

    def come_in() -> None:
        while not done.is_set():
            with socket.socket(socket.AF_UNIX) as one, suppress(OSError):
                one.settimeout(20)
                one.connect(str(world.path))
                coming.release()
                assert one.recv(10) == b""

    for _ in range(20):
        done, coming = threading.Event(), threading.Semaphore(0)
        crowd = [threading.Thread(target=come_in) for _ in range(20)]
        for one in crowd:
            one.start()
        coming.acquire()
        world.agent.stop()
        done.set()
        for one in crowd:
            one.join(20)
        assert not world.agent.alive
        world.start()


def test_stop_does_not_wait_for_a_desk_that_hangs(world: World) -> None:
    held = threading.Event()
    world.desk.status = lambda name: {"held": held.wait(30)}  # type: ignore[method-assign]
    asking = socket.socket(socket.AF_UNIX)
    asking.connect(str(world.path))
    asking.sendall(b"GET /api/v1/credentials/genai HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    begun = time.monotonic()
    world.agent.stop()
    spent = time.monotonic() - begun
    held.set()
    asking.close()
    assert spent < 3


def test_stopping_twice_is_harmless_and_starting_again_works(world: World) -> None:
    world.agent.stop()
    world.agent.stop()
    world.start()
    assert world.agent.alive
    assert world.ask("GET", GENAI)[0] == 200


def test_a_dead_daemons_socket_is_replaced(world: World) -> None:
    world.agent.stop()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(world.path))
    dead.close()
    world.start()
    assert world.ask("GET", GENAI)[0] == 200


def test_a_socket_that_answers_is_left_alone(world: World) -> None:
    with pytest.raises(errors.Conflict, match="answers"):
        world.start()
    assert world.ask("GET", GENAI)[0] == 200


def test_what_is_no_socket_is_never_removed(world: World) -> None:
    world.agent.stop()
    world.path.write_text("precious")
    with pytest.raises(errors.ConfigError, match="not a socket"):
        world.start()
    assert world.path.read_text() == "precious"


def test_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    world.agent.stop()
    world.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.ConfigError, match="not a socket"):
        world.start()


def test_a_folder_that_is_not_there_is_said(world: World) -> None:
    world.path = world.path.parent / "missing" / "agent.sock"
    with pytest.raises(errors.ConfigError, match="No such file"):
        world.start()


def test_stop_leaves_a_successors_socket(world: World) -> None:
    """Another daemon has taken the path over meanwhile: its socket is not ours to remove."""
    world.path.unlink()
    successor = socket.socket(socket.AF_UNIX)
    successor.bind(str(world.path))
    world.agent.stop()
    assert world.path.exists()
    successor.close()
