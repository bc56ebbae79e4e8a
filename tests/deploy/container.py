"""What an engine makes of an image and a manifest, as far as keyman can tell: a container.

Process 1 of its own, under a user without rights, on a root that nobody can write to, with volumes
where the manifest mounts them. Its programs are this machine's; that the image has the same ones is
for tests/deploy/test_image.py to see.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.commands.world import GENEROUS, ROOT, Done, until
from tests.deploy.box import PATH, Box, assigned
from tests.deploy.dockerfile import stages

IMAGE = stages(ROOT / "Dockerfile")[-1]
USER = 10001
UNPRIVILEGED = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
READ_ONLY = 'mount -o remount,bind,ro / && exec "$@"'


@dataclass
class Container:
    inside: Box  #: seen from its process 1
    outside: subprocess.Popen[bytes]
    log: Path
    variables: dict[str, str]
    uid: int = USER

    def exec(self, *command: str) -> Done:
        """As `docker exec` and a probe run it."""
        return self.inside.run(*command, uid=self.uid, environ=self.variables)

    def stop(self) -> int:
        """As an engine begins to; the exit status."""
        psutil.Process(self.inside.pid).terminate()
        return self.outside.wait(GENEROUS)


@contextmanager
def container(
    box: Box, command: list[str], environ: Mapping[str, str], *, uid: int = USER
) -> Iterator[Container]:
    """Until the end of the block, or its own."""
    variables = {"PATH": PATH, "HOME": "/var/lib/keyman", **IMAGE.environment, **environ}
    alone = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", *UNPRIVILEGED]
    started = [*box.entering(), *alone, "sh", "-c", READ_ONLY, "sh", *as_user]
    log = box.log.with_name("container.log")
    with log.open("w") as lines:
        outside = subprocess.Popen(
            [*started, "env", "-i", *assigned(variables), *command],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
        )
    try:
        inside = first_of(outside, Path(command[0]).name, log)
        yield Container(inside, outside, log, variables, uid)
    finally:
        outside.kill()
        outside.wait(GENEROUS)


def first_of(outside: subprocess.Popen[bytes], name: str, log: Path) -> Box:
    """Its process 1, once it is what was to be started, and none of those that start it."""

    def processes() -> list[psutil.Process]:
        assert outside.poll() is None, log.read_text()
        return psutil.Process(outside.pid).children(recursive=True)

    until(lambda: [each for each in processes() if each.name() == name], log.read_text)
    [first] = [each for each in processes() if each.name() == name]
    return Box(first.pid, log)


def volume(box: Box, path: str, mode: str, owner: str = "root:10001") -> None:
    """An empty one, mounted there."""
    box.done("mkdir", "-p", path)
    box.done("mount", "-t", "tmpfs", "tmpfs", path)
    box.done("chown", owner, path)
    box.done("chmod", mode, path)
