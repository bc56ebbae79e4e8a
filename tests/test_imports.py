"""What an app takes on by importing keyman: the standard library, and nothing else.

Each program below runs without any site-packages (-S), so a third-party import could not even
succeed; what it did import is then compared with the list of the standard library's modules.
Who may import whom inside keyman is held by import-linter (`make check`).
"""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyman import __version__

ROOT = Path(__file__).resolve().parent.parent

REPORT = """
import sys
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print("foreign:", sorted(foreign - {"__main__", "keyman"}), file=sys.stderr)
"""


def run_bare(program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program in an interpreter that has the standard library and this checkout."""
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append({str(ROOT)!r})\n{program}",
        ],
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", os.defpath), **environment},
        timeout=60,
        check=False,
    )


def test_import_keyman_needs_the_standard_library_only() -> None:
    ran = run_bare("import keyman\n" + REPORT)
    assert ran.returncode == 0, ran.stderr
    assert "foreign: []" in ran.stderr


def test_the_public_names_are_there_without_any_package() -> None:
    ran = run_bare(
        "import keyman\n"
        "for name in ('get', 'secret', 'provider', 'Error', 'NotFound', 'NotRunning'):\n"
        "    getattr(keyman, name)\n"
    )
    assert ran.returncode == 0, ran.stderr


def test_keyman_get_needs_the_standard_library_only(agent: Path, tmp_path: Path) -> None:
    """The command that shells call in loops, against an agent that answers."""
    ran = run_bare(
        "sys.argv = ['keyman', 'get', 'genai']\n"
        "from keyman.__main__ import main\n"
        "status = main()\n" + REPORT + "sys.exit(status)\n",
        HOME=str(tmp_path),
        KEYMAN_HOME=str(tmp_path),
        KEYMAN_SOCKET=str(agent),
    )
    assert (ran.returncode, ran.stdout) == (0, "sk-one\n"), ran.stderr
    assert "foreign: []" in ran.stderr


@pytest.mark.parametrize(
    ("words", "status", "out", "err"),
    [
        ("--version", 0, f"keyman, version {__version__}\n", ""),
        ("--help", 0, "Only the client is installed here", ""),
        ("status", 6, "", "the daemon's parts are not installed here (click is missing)"),
        ("status --json", 6, '{"error": {"code": "not_running"', "pip install 'keyman[daemon]'"),
    ],
)
def test_the_command_says_what_is_missing(words: str, status: int, out: str, err: str) -> None:
    ran = run_bare(
        f"sys.argv = ['keyman', *{words.split()}]\n"
        "from keyman.__main__ import main\n"
        "sys.exit(main())\n"
    )
    assert ran.returncode == status, ran.stderr
    assert out in ran.stdout
    assert err in ran.stderr


@pytest.fixture
def agent() -> Iterator[Path]:
    """An agent as the interface describes it, small enough to be read at a glance."""
    import tempfile

    with (
        tempfile.TemporaryDirectory() as folder,  # short: a socket's path has at most 100 bytes
        _Server(f"{folder}/agent.sock", _Answer) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield Path(folder, "agent.sock")
        server.shutdown()
        thread.join()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert self.path == "/api/v1/secrets/genai"
        body, kind = b"sk-one\n", "text/plain; charset=utf-8"
        if "text/plain" not in self.headers.get("Accept", ""):
            fields = dict.fromkeys(
                ("slot", "expires_at", "base_url", "principal", "quota_project"), None
            )
            named = {"name": "genai", "value": "sk-one", "version": 1, "stage": "current"}
            body = json.dumps({**fields, **named, "provider": "oci-genai"}).encode()
            kind = "application/json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
        pass
