"""Who is asking, which names they see, and which requests nobody meant for us."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from keyman.serving.crowd import Crowd, Guesses, Room, peer_of
from keyman.serving.doors import Client, Doors, hosts, misled

TOKEN = "kmc_Zq7vYw3_RkP0sT-hXb5mLc9Jd2Gf8Na6Ue4Oi1-xVtB"
HOSTS = hosts(["keyman.internal", "mapped.internal:443"], "127.0.0.1", 8425, usual=80)
HOST = (b"host", b"127.0.0.1:8425")


@dataclass(frozen=True)
class Recorded:
    name: str
    digest: str
    grants: tuple[str, ...]


def recorded(name: str, token: str, *grants: str) -> Recorded:
    return Recorded(name, hashlib.sha256(token.encode()).hexdigest(), grants)


def doors() -> Doors:
    made = Doors(uids=[1000, 1001], owners=[0, 77])
    made.admit([recorded("build", TOKEN, "genai")])
    return made


# Users.


def test_owners_and_those_who_are_let_in_may_ask_and_nobody_else() -> None:
    users = {uid: doors().user(uid) for uid in (0, 77, 1000, 1001, 1002)}
    assert users[1002] is None
    owners = {uid: user.owner for uid, user in users.items() if user}
    assert owners == {0: True, 77: True, 1000: False, 1001: False}


def test_a_name_that_is_narrowed_is_seen_by_those_named_and_by_owners() -> None:
    at = doors()
    at.narrow({"genai": [1000], "closed": []})
    for uid, seen in {0: "genai closed vertex", 1000: "genai vertex", 1001: "vertex"}.items():
        user = at.user(uid)
        assert user
        assert [name for name in ("genai", "closed", "vertex") if user.sees(name)] == seen.split()
        assert user.sees_all == (uid == 0)


def test_who_is_named_wherever_names_are_narrowed_sees_all() -> None:
    at = doors()
    at.narrow({"genai": [1000, 1001], "closed": [1000]})
    everything = {uid: user.sees_all for uid in (1000, 1001) if (user := at.user(uid))}
    assert everything == {1000: True, 1001: False}


def test_a_narrower_configuration_counts_before_it_is_taken_up_and_a_wider_one_after() -> None:
    at = doors()
    at.narrow({"genai": [1000, 1001], "vertex": [1000]})

    def seen(uid: int) -> list[str]:
        user = at.user(uid)
        assert user
        return [name for name in ("genai", "vertex", "new") if user.sees(name)]

    with at.narrowing({"genai": [1001], "new": [1000]}):
        assert (seen(1000), seen(1001)) == (["vertex", "new"], ["genai"])
    assert (seen(1000), seen(1001)) == (["vertex", "new"], ["genai", "vertex"])
    with pytest.raises(KeyError), at.narrowing({"genai": [], "vertex": []}):
        raise KeyError
    assert (seen(1000), seen(1001)) == (["vertex", "new"], ["genai", "vertex"])


def test_every_change_is_told_once() -> None:
    at, told = doors(), []
    at.told = lambda: told.append(at.rights)
    at.narrow({})
    assert told == []
    at.narrow({"genai": [1000]})
    at.admit([])
    assert [bool(rights.clients) for rights in told] == [True, False]


# Clients.


def test_a_client_is_known_by_its_token() -> None:
    found = doors().client(f"Bearer {TOKEN}".encode())
    assert found
    assert (found.name, found.owner) == ("build", False)
    assert (found.sees("genai"), found.sees("vertex")) == (True, False)
    assert TOKEN not in repr(found)
    assert found.digest.hex() not in repr(found)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_is_read_as_http_reads_it(scheme: str) -> None:
    assert doors().client(f"{scheme} {TOKEN}".encode())


OTHER = TOKEN.swapcase().replace("KMC", "kmc")


@pytest.mark.parametrize(
    "shown",
    [
        *("", "Bearer", "Bearer ", "Bearer kmc_", TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}"),
        *(f"Bearer {OTHER}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} "),
        *(f"Bearer {TOKEN}\n", f" Bearer {TOKEN}", f"Bearer\t{TOKEN}", f"Bearer {TOKEN.lower()}"),
        *(f"Bearer {TOKEN},Bearer {TOKEN}", f"Bearer {TOKEN[4:]}", "Bearer kmc_" + "A" * 43),
        "Bearer kmc_" + hashlib.sha256(TOKEN.encode()).hexdigest()[:43],
        "Bearer kmc_ＡAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",  # noqa: RUF001
    ],
)
def test_what_is_not_the_token_is_nobodys(shown: str) -> None:
    assert doors().client(shown.encode()) is None


def test_two_digests_that_begin_alike_are_told_apart() -> None:
    at = doors()
    right = at.client(f"Bearer {TOKEN}".encode())
    assert right
    alike = right.digest[:-1] + bytes([right.digest[-1] ^ 1])
    at.admit([Recorded("build", alike.hex(), ("genai",))])
    assert at.client(f"Bearer {TOKEN}".encode()) is None
    assert not at.knows(right)


def test_a_client_is_known_until_its_token_ends() -> None:
    at = doors()
    client = at.client(f"Bearer {TOKEN}".encode())
    assert client
    assert at.knows(client)
    at.admit([recorded("build", OTHER, "genai")])
    assert not at.knows(client)
    assert at.client(f"Bearer {TOKEN}".encode()) is None


def test_a_star_is_every_name() -> None:
    client = Client("prometheus", b"", frozenset({"*"}))
    assert client.sees("whatever-comes-next")
    assert client.sees_all
    assert not Client("build", b"", frozenset({"genai"})).sees_all


# Requests.


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8425", "localhost:8425", "LocalHost:8425", "keyman.internal:8425"),
        *("mapped.internal:443",),
    ],
)
def test_the_address_localhost_and_configured_names_are_ours(host: str) -> None:
    assert misled([(b"host", host.encode())], HOSTS) is None


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:8425", "127.0.0.1", "127.0.0.1:80", "localhost"),
        *("127.0.0.2:8425", "keyman.internal", "mapped.internal:8425", "mapped.internal"),
        *("127.0.0.1:8425.evil.example", "127.0.0.1:8425,127.0.0.1:8425", "user@127.0.0.1:8425"),
        *("localhost.:8425", "2130706433:8425", "[::1]:8425", "127.0.0.1:08425"),
    ],
)
def test_any_other_name_leads_here_by_a_trick(host: str) -> None:
    assert misled([(b"host", host.encode())], HOSTS) is not None


def test_the_usual_port_goes_without_saying() -> None:
    assert hosts(["keyman.internal", "other:8443"], "::1", 443, usual=443) == {
        *(b"[::1]:443", b"[::1]", b"localhost:443", b"localhost"),
        *(b"keyman.internal:443", b"keyman.internal", b"other:8443"),
    }


@pytest.mark.parametrize("named", [[], [HOST, HOST], [HOST, (b"host", b"evil.example")]])
def test_there_is_one_host(named: list[tuple[bytes, bytes]]) -> None:
    assert misled(named, HOSTS) is not None


@pytest.mark.parametrize(
    "header",
    [
        *((b"origin", b"https://evil.example"), (b"origin", b"null"), (b"origin", b"")),
        *((b"sec-fetch-site", value) for value in (b"cross-site", b"same-site", b"same-origin")),
        *((b"forwarded", b"for=1.2.3.4"), (b"via", b"1.1 squid")),
        *((b"x-forwarded-" + what, b"x") for what in (b"for", b"host", b"proto", b"port")),
    ],
)
def test_web_pages_and_proxies_are_not_spoken_to(header: tuple[bytes, bytes]) -> None:
    assert misled([HOST, header], HOSTS) is not None
    assert misled([header, HOST], HOSTS) is not None


def test_other_headers_speak_against_nobody() -> None:
    harmless = [(b"sec-fetch-site", b"none"), (b"sec-fetch-mode", b"cors"), (b"accept", b"*/*")]
    assert misled([HOST, *harmless], HOSTS) is None


# Crowds.


def test_a_peer_is_an_address_or_a_site() -> None:
    assert peer_of("192.0.2.7") == "192.0.2.7"
    assert peer_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert (
        peer_of("2001:db8:1:2:3:4:5:6") == peer_of("2001:db8:1:2::9") != peer_of("2001:db8:1:3::")
    )
    assert peer_of("fe80::1%eth0") == peer_of("fe80::2")


def test_each_limit_of_a_crowd_counts_for_itself() -> None:
    crowd = Crowd(Room(in_all=5, of_a_peer=3, strangers=2))
    ones = [crowd.enter("one"), crowd.enter("one")]
    assert crowd.enter("one") is None, "two strangers of one peer"
    for visit in ones:
        assert visit
        visit.known()
        visit.known()
    third = crowd.enter("one")
    assert third
    assert crowd.enter("one") is None, "three of one peer"
    assert [bool(crowd.enter(name)) for name in ("two", "two", "three")] == [True, True, False]
    third.leave()
    third.leave()
    assert crowd.enter("three")
    assert crowd.enter("three") is None, "five in all"


def test_whoever_left_is_not_remembered() -> None:
    crowd = Crowd(Room(in_all=5, of_a_peer=3, strangers=2))
    for known in (True, False):
        visit = crowd.enter("one")
        assert visit
        if known:
            visit.known()
        visit.leave()
        visit.known()
    assert (crowd.count, crowd.peers, crowd.strangers) == (0, {}, {})


def test_ten_wrong_tokens_a_minute_are_let_pass() -> None:
    guesses = Guesses()
    assert [guesses.wrong("one", second) for second in range(10)] == [0.0] * 10
    assert guesses.wrong("one", 10) == 50.0
    assert guesses.wrong("two", 10) == 0.0
    assert guesses.wrong("one", 11) == 50.0, "the second of them is a minute ago then"
    assert guesses.wrong("one", 71) == 0.0
    assert Guesses().wrong("one", 0) == 0.0


def test_one_every_six_seconds_is_never_too_many() -> None:
    guesses = Guesses()
    assert {guesses.wrong("one", 6.0 * n) for n in range(1000)} == {0.0}


def test_the_table_of_guesses_does_not_grow_without_end() -> None:
    guesses = Guesses(remembered=100)
    for n in range(10_000):
        guesses.wrong(f"peer {n}", 0)
        assert len(guesses._times) <= 100
        guesses.wrong("the one that goes on", 0)
    assert guesses.wrong("the one that goes on", 0) == 60.0
    assert [guesses.wrong("one that comes late", 0) for _ in range(11)][-2:] == [0.0, 60.0]


def test_a_stranger_who_leaves_makes_room_for_another_and_only_for_one() -> None:
    crowd = Crowd(Room(in_all=9, of_a_peer=2, strangers=1))
    first = crowd.enter("a")
    assert first
    assert crowd.enter("a") is None
    first.leave()
    second = crowd.enter("a")
    assert second
    second.known()
    third = crowd.enter("a")
    assert third
    third.leave()
    third.leave()
    fourth = crowd.enter("a")
    assert fourth
    fourth.known()
    assert crowd.enter("a") is None  # the second is still there
    assert (crowd.count, dict(crowd.peers), dict(crowd.strangers)) == (2, {"a": 2}, {})


def test_who_guessed_lately_is_remembered_longest() -> None:
    guesses = Guesses(allowed=1, within=60.0, remembered=2)
    assert [guesses.wrong(peer, 0.0) for peer in ("a", "b", "a")] == [0.0, 0.0, 60.0]
    assert guesses.wrong("c", 1.0) == 0.0  # and the one who was silent longest is forgotten
    assert guesses.wrong("a", 2.0) == 58.0
    assert guesses.wrong("b", 3.0) == 0.0


def test_each_refusal_says_what_to_do() -> None:
    direct = "ask the agent directly, from the program that needs the secret"
    for headers, hint in (
        ([HOST, (b"origin", b"null")], direct),
        ([HOST, (b"via", b"1.1 proxy")], direct),
        ([(b"host", b"rebound.example")], "see agent.hosts"),
    ):
        wrong = misled(headers, HOSTS)
        assert wrong
        assert wrong.hint == hint


def test_an_address_names_us_as_it_is_written_in_an_address_line() -> None:
    assert b"127.0.0.1:8425" in hosts([], "127.0.0.1", 8425, usual=80)
    assert hosts(["k.example:99"], "::1", 80, usual=80) == frozenset(
        (b"[::1]:80", b"[::1]", b"localhost:80", b"localhost", b"k.example:99")
    )
