"""How commands find the active among the servers that they know."""

import io
import socket
import threading
from collections.abc import Iterator

import pytest

from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import REVOCATIONS_HEADER
from boardwright.net.servers import PATIENCE, Call, Servers, Upload
from boardwright.trust.errors import UntrustedError
from boardwright.trust.lines import Lines
from tests.tls import LAB
from tests.unit.net.fake_servers import Reply, fake_servers

DEAD = "https://127.0.0.1:1"  # nobody may listen on the port of tcpmux without being root
LINES = Lines(LAB.authority)  # without a name: nobody asks these servers for sessions
GET = Call("GET", "/v1/boards")


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def fine(method: str, path: str, body: bytes) -> Reply:
    return 200, {}, b"here"


def busy(method: str, path: str, body: bytes) -> Reply:
    return 503, {}, b"nobody is active"


def servers_of(time: Time, *bases: str) -> Servers:
    return Servers(bases, LINES, clock=time.clock, sleep=time.sleep)


def test_a_dead_server_is_passed_over_and_not_tried_first_again(time: Time) -> None:
    with fake_servers(fine) as [server]:
        servers = servers_of(time, DEAD, server.base)
        assert servers.ask(GET).data == b"here"
        assert [answer.base for answer in servers.ask_any(GET)] == [server.base]
        assert servers.ask(GET).base == server.base
        servers.close()
    assert time.now == 0.0


def test_nobody_answers_is_said_at_once_with_every_reason(time: Time) -> None:
    other = "https://127.0.0.1:2"
    with pytest.raises(UnreachableError, match="no server of the cluster answered") as caught:
        servers_of(time, DEAD, other).ask(GET)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert [DEAD in str(caught.value.__cause__.exceptions[0]), other in str(caught.value.__cause__.exceptions[1])] == [
        True,
        True,
    ]
    assert time.now == 0.0


def test_a_standby_sends_us_to_the_active_with_the_same_body_and_it_is_remembered(time: Time) -> None:
    with fake_servers(fine) as [active]:

        def standby(method: str, path: str, body: bytes) -> Reply:
            return 307, {"Location": f"{active.base}{path}"}, b""

        with fake_servers(standby) as [other]:
            servers = servers_of(time, other.base)
            sent = Call("POST", "/v1/deployments", b'{"group":"platform"}')
            assert servers.ask(sent).base == active.base
            assert servers.ask(GET).base == active.base
            assert active.asked == [("POST", "/v1/deployments", sent.body), ("GET", "/v1/boards", b"")]
            assert len(other.asked) == 1
            servers.close()


def test_while_an_active_is_being_found_the_call_is_repeated(time: Time) -> None:
    replies: Iterator[Reply] = iter([(503, {}, b"wait"), (429, {}, b"wait"), (200, {}, b"here")])
    with fake_servers(lambda *_: next(replies)) as [server]:
        servers = servers_of(time, server.base)
        assert servers.ask(GET).data == b"here"
        servers.close()
    assert 0 < time.now < PATIENCE


def test_without_an_active_the_last_refusal_is_what_we_get(time: Time) -> None:
    with fake_servers(busy, busy) as [one, two]:
        servers = servers_of(time, one.base, two.base)
        answer = servers.ask(GET)
        servers.close()
    assert (answer.status, answer.data) == (503, b"nobody is active")
    assert time.now >= PATIENCE


def test_a_redirect_to_a_dead_active_is_waited_out_and_then_said(time: Time) -> None:
    with fake_servers(lambda *_: (307, {"Location": f"{DEAD}/v1/boards"}, b"")) as [standby]:
        servers = servers_of(time, standby.base)
        with pytest.raises(FailedError, match="no active server was found") as caught:
            servers.ask(GET)
        servers.close()
    assert f"{standby.base} says that {DEAD} is active" in str(caught.value.__cause__)


def test_servers_that_send_each_other_round_are_not_followed_for_ever(time: Time) -> None:
    base: list[str] = []
    with fake_servers(lambda *_: (307, {"Location": f"{base[0]}/v1/boards"}, b"")) as [confused]:
        base.append(confused.base)
        servers = servers_of(time, confused.base)
        with pytest.raises(FailedError) as caught:
            servers.ask(GET)
        servers.close()
    assert "in circles" in str(caught.value.__cause__)


def test_an_upload_streams_its_file_and_starts_anew_at_the_next_server(time: Time) -> None:
    content = bytes(range(256)) * 20_000
    opened: list[io.BytesIO] = []

    def open_again() -> io.BytesIO:
        opened.append(io.BytesIO(content))
        return opened[-1]

    with fake_servers(fine) as [active]:
        redirect = {"Location": f"{active.base}/v1/blobs/0"}
        with fake_servers(lambda *_: (307, redirect, b"")) as [standby]:
            servers = servers_of(time, standby.base)
            servers.ask(Call("PUT", "/v1/blobs/0", Upload(open_again, len(content))))
            servers.close()
        assert active.asked[0][2] == content
    assert len(opened) == 2
    assert all(file.closed for file in opened)


@pytest.mark.parametrize(
    ("call", "limit"), [(GET, "READ_TIMEOUT"), (Call("POST", "/v1/deployments", b"{}"), "CHANGE_TIMEOUT")]
)
def test_a_server_that_hangs_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch, time: Time, call: Call, limit: str
) -> None:
    monkeypatch.setattr(f"boardwright.net.servers.{limit}", 0.1)
    released = threading.Event()

    def hanging(method: str, path: str, body: bytes) -> Reply:
        released.wait(20)
        return fine(method, path, body)

    with fake_servers(hanging, fine) as [frozen, server]:
        servers = Servers([frozen.base, server.base], LINES, clock=time.clock, sleep=time.sleep)
        assert servers.ask(call).base == server.base
        servers.close()
        released.set()


def test_a_server_that_takes_connections_and_no_more_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    """A frozen process: the kernel still accepts for it, and nobody greets."""
    monkeypatch.setattr("boardwright.net.servers.CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as frozen, fake_servers(fine) as [server]:
        hanging = f"https://127.0.0.1:{frozen.getsockname()[1]}"
        servers = Servers([hanging, server.base], LINES, clock=time.clock, sleep=time.sleep)
        assert servers.ask(GET).base == server.base
        servers.close()


def test_an_active_that_hangs_is_asked_once_in_a_round(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    monkeypatch.setattr("boardwright.net.servers.CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        hanging = f"https://127.0.0.1:{frozen.getsockname()[1]}"
        asked = iter([(307, {"Location": f"{hanging}/v1/boards"}, b""), (200, {}, b"taken over")])
        with fake_servers(lambda *_: next(asked)) as [standby]:
            servers = Servers([standby.base, hanging], LINES, clock=time.clock, sleep=time.sleep)
            assert servers.ask(GET).data == b"taken over"
            servers.close()
        frozen.settimeout(0.0)
        frozen.accept()[0].close()
        with pytest.raises(BlockingIOError):
            frozen.accept()


class Kept:
    """A list of revoked keys that believes everything."""

    def __init__(self) -> None:
        self.number = 0
        self.lists: list[bytes] = []

    def take(self, data: bytes) -> bool:
        if data == b"lies":
            raise UntrustedError("nobody signed it")
        self.lists.append(data)
        self.number = int(data)
        return True


class Listing:
    """A server with a list of revoked keys, of the number that it says or another one."""

    def __init__(self, says: str, data: bytes, status: int = 200) -> None:
        self.says, self.data, self.status = says, data, status

    def __call__(self, method: str, path: str, body: bytes) -> Reply:
        headers = {REVOCATIONS_HEADER: self.says}
        return (200, headers, self.data) if path.startswith("/v1/revocations") else (self.status, headers, b"here")


class TestTheListOfRevokedKeys:
    def test_is_fetched_once_from_whoever_has_a_newer_one(self, time: Time) -> None:
        with fake_servers(Listing("3", b"3")) as [server]:
            servers, kept = servers_of(time, server.base), Kept()
            servers.heed(kept)
            for _ in range(2):
                assert servers.ask(GET).data == b"here"
            servers.close()
            assert kept.lists == [b"3"]
            assert [path for _, path, _ in server.asked].count("/v1/revocations?above=0") == 1

    def test_is_fetched_from_a_server_that_refuses_the_call_too(self, time: Time) -> None:
        with fake_servers(Listing("3", b"3", status=401)) as [server]:
            servers, kept = servers_of(time, server.base), Kept()
            servers.heed(kept)
            servers.ask(GET)
            servers.close()
            assert kept.number == 3

    @pytest.mark.parametrize("listing", [Listing("3", b"lies"), Listing("-1", b"1"), Listing("9" * 400, b"1")])
    def test_that_a_server_cannot_show_disturbs_no_command(self, time: Time, listing: Listing) -> None:
        with fake_servers(listing) as [server]:
            servers, kept = servers_of(time, server.base), Kept()
            servers.heed(kept)
            assert servers.ask(GET).data == b"here"
            servers.close()
            assert kept.lists == []
