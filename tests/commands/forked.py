"""Processes of keyman without the price of a start: forked from one that has it imported.

A start of `keyman` is mostly imports, and tests start thousands. So each process that runs tests
keeps one interpreter at hand, with all of keyman's modules and nothing begun. What is asked of it
becomes a fork that goes on as `python -P -m MODULE WORDS` would: a process of its own, with the
environment, folder, streams, signals and exit status of one that was started so, and no other file
open. What a fork can't show stays with real starts: what a start imports, what /proc says of argv
and environment, and whatever is settled before the first line of Python (`fits`).

    Forked("keyman", ["status"], env=…, stdout=PIPE)      a subprocess.Popen, to be used as any
    stub("keyman", folder / "keyman.py")                  a program that does it for a shell

The interpreter at hand knows no test. It listens on a socket, one connection for each process, and
ends with whoever started it.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETTLED = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_", "PYDANTIC_", "OPENSSL_")
"""Variables that count before Python runs, or while packages are imported."""
PACKAGES = (
    *("oci.auth.signers", "oci.generative_ai", "oci.vault", "oci.secrets", "oci.identity"),
    *("alembic.command", "alembic.ddl.postgresql", "alembic.autogenerate", "mako.template"),
    *("apscheduler.triggers.date", "apscheduler.triggers.interval"),
    *("anyio._backends._asyncio", "httpcore2", "pydantic.v1", "truststore", "zipp"),
    *("uvicorn.lifespan.off", "uvicorn.loops.uvloop"),
    *("cryptography.hazmat.backends.openssl.backend", "encodings.utf_8_sig"),
)
"""What is imported where it is first needed."""
WORD = 4  # bytes of a number: how long a request is, then a pid, in the end a status
HIGH = 512  # where descriptors wait until those below are free

STUB = """\
import array, os, signal, socket, sys
from json import dumps
def told():
    return int.from_bytes(line.recv({word}, socket.MSG_WAITALL), "little", signed=True)
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
asked = dumps([{module!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(asked).to_bytes({word}, "little")], [0, 1, 2])
line.sendall(asked)
pid = told()
for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = told()
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


# In the process that runs tests.


def fits(environ: Mapping[str, str]) -> bool:
    """Whether a process that has these variables from the start is like one that gets them late."""

    def settled(variables: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in variables.items() if k.startswith(SETTLED)}

    return settled(environ) == settled(_environ())


def stub(module: str, file: Path) -> None:
    """Write a program there: `python -IS FILE WORDS` is `python -P -m MODULE WORDS`, but for pid
    and descriptors above 2.
    """
    file.write_text(STUB.format(address=_address(), module=module, word=WORD))


class Forked(subprocess.Popen[str]):
    """`python -P -m MODULE WORDS`. Of Popen's arguments it heeds env, cwd, and those of streams."""

    def __init__(self, module: str, words: Sequence[str], **how: Any) -> None:
        self._module = module
        super().__init__(list(words), text=True, **how)

    def _execute_child(self, *given: Any) -> None:
        words, cwd, env, ends = given[0], given[5], given[6], given[10:16]
        streams = [own if end == -1 else end for own, end in enumerate(ends[0:1] + ends[3:6:2])]
        folder, environ = os.fspath(cwd or Path.cwd()), dict(os.environ if env is None else env)
        asked = json.dumps([self._module, words, folder, environ]).encode()
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(_address())
        socket.send_fds(self._line, [len(asked).to_bytes(WORD, "little")], streams)
        self._line.sendall(asked)
        self.pid = self._told()
        self._child_created = True
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]

    def _told(self) -> int:
        told = self._line.recv(WORD, socket.MSG_WAITALL)
        assert len(told) == WORD, "the interpreter at hand is gone"
        return int.from_bytes(told, "little", signed=True)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                if not select.select([self._line], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
                self.returncode = self._told()
                self._line.close()
        return self.returncode


def _environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@functools.cache
def _address() -> str:
    """Of the interpreter at hand, which is started by whoever asks first."""
    command = [sys.executable, "-P", "-m", "tests.commands.forked"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=_environ(), text=True, **streams)  # type: ignore[call-overload]
    atexit.register(process.communicate)  # the end of its input ends it
    address: str = process.stdout.readline().strip()
    return address


# In the interpreter at hand.


def modules() -> list[str]:
    """All of keyman, but no program of it; and what it imports when it is first needed."""
    import keyman

    found = (module.name for module in pkgutil.walk_packages(keyman.__path__, "keyman."))
    return [*(name for name in found if not name.endswith("__main__")), *PACKAGES]


def _imported() -> None:
    for name in modules():
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def _serve(listener: socket.socket) -> str | None:
    """In each fork the module that it is to run; None when nobody is left to ask."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who run tests
    started: dict[int, socket.socket] = {}
    watched: list[Any] = [listener, woken, 0]
    while True:
        ready = select.select(watched, [], [])[0]
        if woken in ready:
            os.read(woken, 64)
            _bury(started)
        if listener in ready:
            line = listener.accept()[0]
            size, streams, *_ = socket.recv_fds(line, WORD, 3)
            asked = json.loads(line.recv(int.from_bytes(size, "little"), socket.MSG_WAITALL))
            pid = os.fork()
            if pid == 0:
                for others in (listener, line, *started.values()):
                    others.close()
                signal.signal(signal.SIGINT, usual)
                return _become(streams, *asked)
            started[pid] = line
            for stream in streams:
                os.close(stream)
            _tell(line, pid)
        elif 0 in ready:
            return None


def _bury(started: dict[int, socket.socket]) -> None:
    while started:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        with started.pop(pid) as line:
            _tell(line, os.waitstatus_to_exitcode(status))


def _tell(line: socket.socket, number: int) -> None:
    with suppress(BrokenPipeError):
        line.sendall(number.to_bytes(WORD, "little", signed=True))


def _become(
    streams: list[int], module: str, words: list[str], folder: str, environ: dict[str, str]
) -> str:
    """From here on the process is like one that was started with all this."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting = [fcntl.fcntl(stream, fcntl.F_DUPFD, HIGH) for stream in streams]
    for number, stream in enumerate(waiting):
        os.dup2(stream, number)
    os.closerange(3, HIGH + 16)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    os.chdir(folder)
    sys.argv = ["-m", *words]
    sys.stdin = sys.__stdin__ = _stream(0, "r", sys.stdin)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w", sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w", sys.stderr)  # type: ignore[misc]
    return module


def _stream(number: int, mode: str, like: Any) -> io.TextIOWrapper:
    """As Python makes it at a start."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    raw = open(number, f"{mode}b", -(mode == "r" or not unbuffered), closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        raw,
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        line_buffering=not unbuffered and (number == 2 or raw.isatty()),
        write_through=unbuffered,
    )


def _at_hand() -> str | None:
    folder, own = tempfile.mkdtemp(prefix="km-"), os.getpid()
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{folder}/asked")
            listener.listen(128)
            print(f"{folder}/asked", flush=True)
            return _serve(listener)
    finally:
        if os.getpid() == own:
            shutil.rmtree(folder)


def _run(module: str) -> None:
    """To its end. Taking down piece by piece what was imported would cost more than all else."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        with suppress(OSError):  # which the interpreter has an answer to itself
            sys.stdout.flush()
            sys.stderr.flush()
            if isinstance(end.code, int):
                os._exit(end.code)
        raise


if __name__ == "__main__":
    _imported()
    asked_for = _at_hand()
    if asked_for:
        _run(asked_for)
