"""The real desk behind a real agent, with a journal and two credentials; nobody takes turns."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keyman.app import App, open_app
from keyman.config import Listen
from keyman.core.model import Secret
from keyman.sandbox.openai import OpenAISandbox
from keyman.serving.api import Api
from keyman.serving.server import Agent
from tests.configs import read

CANARY = "c4n4ry"  #: in every secret of this world
OWNER, CLIENT, WRONG, NOBODY = DOORS = ("owner", "client", "wrong token", "no token")
CONFIG = """\
store: {{kind: memory}}
credentials:
  partner: {{provider: static, base_url: "https://one.example/v1"}}
  openai-main:
    provider: openai
    base_url: {url}
    project_id: {project}
    service_account_id: {account}
    admin_key: {admin}
    policy: {{lifetime: 30d, rotate_before: 10d, overlap: 1h}}
"""


@dataclass
class World:
    """The real desk behind a real agent, on a socket and a port."""

    app: App
    agent: Agent
    socket: Path
    token: str
    document: dict[str, Any] = field(default_factory=dict)
    numbers: int = 0

    def line(self, door: str) -> http.client.HTTPConnection:
        """A connection through that door; each stranger comes from an address of its own."""
        self.numbers += 1
        if door == OWNER:
            line = http.client.HTTPConnection("localhost", timeout=30)
            line.sock = socket.socket(socket.AF_UNIX)
            line.sock.settimeout(30)
            line.sock.connect(str(self.socket))
            return line
        assert self.agent.address is not None
        host, port = self.agent.address
        n = self.numbers if door != CLIENT else 0
        source = f"127.{n >> 14 & 127}.{n >> 7 & 127}.{n % 128 + 1}"
        return http.client.HTTPConnection(host, port, timeout=30, source_address=(source, 0))


@contextlib.contextmanager
def world() -> Iterator[World]:
    there = OpenAISandbox(seed=1, mark=CANARY)
    with there.serve(), tempfile.TemporaryDirectory(prefix="km-") as folder:
        home, account = Path(folder) / "home", there.dashboard.create_account("apps")["id"]
        home.mkdir(0o700)
        named = {"project": there.project, "account": account, "admin": there.admin_key}
        settings = read(CONFIG.format(url=there.base_url, **named), home)
        with open_app(settings) as app:
            app.rotator.put("partner", Secret(f"{CANARY}-partner"), None, by="a test")
            while app.rotator.advance("openai-main").reason != "nothing due":
                time.sleep(0.2)  # until it was probed twice, a second apart
            token = f"kmc_{secrets.token_urlsafe(32)}"
            app.register.add("reader", hashlib.sha256(token.encode()).hexdigest(), ("*",), "a test")
            names = {"credentials": sorted(settings.credentials)}
            since = datetime.now(UTC)
            api = Api(
                app.desk, app.snapshot, reload=lambda: names, since=since, clients=app.register
            )
            path = Path(folder) / "agent.sock"
            agent = Agent(api, path, listen=Listen("127.0.0.1", 0, None, ()))
            agent.start()
            try:
                made = World(app, agent, path, token)
                with contextlib.closing(made.line(OWNER)) as line:
                    line.request("GET", "/api/openapi.json")
                    made.document = json.loads(line.getresponse().read())
                yield made
            finally:
                agent.stop()
