"""The way into AWS for the store there: permissions, credentials, network, what is said of it."""

import functools
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import run

import botocore.session
import pytest

from keyman import telemetry
from keyman.core.model import Secret
from keyman.stores.aws_secrets_manager import AwsSecretsManager
from keyman.wiring import open_the_store
from tests.configs import read
from tests.contract import aws_between as faults
from tests.contract.aws_world import CANARY, World, failing, filled
from tests.contract.aws_world import world as aws_world
from tests.contract.places.aws_secrets_manager import REGION, moto
from tests.contract.store_process import ROOT
from tests.serving.tcp_world import Authority

pytestmark = pytest.mark.slow


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    with aws_world(monkeypatch, tmp_path) as made:
        yield made


ODD = "Made/Up\n\x1b[31m"
RIGHTS: dict[str, Callable[[AwsSecretsManager], object]] = {
    "DescribeSecret": lambda s: s.ready("genai"),
    "PutSecretValue": lambda s: s.ready("genai"),
    "UpdateSecretVersionStage": lambda s: s.point("genai", 1),
    "GetSecretValue": lambda s: s.get("genai", 1),
    "ListSecrets": lambda s: s.list(),
    "CreateSecret": lambda s: s.put("new", 1, Secret(CANARY)),
}


@pytest.mark.parametrize("operation", RIGHTS)
def test_a_missing_permission_is_named_ready_to_paste(world: World, operation: str) -> None:
    store = filled(world, 1)
    world.wire.break_all(faults.refused("AccessDeniedException", 400, CANARY), of=operation)
    told = failing(lambda: RIGHTS[operation](store))
    assert f"{operation} for {world.prefix}" in told.message
    assert faults.REQUEST_ID in told.message
    everything = f"arn:aws:secretsmanager:{REGION}:*:secret:{world.prefix}*"
    resource = "*" if operation == "ListSecrets" else everything
    assert f"secretsmanager:{operation}" in told.hint
    assert f" on {resource} in the IAM policy" in told.hint
    assert ("secretsmanager:TagResource" in told.hint) == (operation == "CreateSecret")


@pytest.mark.parametrize("code", ["AccessDeniedException", "DecryptionFailure"])
def test_a_missing_right_to_the_key_is_told_from_one_to_the_secret(world: World, code: str) -> None:
    store = filled(world, 1)
    world.wire.break_all(faults.refused(code, 400, "Access to KMS is not allowed"))
    told = failing(lambda: store.get("genai", 1))
    assert "kms:Decrypt and kms:GenerateDataKey" in told.hint


def every_code() -> list[str]:
    model = botocore.session.get_session().get_service_model("secretsmanager")
    operations = [model.operation_model(name) for name in model.operation_names]
    theirs = {error.name for operation in operations for error in operation.error_shapes}
    return sorted(theirs | {"ExpiredTokenException", "ThrottlingException", ODD})


@pytest.mark.parametrize("code", every_code())
def test_every_refusal_is_a_failure_of_the_store(world: World, code: str) -> None:
    store = filled(world, 1)
    world.wire.break_all(faults.refused(code, 400, f"{CANARY} \x1b[31m"))
    told = failing(lambda: store.put("genai", 2, Secret(CANARY)))
    assert telemetry.escaped(told.message) == told.message
    if code not in ("ResourceNotFoundException", ODD):
        assert code in told.message


def test_opening_asks_nobody_and_nobody_there_is_said(world: World) -> None:
    store = world.store(endpoint="http://127.0.0.1:9")
    told = failing(lambda: store.ready("genai"))
    assert "EndpointConnectionError" in told.message
    assert "network.proxy" in told.hint


def test_without_credentials_it_says_so_and_finds_them_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, 1)
    store = world.store()
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        told = failing(lambda: store.get("genai", 1))
        assert "NoCredentialsError" in told.message
        assert "docs/stores/aws.md" in told.hint
    assert store.get("genai", 1) == Secret("value 1")


def test_an_unknown_profile_is_said(world: World) -> None:
    told = failing(lambda: world.store(profile="nobody").get("genai", 1))
    assert "ProfileNotFound" in told.message
    assert "profile" in told.hint


def test_refused_credentials_are_looked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(world, 1)
    world.wire.break_call(faults.refused("ExpiredTokenException"))
    assert "sign in anew" in failing(lambda: store.get("genai", 1)).hint
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANEWNEWNEWNEWNEWN")
    seen: list[str] = []

    def signed_by(call: faults.Call) -> None:
        seen.append(call.headers["Authorization"])
        faults.none(call)

    world.wire.break_call(signed_by)
    store.get("genai", 1)
    assert "AKIANEWNEWNEWNEWNEWN" in seen[0]


def test_metadata_that_never_answer_are_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "3600")
        told = failing(lambda: world.store().get("genai", 1))
    assert "NoCredentialsError" in told.message


def test_the_environments_proxies_and_endpoints_are_not_followed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    store = filled(world, 1)
    assert store.get("genai", 1) == Secret("value 1")


def test_the_configured_proxy_is_followed(world: World) -> None:
    filled(world, 1)
    store = world.store(endpoint="http://secretsmanager.invalid", proxy=world.wire.address)
    assert store.get("genai", 1) == Secret("value 1")
    assert world.wire.calls == ["GetSecretValue", "DescribeSecret"]


def test_only_the_configured_authority_is_trusted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, served = Authority(tmp_path), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    files = ours.issue("aws")
    served.load_cert_chain(files.cert, files.key)
    filled(world, 1)
    with faults.between(moto(), tls=served) as behind:
        trusting = world.store(endpoint=behind.address, ca_bundle=str(ours.file))
        assert trusting.get("genai", 1) == Secret("value 1")
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, str(ours.file))
        for bundle in (None, "/no/such/file"):
            strict = world.store(endpoint=behind.address, ca_bundle=bundle)
            failing(functools.partial(strict.get, "genai", 1))


def test_at_debug_no_value_is_logged(world: World, tmp_path: Path) -> None:
    """The SDK would: it prints the bodies of what it sends and gets."""
    program = (
        "import sys; from keyman import telemetry; telemetry.start_logging('debug');"
        "from keyman.core.model import Secret; from keyman.stores import open_store;"
        "options = dict(zip(('region', 'endpoint', 'prefix', 'installation'), sys.argv[1:]));"
        "store = open_store('aws-secrets-manager', options);"
        "store.put('genai', 1, Secret(sys.stdin.read())); store.point('genai', 1);"
        "assert store.get('genai', 1); store.close()"
    )
    value = "plain-looking-0123456789"
    done = run(
        [sys.executable, "-c", program, REGION, moto(), world.prefix, world.installation],
        cwd=ROOT,
        input=value,
        capture_output=True,
        text=True,
        check=True,
    )
    assert world.reads() == value
    assert value not in done.stdout + done.stderr


def test_without_boto3_the_way_to_have_it_is_said() -> None:
    program = (
        "import sys; sys.modules['boto3.session'] = None\n"
        "from keyman.errors import ConfigError; from keyman.stores import open_store\n"
        "try: open_store('aws-secrets-manager', {})\n"
        "except ConfigError as error: sys.exit('keyman[aws]' not in error.hint)"
    )
    assert run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_the_configuration_says_all_of_it(world: World, tmp_path: Path) -> None:
    filled(world, 1)
    lines = f"""
network: {{proxy: '{world.wire.address}'}}
stores:
  team:
    kind: aws-secrets-manager
    region: {REGION}
    prefix: {world.prefix}
    endpoint: http://localhost:1
    timeout: 3s
    kms_key_id: alias/ours
"""
    settings = read(lines, tmp_path)
    name = world.installation
    with closing(open_the_store(settings.stores["team"], settings, name, read_only=False)) as store:
        store.put("new", 1, Secret("value 1"))
        assert store.list() == [("genai", 1), ("new", 1)]
    assert world.aws.describe_secret(SecretId=world.id("new"))["KmsKeyId"] == "alias/ours"
    with closing(open_the_store(settings.stores["team"], settings, name, read_only=True)) as reader:
        assert "reading only" in failing(lambda: reader.drop("genai", 1)).message


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs/stores/aws.md").read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", page))
    there = "".join(path.read_text() for path in Path(__file__).parent.glob("test_store_aws*.py"))
    assert {name for name in named if f"def {name}(" not in there} == set()
    assert len(named) > 12
