"""Signers for workloads inside OCI, from the vendor's SDK, are let in."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oci
import pytest
from oci.auth.certificate_retriever import UrlBasedCertificateRetriever
from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, SecurityTokenSigner
from oci.auth.signers.oke_workload_identity_resource_principal_signer import (
    OkeWorkloadIdentityResourcePrincipalSigner,
)
from oci.auth.signers.resource_principals_signer import SuppliedServiceAccountTokenProvider

from keyman.sandbox.faults import Fault
from keyman.sandbox.oci_identity import INSTANCE, POD, OciIdentity, OkeProxymux, issuer_for
from tests.sandbox.world import COMPARTMENT, TENANCY, World, client_of

NO_RETRY = oci.retry.NoneRetryStrategy()


@pytest.fixture
def identity(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[OciIdentity]:
    service = OciIdentity(world.sandbox)
    with service.serve():
        monkeypatch.setenv("OCI_METADATA_BASE_URL", service.metadata_url)
        yield service


def instance_signer(identity: OciIdentity) -> Any:
    return InstancePrincipalsSecurityTokenSigner(
        federation_endpoint=identity.federation_endpoint,
        retry_strategy=NO_RETRY,
        federation_client_retry_strategy=NO_RETRY,
        federation_client_circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
    )


def accepted(world: World, signer: Any) -> str:
    """Who the sandbox took the signer for."""
    client = client_of(world.url, signer)
    assert client.list_api_keys(COMPARTMENT).status == 200
    client.base_client.session.close()
    return world.sandbox.calls()[-1].actor


def status_of_failure(call: Callable[[], object]) -> int:
    """The status a signer failed with while it was being built; then its sockets are let go."""
    status = 200
    try:
        call()
    except oci.exceptions.ServiceError as error:
        status = int(error.status)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return status


def close(signer: Any) -> None:
    federation = signer.federation_client
    federation.requests_session.close()
    for retriever in (
        federation.leaf_certificate_retriever,
        *federation.intermediate_certificate_retrievers,
    ):
        retriever.requests_session.close()


def test_an_instance_is_let_in_and_gets_a_new_token_when_its_own_is_refused(
    world: World, identity: OciIdentity
) -> None:
    signer = instance_signer(identity)
    assert (signer.region, signer.tenancy_id) == ("us-chicago-1", TENANCY)
    assert accepted(world, signer) == INSTANCE
    world.sandbox.verifier.forget_tokens()
    assert accepted(world, signer) == INSTANCE
    assert identity.issuer.issued == 2
    close(signer)


def test_an_instance_renews_a_token_that_runs_out(world: World, identity: OciIdentity) -> None:
    identity.issuer.token_seconds = 30
    signer = instance_signer(identity)
    accepted(world, signer)
    assert identity.issuer.issued > 1
    close(signer)


def test_federation_can_be_down(identity: OciIdentity) -> None:
    identity.faults.add(Fault("status", "IssueInstanceToken", status=503))
    assert status_of_failure(lambda: instance_signer(identity)) == 503


def test_metadata_is_only_for_those_who_send_the_header(identity: OciIdentity) -> None:
    url = f"{identity.metadata_url}/identity/cert.pem"
    found = status_of_failure(lambda: UrlBasedCertificateRetriever(certificate_url=url))
    assert found == 401


def test_a_foreign_certificate_gets_no_token(world: World, identity: OciIdentity) -> None:
    other = OciIdentity(world.sandbox)
    assert other.federation_endpoint != identity.federation_endpoint
    with other.serve():
        assert status_of_failure(lambda: instance_signer(other)) == 401


def test_a_resource_principal_is_let_in(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in issuer_for(world.sandbox).write_resource_principal(tmp_path).items():
        monkeypatch.setenv(name, value)
    signer = oci.auth.signers.get_resource_principals_signer()
    assert accepted(world, signer) == "ocid1.fnfunc.oc1..sandbox"


def test_a_resource_principal_follows_its_files(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = issuer_for(world.sandbox)
    for name, value in issuer.write_resource_principal(tmp_path).items():
        monkeypatch.setenv(name, value)
    signer = oci.auth.signers.get_resource_principals_signer()
    world.sandbox.verifier.forget_tokens()
    issuer.write_resource_principal(tmp_path)
    assert accepted(world, signer)


def session_signer(config_file: Path) -> Any:
    config = oci.config.from_file(str(config_file))
    token = Path(config["security_token_file"]).read_text()
    return SecurityTokenSigner(token, oci.signer.load_private_key_from_file(config["key_file"]))


def test_a_session_token_is_let_in_until_it_expires(world: World, tmp_path: Path) -> None:
    issuer = issuer_for(world.sandbox)
    assert accepted(world, session_signer(issuer.write_session(tmp_path)))
    issuer.token_seconds = -1
    with pytest.raises(oci.exceptions.ServiceError) as caught:
        accepted(world, session_signer(issuer.write_session(tmp_path)))
    assert caught.value.status == 401


def test_a_pod_is_let_in(world: World, tmp_path: Path) -> None:
    proxymux = OkeProxymux(world.sandbox, tmp_path)
    with proxymux.serve() as url:
        port = int(url.rsplit(":", 1)[1])
        account = SuppliedServiceAccountTokenProvider(proxymux.issuer.service_account_token())
        signer = OkeWorkloadIdentityResourcePrincipalSigner(
            account, str(proxymux.ca_file), "127.0.0.1", port, "us-chicago-1"
        )
        assert accepted(world, signer) == POD
        world.sandbox.verifier.forget_tokens()
        assert accepted(world, signer) == POD
        signer.requests_session.close()
    assert proxymux.calls == ["IssuePodToken"] * 2


def test_a_profile_is_read_by_the_sdk_and_let_in(world: World, tmp_path: Path) -> None:
    config = oci.config.from_file(str(world.sandbox.make_profile(tmp_path)))
    assert (tmp_path / "default.pem").stat().st_mode & 0o777 == 0o600
    client = client_of(world.url, None, config)
    assert client.list_api_keys(COMPARTMENT).status == 200
    client.base_client.session.close()
    other = world.sandbox.make_profile(tmp_path, "OTHER")
    assert oci.config.from_file(str(other), "OTHER")["fingerprint"] != config["fingerprint"]


def test_tokens_count_real_time(world: World) -> None:
    world.wait(10**7)
    assert abs(world.sandbox.verifier.now().timestamp() - time.time()) < 60
