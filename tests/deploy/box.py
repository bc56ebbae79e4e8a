"""A place inside of this machine with a file system, processes and control groups of its own.

Its root is an overlay of ours in memory: it has the programs of this machine, and nothing that it
changes outlasts it. What else of ours is mounted can't be changed there. The network is ours, so
that a sandbox is reached over loopback. keyman is in it as a package is installed: in /opt/keyman,
for everybody to read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.commands.world import GENEROUS, ROOT, Done, until
from tests.recipes.program import here

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ALONE = ("unshare", "--mount", "--pid", "--fork", "--cgroup", "--ipc", "--uts", "--kill-child")
MADE = """\
set -e
mount --make-rprivate /
mount -t tmpfs box "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mount -t tmpfs -o mode=1777 tmpfs tmp
for each in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 dev/${each%:*} c 1 ${each#*:}
done
mkdir -p dev/shm dev/pts opt/python opt/packages run/units
ln -s pts/ptmx dev/ptmx
for each in "$2 opt/python" "$3 opt/packages"; do
  mount --bind $each
  mount -o remount,bind,ro ${each#* }
done
mkdir .outside
pivot_root . .outside
umount -l .outside
rmdir .outside
mount --make-rshared /
"""
CONSOLE = """\
#!/opt/keyman/bin/python3
import sys
from keyman.__main__ import script
sys.exit(script())
"""


@dataclass
class Box:
    """Seen from outside; paths are as they are inside."""

    pid: int  #: here, of its process 1
    log: Path

    def path(self, inside: str) -> Path:
        return Path(f"/proc/{self.pid}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def entering(self) -> list[str]:
        """What has the command behind it run inside."""
        return ["nsenter", f"--target={self.pid}", "-m", "-p", "-C", "-i", "-u", "-r", "-w"]

    def run(
        self,
        *command: str,
        uid: int = 0,
        within: float = GENEROUS,
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """A command inside, as that user; it finds nothing in its environment but these."""
        entered = self.entering()
        entered += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] * bool(uid)
        ran = subprocess.run(
            [*entered, "env", "-i", *assigned({"PATH": PATH, **(environ or {})}), *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=within,
        )
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def done(self, *command: str, **environ: str) -> str:
        """What it prints; it must succeed."""
        ran = self.run(*command, environ=environ)
        assert ran.status == 0, (command, ran.err)
        return ran.out.strip()

    def shared(self, profile: Path, folder: str) -> None:
        """A sandbox's profile for signing in, copied to where it is readable."""
        for file in profile.parent.iterdir():
            self.write(
                f"{folder}/{file.name}", file.read_text().replace(str(profile.parent), folder)
            )


def assigned(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


@contextmanager
def boxed(first: str = "exec sleep infinity") -> Iterator[Box]:
    """Until the end of the block; `first`: what its process 1 does. Skips where none can be."""
    here("a file system of our own", may_be_made(), "sudo make test, on Linux")
    with tempfile.TemporaryDirectory(prefix="km-box-") as folder, control_group() as group:
        (root := Path(folder, "root")).mkdir()
        script = f'echo $$ > {group}/cgroup.procs\nexec {" ".join(ALONE)} sh -c "$0" sh "$@"\n'
        bound = [sys.base_prefix, sysconfig.get_path("purelib")]
        command: list[Any] = ["sh", "-c", script, MADE + first, root, *bound]
        log = Path(folder, "log")
        with log.open("w") as lines:
            outside = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=lines, stderr=lines
            )
        try:
            yield ready(outside.pid, log)
        finally:
            outside.kill()
            outside.wait(GENEROUS)


def may_be_made() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare") or not cgroup2():
        return False
    tries = [*ALONE, "mount", "-t", "tmpfs", "box", "/mnt"]
    return subprocess.run(tries, check=False, capture_output=True).returncode == 0


def ready(outside: int, log: Path) -> Box:
    until(lambda: psutil.Process(outside).children(), log.read_text)
    box = Box(psutil.Process(outside).children()[0].pid, log)
    until(lambda: not made(box), log.read_text)
    installed(box)
    return box


def made(box: Box) -> bool:
    """Whether its process 1 still makes it, and is what is to run in it later."""
    return psutil.Process(box.pid).name() == "sh"


def installed(box: Box) -> None:
    """keyman, in a virtual environment of the usual form."""
    where = "/opt/keyman/lib/python{}.{}/site-packages".format(*sys.version_info)
    box.write("/opt/keyman/pyvenv.cfg", "home = /opt/python/bin\n")
    box.write("/opt/keyman/bin/keyman", CONSOLE, 0o755)
    for name in ("python", "python3"):
        python = "/opt/python/bin/python{}.{}".format(*sys.version_info)
        box.path(f"/opt/keyman/bin/{name}").symlink_to(python)
    box.write("/etc/ld.so.conf.d/000-python.conf", "/opt/python/lib\n")
    box.done("ldconfig")
    box.write(f"{where}/packages.pth", "/opt/packages\n")
    package = box.path(f"{where}/keyman")
    shutil.copytree(ROOT / "keyman", package)
    shutil.copytree(ROOT / "migrations", package / "_migrations")
    shutil.copytree(ROOT / "deploy", package / "_deploy")
    box.done("chmod", "-R", "go+rX", "/opt/keyman")


def cgroup2() -> Path | None:
    """Where the one hierarchy of control groups is mounted that may be divided."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return next((Path(each[1]) for each in mounts if each[2] == "cgroup2"), None)


@contextmanager
def control_group() -> Iterator[Path]:
    above = cgroup2()
    assert above
    made = Path(tempfile.mkdtemp(prefix="keyman-test-", dir=above))
    try:
        yield made
    finally:
        until(lambda: removed(made))


def removed(group: Path) -> bool:
    """With all that was made in it; its processes may take a moment to be gone."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)  # noqa: PTH106 (what os.walk gives)
    except OSError:
        time.sleep(0.05)
        return False
    return True
