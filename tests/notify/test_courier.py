"""The process that delivers: real apprise, a real webhook, and all that may go wrong there."""

from __future__ import annotations

import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from keyman.config import NetworkSettings, NotifyTarget
from keyman.core.model import Secret
from keyman.errors import ConfigError
from keyman.notify import child
from keyman.notify.child import scrubbed
from keyman.notify.courier import ENDED_EARLY, Courier, Judging, Sent, Silent, environment
from keyman.notify.harmless import harmless
from keyman.notify.wording import Message
from tests.commands.world import until
from tests.notify.receiver import Receiver, receiver
from tests.notify.test_wording import HOSTILE

TOKEN = "T0psecretT0ken"
DIRECT = NetworkSettings()
HELLO = Message("keyman: hello", "What: a\nNext: b", "warning")


@pytest.fixture(scope="module")
def courier() -> Iterator[Courier]:
    with Courier(DIRECT) as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def test_a_message_arrives_whole(courier: Courier, hook: Receiver) -> None:
    assert courier.open(Secret(hook.url())) is None
    assert courier.send(HELLO).done
    (got,) = hook.got
    assert (got["title"], got["message"], got["type"], got["path"]) == (
        HELLO.title,
        HELLO.body,
        "warning",
        "/hook",
    )


def test_hostile_text_goes_out_as_it_is_and_apprise_acts_on_none_of_it(
    courier: Courier, hook: Receiver
) -> None:
    """That it is harmless is wording's affair; here nothing may be added, run or swallowed."""
    text = "{{ title }} :smile: \\n \\x41 %(x)s {0} $HOME <b>x</b>"
    for form in ("text", "html", "markdown"):
        assert courier.open(Secret(hook.url(more=f"?format={form}"))) is None
        assert courier.send(Message("keyman: " + text, text)).done
    plain, html, _ = (str(one["message"]) for one in hook.got)
    assert plain == text
    assert "<b>" not in html
    assert all("smile:" in str(one["message"]) for one in hook.got)


@pytest.mark.parametrize("form", ["text", "html", "markdown"])
def test_what_wording_made_harmless_is_so_in_every_format(
    courier: Courier, hook: Receiver, form: str
) -> None:
    said = " / ".join(harmless(text) for text in HOSTILE.values())
    assert courier.open(Secret(hook.url(more=f"?format={form}"))) is None
    assert courier.send(Message("keyman: " + said[:100], said)).done
    got = str(hook.got[0]["message"]) + str(hook.got[0]["title"])
    assert "<script" not in got
    assert "<img" not in got
    assert "<!channel" not in got
    assert "](http" not in got
    assert "@everyone" not in got
    assert "\x1b" not in got


def test_who_refuses_is_quoted_without_the_address(courier: Courier, hook: Receiver) -> None:
    hook.status = 500
    assert courier.open(Secret(hook.url(f"hook/{TOKEN}"))) is None
    sent = courier.send(HELLO)
    assert not sent.done
    assert "500" in sent.said
    assert TOKEN not in sent.said


def test_who_is_not_there_is_told_of_without_the_address(courier: Courier) -> None:
    assert courier.open(Secret(f"json://ada:{TOKEN}@127.0.0.1:9/{TOKEN}")) is None
    sent = courier.send(HELLO)
    assert not sent.done
    assert sent.said
    assert TOKEN not in sent.said


@pytest.mark.parametrize("url", [f"slak://{TOKEN}", f"slack://{TOKEN}", "json://", "x://"])
def test_an_address_that_apprise_can_t_read(courier: Courier, url: str) -> None:
    assert courier.open(Secret(url)) == "unreadable"


def test_no_redirect_is_followed(courier: Courier, hook: Receiver) -> None:
    """It would take the token in the address to somebody else."""
    with receiver() as other:
        hook.status, hook.elsewhere = 307, f"http://127.0.0.1:{other.port}/"
        assert courier.open(Secret(hook.url(TOKEN))) is None
        assert not courier.send(HELLO).done
        assert (hook.asked, other.asked) == (1, 0)


def test_who_hangs_is_left_after_a_while_and_nothing_is_left_behind(hook: Receiver) -> None:
    hook.hangs.clear()
    with Courier(DIRECT) as warm:
        assert warm.open(Secret(hook.url(more="?rto=600"))) is None
        warm._within = 1.0
        sent = warm.send(HELLO)
        pid = warm._process.pid
        assert (sent.done, sent.said) == (False, "no answer within 1 s")
        hook.hangs.set()
        until(lambda: hook.got)
        with pytest.raises(Silent):  # what comes late is no answer to the next question
            warm.open(Secret(hook.url()))
    assert not psutil.pid_exists(pid)


def test_one_that_is_killed_at_work_leaves_open_what_came_of_it(hook: Receiver) -> None:
    hook.hangs.clear()
    with Courier(DIRECT) as doomed, ThreadPoolExecutor(1) as pool:
        assert doomed.open(Secret(hook.url())) is None
        sending = pool.submit(doomed.send, HELLO)
        until(lambda: hook.asked)
        os.kill(doomed._process.pid, signal.SIGKILL)
        assert sending.result() == Sent(done=False, said=ENDED_EARLY, unsure=True)


def test_one_that_is_gone_already_surely_delivers_nothing(hook: Receiver) -> None:
    with Courier(DIRECT) as doomed:
        doomed._process.kill()
        doomed._process.wait()
        assert doomed.send(HELLO) == Sent(done=False, said=ENDED_EARLY, unsure=False)
    hook.hangs.clear()
    with Courier(DIRECT) as hung:
        assert hung.open(Secret(hook.url(more="?rto=600"))) is None
        hung._within = 1.0
        assert hung.send(HELLO).unsure
        assert hung.send(HELLO) == Sent(done=False, said=ENDED_EARLY, unsure=False)
    assert hook.asked == 1


@pytest.mark.slow
def test_of_several_receivers_it_is_not_known_which_were_reached(courier: Courier) -> None:
    with topics(good=200, bad=403) as (port, got):
        assert courier.open(Secret(f"ntfy://127.0.0.1:{port}/good/bad")) is None
        sent = courier.send(HELLO)
        assert (sent.done, sent.unsure) == (False, True)
        assert sorted(got) == ["bad", "good"]
        assert courier.open(Secret(f"ntfy://127.0.0.1:{port}/bad")) is None
        sent = courier.send(HELLO)
        assert (sent.done, sent.unsure) == (False, False)


@pytest.mark.parametrize(
    ("gone", "unsure"),
    [("greeting", False), ("silent", False), ("RCPT", True), ("DATA", True), ("nothing", False)],
)
def test_a_mail_whose_answer_is_lost_may_have_arrived(
    courier: Courier, gone: str, unsure: bool
) -> None:
    with mail_server(gone) as port:
        for to in ("a@example.org", "a@example.org,b@example.org"):
            url = f"mailto://127.0.0.1:{port}?from=k@example.org&to={to}&cto=1"
            assert courier.open(Secret(url)) is None
            sent = courier.send(HELLO)
            several = "," in to and gone == "nothing"
            assert (sent.done, sent.unsure) == (False, unsure or several), (to, sent.said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    [
        "mailto://127.0.0.1:9?from=k@example.org&to=a@example.org",
        "mailto://127.0.0.1:9?from=k@example.org&to=a@example.org,b@example.org",
        "mailto://nobody.invalid?from=k@example.org&to=a@example.org,b@example.org",
        "ntfy://127.0.0.1:9/one/two",
    ],
)
def test_where_nobody_listens_nobody_can_have_got_it(courier: Courier, url: str) -> None:
    assert courier.open(Secret(url)) is None
    sent = courier.send(HELLO)
    assert (sent.done, sent.unsure) == (False, False), sent.said


@pytest.mark.slow
def test_one_reached_before_the_service_went_away_leaves_it_open(courier: Courier) -> None:
    with topics(once=True, one=200, two=200) as (port, got):
        assert courier.open(Secret(f"ntfy://127.0.0.1:{port}/one/two")) is None
        sent = courier.send(HELLO)
        assert (len(got), sent.done, sent.unsure) == (1, False, True)


@pytest.mark.parametrize("said", ["Read timed out", "Connection aborted", "IncompleteRead"])
def test_what_a_message_says_of_others_says_nothing_of_itself(
    courier: Courier, hook: Receiver, said: str
) -> None:
    hook.status = 403
    quoting = Message(f"keyman: {said}", f"{said}\nSocket Exception: timed out", "warning")
    untrusted = f"forms://127.0.0.1:{hook.port}/x?method=GET"  # the message is in the address
    for url in (hook.url(), "json://127.0.0.1:9/x", untrusted):
        assert courier.open(Secret(url)) is None
        sent = courier.send(quoting)
        assert (sent.done, sent.unsure) == (False, False), url


@contextmanager
def mail_server(gone: str) -> Iterator[int]:
    """It takes mail up to that command and then hangs up without an answer; `silent` never says a
    word, `nothing` refuses whoever mail is for.
    """

    class Mail(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

        def handle(self) -> None:
            if gone == "silent":
                over.wait(60)
            if gone in ("greeting", "silent"):
                return
            self.say("220 here")
            while line := self.rfile.readline():
                word = line[:4].decode().upper()
                if word == gone == "RCPT":
                    return
                if word == "DATA":
                    self.say("354 go on")
                    while self.rfile.readline() != b".\r\n":
                        pass
                    if gone == "DATA":
                        return
                self.say("550 no" if word == "RCPT" and gone == "nothing" else "250 well")

    over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        over.set()
        server.shutdown()


def test_an_answer_that_is_lost_leaves_open_whether_it_arrived(
    courier: Courier, hook: Receiver
) -> None:
    hook.hangs.clear()
    assert courier.open(Secret(hook.url(more="?rto=1"))) is None
    sent = courier.send(HELLO)
    hook.hangs.set()
    assert (sent.done, sent.unsure) == (False, True)
    assert "HTTPConnectionPool" not in sent.said, "what is logged for looking closer stays there"
    hook.status = 500
    assert courier.open(Secret(hook.url())) is None
    assert not courier.send(HELLO).unsure
    assert courier.open(Secret("json://127.0.0.1:9/x")) is None
    assert not courier.send(HELLO).unsure


@contextmanager
def topics(*, once: bool = False, **status: int) -> Iterator[tuple[int, list[str]]]:
    """A service like ntfy: who publishes to a topic is answered as that topic says.

    `once`: nobody listens there any more after the first.
    """
    got: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            topic = json.loads(self.rfile.read(int(self.headers["content-length"])))["topic"]
            got.append(topic)
            if once:
                server.socket.close()
            self.send_response(status[topic])
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1], got
        server.shutdown()


def test_nobody_else_sees_the_address(courier: Courier, hook: Receiver) -> None:
    """Not among the arguments, not in the environment, not on disk, and not in its memory."""
    assert courier.open(Secret(hook.url(TOKEN))) is None
    seen = psutil.Process(courier._process.pid)
    assert TOKEN not in " ".join(seen.cmdline())
    if sys.platform == "linux" and os.getuid() != 0:
        with pytest.raises(PermissionError):
            Path(f"/proc/{seen.pid}/mem").read_bytes()


def test_the_environment_is_the_configuration_s_and_not_ours() -> None:
    ours = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://evil:1",
        "REQUESTS_CA_BUNDLE": "/x",
        "OPENAI_ADMIN_KEY": TOKEN,
        "APPRISE_URLS": "x",
    }
    assert environment(DIRECT, ours) == {"PATH": "/bin"}
    through = environment(NetworkSettings("http://proxy:3128", Path("/ca.pem")), ours)
    assert through["HTTPS_PROXY"] == "http://proxy:3128"
    assert through["REQUESTS_CA_BUNDLE"] == through["SSL_CERT_FILE"] == "/ca.pem"
    assert TOKEN not in str(through)


def test_a_proxy_of_the_environment_is_not_followed(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Courier(DIRECT) as fresh:
        assert fresh.open(Secret(hook.url())) is None
        assert fresh.send(HELLO).done


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"slack://{TOKEN}/B/C", f"refused {TOKEN}"),
        (f"mailto://ada:{TOKEN}@x", f"login failed for ada {TOKEN} at x"),
        (f"json://x/?key={TOKEN}%21", f"{TOKEN}! is wrong, as is {TOKEN}%21"),
        (f"json://x/a.{TOKEN}", f"POST /a.{TOKEN}"),
    ],
)
def test_what_stood_in_the_address_is_masked(url: str, text: str) -> None:
    assert TOKEN not in scrubbed(text, url)
    assert "···" in scrubbed(text, url)


@pytest.mark.parametrize(
    ("url", "text", "kept"),
    [
        ("mailto://ada:p%40ss%3Aw0rd%2Fxy@x.org", "login of ada with p@ss:w0rd/xy", "login of "),
        ("mailto://ada:p@ss:w0rd/xy@x.org", "535 p@ss:w0rd/xy is wrong", "535 "),
        ("json://u7:q!9@x.org/", "Basic u7 q!9 u7:q!9 refused", "refused"),
        ("json://x.org/a%2Bb%2Fc!d", "POST a+b/c!d: 404", "404"),
        ("json://x.org/?key=a+b,c!d&to=x", "no key a b,c!d, a+b,c!d", "no "),
    ],
)
def test_a_secret_is_masked_whole_whatever_stands_in_it(url: str, text: str, kept: str) -> None:
    said = scrubbed(text, url)
    assert kept in said
    for piece in ("p@ss", "w0rd", "xy", "q!9", "u7", "b/c", "c!d", "ada"):
        assert piece not in said, said


def test_the_child_needs_nothing_of_keyman_s() -> None:
    """It is run by its path: what it imports it must find without us."""
    code = Path(child.__file__).read_text()
    assert "keyman" not in code.replace('app_id="keyman"', "").replace('app_desc="keyman"', "")


def test_the_child_says_so_if_apprise_is_not_there() -> None:
    """With -I and -S there is no site-packages."""
    question = json.dumps({"open": "json://x"}) + "\n"
    command = [sys.executable, "-I", "-S", str(child.__file__)]
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["refused"] == "missing"


def test_addresses_are_judged_without_being_quoted() -> None:
    good = NotifyTarget("good", Secret("json://localhost"))
    bad = NotifyTarget("bad", Secret(f"slack://{TOKEN}"))
    with pytest.raises(ConfigError) as caught:
        Judging((good, bad), DIRECT).refuse()
    assert caught.value.problems == ("notify: bad: apprise can't read this slack address",)
    assert TOKEN not in caught.value.message + caught.value.hint
    Judging((), DIRECT).refuse()


def test_the_addresses_of_the_documentation_are_such_that_apprise_reads(courier: Courier) -> None:
    page = (Path(__file__).parents[2] / "docs/notify.md").read_text()
    shown = re.findall(r"^\|[^|]+\| `([a-z]+://[^`]+)`", page, re.MULTILINE)
    assert len(shown) >= 9
    assert [url for url in shown if courier.open(Secret(url)) is not None] == []


def test_the_process_is_gone_when_nobody_speaks_to_it_any_more() -> None:
    """As after a kill -9 of the daemon: its standard input ends."""
    with Courier(DIRECT) as made:
        pipe = made._process.stdin
        assert pipe is not None
        pipe.close()
        until(lambda: made._process.poll() is not None)
