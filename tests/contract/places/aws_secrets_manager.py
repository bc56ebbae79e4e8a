"""AWS Secrets Manager as moto imitates it, over real HTTP; each test has a prefix of its own.

Where moto lets labels be moved that AWS's documents say it would not, it is made to refuse.
"""

import atexit
import functools
import io
import json
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.secretsmanager.models import secretsmanager_backends
from werkzeug.serving import WSGIRequestHandler, make_server

from keyman.clock import new_id

ACCOUNT = "123456789012"  # moto's
REGION = "eu-central-1"


@functools.cache
def moto() -> str:
    """The address of this process's imitation."""
    app = _stricter(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    atexit.register(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Not to the terminal."""


def _stricter(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """One call at a time, since moto's dictionaries are not made for threads."""
    turn = threading.Lock()

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        moves = environ.get("HTTP_X_AMZ_TARGET", "").endswith("UpdateSecretVersionStage")
        with turn:
            code = _objection(**json.loads(body)) if moves else None
            if code is None:
                return list(app(environ, start))
        start("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps({"__type": code, "message": ""}).encode()]

    return answer


def _objection(
    SecretId: str,  # noqa: N803
    VersionStage: str,  # noqa: N803
    MoveToVersionId: str | None = None,  # noqa: N803
    RemoveFromVersionId: str | None = None,  # noqa: N803
) -> str | None:
    """What AWS would answer, where moto would do it."""
    secret = secretsmanager_backends[ACCOUNT][REGION].secrets.get(SecretId)
    versions = {} if secret is None else secret.versions
    labels = [label for version in versions.values() for label in version["version_stages"]]
    if MoveToVersionId and RemoveFromVersionId is None and VersionStage in labels:
        return "InvalidParameterException"
    if MoveToVersionId is None and VersionStage == "AWSCURRENT" and labels.count("AWSCURRENT") < 2:
        return "InvalidParameterException"
    full = len({*labels, VersionStage}) > 20
    return "LimitExceededException" if full and VersionStage not in labels else None


def invented_credentials(environment: pytest.MonkeyPatch, folder: Any) -> None:
    """What boto3 finds, here and in child processes, and nothing of this machine's."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        environment.setenv(name, f"{folder}/no-such-file")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        environment.delenv(name, raising=False)
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environment.setenv("AWS_ACCESS_KEY_ID", f"AKIA{new_id()[:16].upper()}")
    environment.setenv("AWS_SECRET_ACCESS_KEY", new_id())


def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    invented_credentials(
        request.getfixturevalue("monkeypatch"), request.getfixturevalue("tmp_path")
    )
    return {"region": REGION, "endpoint": moto(), "prefix": f"keyman/{new_id()}/"}
