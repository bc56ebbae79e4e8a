"""The probe: which answers prove a secret good or bad, and which prove nothing."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from keyman.core.model import Secret, Verdict
from keyman.sandbox.behaviour import Behaviour
from keyman.sandbox.faults import Fault
from keyman.sandbox.server import Reply, Request, Service
from keyman.vendors.oci_probe import CALIBRATION_SECONDS, Probe, Seen, meaning
from tests.providers.oci_world import Network, Verify, World, world

MODEL = "meta.llama-3.3-70b-instruct"


class SetClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boot(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float, wake: threading.Event | None = None) -> None:
        self.at += seconds


def probe_of(oci: World, model: str | None = MODEL, clock: SetClock | None = None) -> Probe:
    return Probe(oci.sandbox.base_url, model, Network(), clock or SetClock())


def asked(oci: World, secret: Secret) -> int:
    """How often inference looked at this secret."""
    from keyman.sandbox.keys import sha256

    seen = oci.sandbox.counts()["secrets"].get(sha256(secret.reveal()), {})
    return int(seen.get("accepted", 0) + seen.get("rejected", 0))


def test_a_known_secret_costs_nothing_and_a_made_up_one_is_asked_once(oci: World) -> None:
    _, secrets = oci.made_by_hand()
    probe = probe_of(oci, model=None)  # so that nothing could be paid for
    verdicts = [probe.verdict(secrets["key-one"]) for _ in range(3)]
    assert verdicts == [Verdict.ACCEPTED] * 3
    assert oci.sandbox.counts()["rejected"] == 1
    assert asked(oci, secrets["key-one"]) == 3


@pytest.mark.parametrize("state", ["INACTIVE", "REVOKED"])
@pytest.mark.parametrize("authenticate_first", [True, False])
def test_a_dead_secret_is_refused(state: str, *, authenticate_first: bool) -> None:
    with world(Behaviour(authenticate_first=authenticate_first)) as oci:
        handle, secrets = oci.made_by_hand()
        oci.sandbox.console.set_state(handle, "key-one", state)
        assert probe_of(oci).verdict(secrets["key-one"]) is Verdict.REFUSED


def test_where_the_request_is_looked_at_first_a_paid_one_decides() -> None:
    with world(Behaviour(authenticate_first=False)) as oci:
        _, secrets = oci.made_by_hand()
        assert probe_of(oci).verdict(secrets["key-one"]) is Verdict.ACCEPTED
        assert probe_of(oci, model=None).verdict(secrets["key-one"]) is Verdict.SILENT


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("status", [403, 404])
def test_a_missing_policy_is_told_from_a_bad_secret(status: int, *, first: bool) -> None:
    clouds = Behaviour(policy_missing_status=status, authenticate_first=first)
    with world(clouds, policy_missing=True) as oci:
        _, secrets = oci.made_by_hand()
        probe = probe_of(oci)
        assert probe.verdict(secrets["key-one"]) is Verdict.FORBIDDEN
        assert probe.verdict(Secret("sk-nobody")) is Verdict.REFUSED
        oci.sandbox.set_policy(present=True)
        assert probe.verdict(secrets["key-one"]) is Verdict.ACCEPTED


def test_a_wrong_address_proves_nothing(oci: World) -> None:
    _, secrets = oci.made_by_hand()
    wrong = Probe(f"{oci.sandbox.url}/elsewhere", MODEL, Network(), SetClock())
    assert wrong.verdict(secrets["key-one"]) is Verdict.SILENT
    assert asked(oci, secrets["key-one"]) == 0  # and nobody there was shown the secret


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lost_before"),
        Fault("lost_after"),
        Fault("throttle", retry_after=1),
        Fault("status", status=500),
        Fault("status", status=503),
        Fault("html", status=502),
        Fault("html", status=404),
        Fault("html", status=400),
        Fault("html", status=302),
        Fault("garbage", body="<html>"),
    ],
    ids=lambda f: f"{f.effect}-{f.status}",
)
@pytest.mark.parametrize("known", [True, False], ids=["calibrated", "new"])
def test_faults_prove_nothing(oci: World, fault: Fault, *, known: bool) -> None:
    handle, secrets = oci.made_by_hand()
    probe = probe_of(oci)
    if known:
        assert probe.verdict(secrets["key-one"]) is Verdict.ACCEPTED
    oci.sandbox.console.set_state(handle, "key-one", "REVOKED")
    oci.sandbox.faults.add(replace(fault, operation="ChatCompletions"))
    assert probe.verdict(secrets["key-one"]) is Verdict.SILENT
    oci.sandbox.faults.clear()
    assert probe.verdict(secrets["key-one"]) is Verdict.REFUSED


def test_an_answer_of_a_new_kind_has_the_form_of_the_question_checked_again(oci: World) -> None:
    handle, secrets = oci.made_by_hand()
    probe = probe_of(oci)
    assert probe.verdict(secrets["key-one"]) is Verdict.ACCEPTED
    oci.sandbox.console.set_state(handle, "key-one", "REVOKED")
    everyone = Fault("garbage", "ChatCompletions")  # 200 for whoever asks
    oci.sandbox.faults.add(everyone)
    assert probe.verdict(secrets["key-one"]) is Verdict.SILENT


def test_calibration_ends(oci: World) -> None:
    handle, secrets = oci.made_by_hand()
    clock = SetClock()
    probe = probe_of(oci, clock=clock)
    assert probe.verdict(secrets["key-one"]) is Verdict.ACCEPTED
    oci.sandbox.behaviour = Behaviour(authenticate_first=False)
    oci.sandbox.console.set_state(handle, "key-one", "REVOKED")
    clock.at += CALIBRATION_SECONDS
    assert probe.verdict(secrets["key-one"]) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (Seen(200), Verdict.ACCEPTED),
        (Seen(400, "{}"), Verdict.ACCEPTED),
        (Seen(422, "{}"), Verdict.ACCEPTED),
        (Seen(404, '{"message": "no such model"}'), Verdict.ACCEPTED),
        (Seen(404, '{"code": "notauthorizedornotfound"}'), Verdict.FORBIDDEN),
        (Seen(403), Verdict.FORBIDDEN),
        (Seen(401), Verdict.REFUSED),
        (Seen(404), Verdict.SILENT),
        (Seen(400), Verdict.SILENT),
        (Seen(429, "{}"), Verdict.SILENT),
        (Seen(301), Verdict.SILENT),
        (Seen(500, "{}"), Verdict.SILENT),
        (Seen(None), Verdict.SILENT),
    ],
)
def test_what_each_answer_means(seen: Seen, verdict: Verdict) -> None:
    assert meaning(seen) is verdict


class Stranger(Service):
    """Answers everything alike and keeps what it was sent."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.reply, self.requests = reply, list[Request]()

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.reply


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_secret_follows_no_redirect(status: int) -> None:
    elsewhere = Stranger(Reply(200, b"{}"))
    with elsewhere.serve() as url:
        door = Stranger(Reply(status, b"", {"location": f"{url}/chat/completions"}))
        with door.serve() as there:
            probe = Probe(there, MODEL, Network(), SetClock())
            assert probe.verdict(Secret("sk-canary-x")) is Verdict.SILENT
    assert not elsewhere.requests


def test_where_made_up_secrets_are_taken_the_real_one_is_not_shown() -> None:
    anyone = Stranger(Reply(200, b"{}"))
    with anyone.serve() as url:
        probe = Probe(url, MODEL, Network(), SetClock())
        assert probe.verdict(Secret("sk-canary-x")) is Verdict.SILENT
    assert len(anyone.requests) == 2
    assert all("canary" not in r.headers["authorization"] for r in anyone.requests)


class Talker(BaseHTTPRequestHandler):
    """Refuses whoever it doesn't know, and talks to the others for as long as they listen."""

    sent = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        known = "canary" in self.headers["authorization"]
        self.send_response(400 if known else 401)
        self.end_headers()
        with suppress(OSError):
            for _ in range(2000 if known else 0):
                Talker.sent += self.wfile.write(b" " * 65_536)

    def log_message(self, *_: object) -> None:
        """Not to standard error."""


def test_an_endless_answer_is_cut_off() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Talker) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        probe = Probe(f"http://127.0.0.1:{server.server_port}", MODEL, Network(), SetClock())
        assert probe.verdict(Secret("sk-canary-x")) is Verdict.SILENT
        server.shutdown()
    assert Talker.sent < 20_000_000


def test_variables_of_the_environment_move_no_secret(
    oci: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secrets = oci.made_by_hand()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert probe_of(oci).verdict(secrets["key-one"]) is Verdict.ACCEPTED
    behind = Probe(oci.sandbox.base_url, MODEL, Network("http://127.0.0.1:9"), SetClock())
    assert behind.verdict(secrets["key-one"]) is Verdict.SILENT


def test_the_configured_model_is_the_one_paid_for() -> None:
    with world(Behaviour(authenticate_first=False)) as oci:
        _, secrets = oci.made_by_hand()
        provider = oci.provider_with(verify=Verify("nobody.has-this-model"))
        assert provider.verify(secrets["key-one"]) is Verdict.SILENT
        assert oci.usual.verify(secrets["key-one"]) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Network(ca_bundle="/nowhere.pem"), "FileNotFoundError"),
        (Network(proxy="socks9://127.0.0.1:1"), "the line can't be set up"),
        (Network(), "nobody answers there"),
    ],
)
def test_a_line_that_can_not_be_had_proves_nothing_and_says_why(network: Network, why: str) -> None:
    probe = Probe("https://127.0.0.1:9/v1", MODEL, network, SetClock())
    assert probe.verdict(Secret("sk-x")) is Verdict.SILENT
    stranger = probe.to_a_stranger()
    assert stranger.status is None
    assert why in stranger.why


@pytest.mark.parametrize(("first", "status"), [(True, 401), (False, 400)])
def test_a_stranger_is_refused_where_inference_is(oci: World, first: bool, status: int) -> None:
    oci.sandbox.behaviour = replace(oci.sandbox.behaviour, authenticate_first=first)
    assert probe_of(oci).to_a_stranger().status == status
    elsewhere = Probe(f"{oci.sandbox.url}/elsewhere", MODEL, Network(), SetClock())
    assert elsewhere.to_a_stranger().status == 404
