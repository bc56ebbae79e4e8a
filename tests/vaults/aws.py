"""AWS Secrets Manager as moto imitates it, in this process, behind a gate.

Moto's own application answers; only the listener is the sandboxes', which can break a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from werkzeug.test import EnvironBuilder, run_wsgi_app

from keyman.clock import SystemClock, new_id
from keyman.sandbox.server import Reply, Request, Service, json_reply
from keyman.stores.aws_secrets_manager import PLACEHOLDER
from tests.contract.places.aws_secrets_manager import ACCOUNT, REGION, _stricter
from tests.vaults.gate import Gate
from tests.vaults.kinds import Place, Section


class AwsSecretsManager(Place):
    shows = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate: Gate = Gate()
        self._prefix = f"keyman/{new_id()}/"  # moto's memory is the whole process's
        self._service = _Moto(self.gate)
        self._url = ""

    @contextmanager
    def served(self) -> Iterator[object]:
        with self._service.serve() as self._url:
            yield self

    def section(self) -> Section:
        return {
            "kind": "aws-secrets-manager",
            "region": REGION,
            "endpoint": self._url,
            "prefix": self._prefix,
        }

    def environment(self) -> Mapping[str, str]:
        nowhere = str(self.folder / "no-such-file")
        return {
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "AKIAINVENTED12345678",
            "AWS_SECRET_ACCESS_KEY": "invented",
        }

    def shown(self, name: str) -> str | None:
        secret = secretsmanager_backends[ACCOUNT][REGION].secrets.get(self._prefix + name)
        versions = list(secret.versions.values()) if secret else []
        values = [v["secret_string"] for v in versions if "AWSCURRENT" in v["version_stages"]]
        return None if not values or values[0] == PLACEHOLDER else str(values[0])

    def empty(self) -> None:
        there = secretsmanager_backends[ACCOUNT][REGION].secrets
        for name in [name for name in there if name.startswith(self._prefix)]:
            there.pop(name)


class _Moto(Service):
    def __init__(self, gate: Gate) -> None:
        super().__init__(SystemClock().now)
        self._app = _stricter(DomainDispatcherApplication(create_backend_app))
        self._gate = gate

    def answer(self, request: Request) -> Reply:
        operation = request.headers.get("x-amz-target", "").partition(".")[2]
        return self._gate.through(operation, lambda: self._act(request), _refused)

    def _act(self, request: Request) -> Reply:
        asked = EnvironBuilder(
            path=request.target,
            method=request.method,
            headers=list(request.headers.items()),
            data=request.body,
        )
        body, status, headers = run_wsgi_app(self._app, asked.get_environ())
        told = {name: value for name, value in headers.items() if name.lower() != "content-length"}
        return Reply(int(status.split()[0]), b"".join(body), told)


def _refused(status: int) -> Reply:
    code = {403: "AccessDeniedException", 429: "ThrottlingException"}[status]
    return json_reply(400, {"__type": code, "message": ""})
