"""The API as schemathesis sees it: python -m tests.fuzz.schemathesis [--examples 150] [--seed S]

Schemathesis reads the agent's own document, and asks what it thinks of, as the owner of the home: a
port of this machine leads to the agent's socket. It judges that no answer is a server error, that
each is one the document describes (status, kind of content, body), and that methods the document
doesn't have are refused. 503 is no server error here: it says that there is no usable secret.

Not tried: the stream of events, which doesn't end. `make proof` installs schemathesis beside the
tests, in .tools/proof.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.api_world import world
from tests.proof.report import conclude

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / ".tools/proof/bin/schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
EXPECTED = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]\n'
SUMMARY = re.compile(r"(\d+) generated(?:, (\d+) found)?")


@contextlib.contextmanager
def led_to(path: Path) -> Iterator[int]:
    """A port of this machine behind which the socket is."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_lead, args=(door, path), daemon=True).start()
        yield door.getsockname()[1]


def _lead(door: socket.socket, path: Path) -> None:
    while True:
        try:
            here, _ = door.accept()
        except OSError:
            return  # closed: the run is over
        there = socket.socket(socket.AF_UNIX)
        there.connect(str(path))
        for ends in ((here, there), (there, here)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def run(examples: int, seed: int) -> tuple[int, int]:
    """How many requests it thought of, and in how many it found something wrong."""
    with (
        world() as there,
        led_to(there.socket) as port,
        tempfile.TemporaryDirectory(prefix="km-") as folder,
    ):
        Path(folder, "openapi.json").write_text(json.dumps(there.document))
        Path(folder, "schemathesis.toml").write_text(EXPECTED)
        words = ["run", "openapi.json", "-u", f"http://127.0.0.1:{port}"]
        words += ["--checks", ",".join(CHECKS), "--max-examples", str(examples)]
        words += ["--seed", str(seed), "--continue-on-failure", "--request-timeout", "30"]
        words += ["--phases", "examples,coverage,fuzzing", "--exclude-path", "/api/v1/events"]
        words += ["--warnings", "off", "--no-color"]
        done = subprocess.run(
            [str(COMMAND), *words], cwd=folder, capture_output=True, text=True, check=False
        )
    print(done.stdout[done.stdout.find("= FAILURES") :] if done.returncode else "", end="")
    summary = SUMMARY.search(done.stdout)
    if summary is None:
        print(done.stdout[-2000:], done.stderr[-2000:])
        raise SystemExit("schemathesis came to no end")
    return int(summary[1]), int(summary[2] or 0) or int(done.returncode != 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.schemathesis")
    parser.add_argument("--examples", type=int, default=150, help="at most, of each call")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    logging.disable(logging.CRITICAL)
    if not COMMAND.exists():
        print("keyman: error: schemathesis is not installed", file=sys.stderr)
        print("keyman: hint: make .tools/proof/.done", file=sys.stderr)
        return 2
    made, broken = run(asked.examples, asked.seed)
    print(f"schemathesis: {made:,} requests, {broken} of them broke something")
    print(
        f"   replay: python -m tests.fuzz.schemathesis --seed {asked.seed}" if broken else "",
        end="",
    )
    return conclude({"requests by schemathesis": made}, broken, began)


if __name__ == "__main__":
    sys.exit(main())
