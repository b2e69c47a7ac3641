"""A standby: whom it redirects to, what it passes on, what the active shows of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import get
from litestar.testing import TestClient

from boardwright.errors import ConflictError, RefusedError, UsageError
from boardwright.model.api import CLUSTER_HEADER, Alarm, Problem, ServerStatus, ServerWord
from boardwright.model.report import BoardReport
from boardwright.server.api.app import make_app
from boardwright.server.api.gate import active_only, own_cluster_only
from boardwright.server.board_reports import BoardReports
from boardwright.server.clocks import Clocks
from boardwright.server.courier import Courier
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror
from boardwright.server.peers import SILENT_AFTER, Peers
from boardwright.state.kv import Change, EngineError
from boardwright.state.lease import DeposedError
from boardwright.state.records import SERVERS, ServerRecord
from boardwright.trust.lines import Lines
from tests.tls import LAB, over_tls
from tests.unit.server.builders import UNHEARD, board, report


class Standing:
    """A role that the test sets."""

    def __init__(self, active: ServerRecord | None = None) -> None:
        self.is_active = False
        self.epoch = 1
        self.engine = ""
        self.record = active

    def active(self) -> ServerRecord | None:
        return self.record

    def holder(self) -> ServerRecord | None:
        return self.record


def server(name: str, api: str = "https://127.0.0.1:1") -> ServerRecord:
    return ServerRecord(name, "1", "1", api, "", "0.1.0")


def status(name: str, role: str = "standby", alarms: tuple[Alarm, ...] = ()) -> ServerWord:
    return ServerWord(name, "1", "1", role, "healthy", 1, 4, ("platform 1 *",), 77, alarms=alarms)


class TestGate:
    def client(self, standing: Standing) -> Iterator[Any]:
        @get("/v1/thing", sync_to_thread=False)
        def thing() -> str:
            return "done"

        return TestClient(
            make_app([], [thing], guards=[], gate=active_only(standing, "c1s1"), refused=UNHEARD),
            raise_server_exceptions=False,
        )

    def test_the_active_answers_itself(self) -> None:
        standing = Standing()
        standing.is_active = True
        with self.client(standing) as client:
            assert client.get("/v1/thing").text == "done"

    def test_a_standby_sends_to_the_same_path_and_query_on_the_active(self) -> None:
        with self.client(Standing(server("c2s1", "https://10.0.2.1:6688"))) as client:
            answer = client.get("/v1/thing?a=1&b=2", follow_redirects=False)
        assert answer.status_code == 307
        assert answer.headers["location"] == "https://10.0.2.1:6688/v1/thing?a=1&b=2"

    @pytest.mark.parametrize("active", [None, server("c1s1"), server("c2s1", "")])
    def test_without_an_active_elsewhere_it_is_503_and_exit_code_4(self, active: ServerRecord | None) -> None:
        standing = Standing(active)
        standing.engine = "no quorum"
        with self.client(standing) as client:
            answer = client.get("/v1/thing", follow_redirects=False)
        problem = msgspec.json.decode(answer.content, type=Problem)
        assert (answer.status_code, problem.exit_code) == (503, 4)
        assert "no quorum" in problem.error


def test_a_caller_who_means_another_cluster_is_refused_before_anything_is_done() -> None:
    done = []

    @get("/v1/any", sync_to_thread=False)
    def anywhere() -> str:
        done.append("anywhere")
        return "done"

    @get("/v1/active", sync_to_thread=False)
    def active() -> str:
        done.append("active")
        return "done"

    app = make_app([anywhere], [active], guards=[own_cluster_only("core1")], gate=lambda _: None, refused=UNHEARD)
    with TestClient(app, raise_server_exceptions=False) as client:
        for path in ("/v1/any", "/v1/active"):
            answer = client.get(path, headers={CLUSTER_HEADER: "core2"})
            problem = msgspec.json.decode(answer.content, type=Problem)
            assert (answer.status_code, problem.exit_code) == (409, 3)
            assert "'core1', not to 'core2'" in problem.error
        assert not done
        assert client.get("/v1/any", headers={CLUSTER_HEADER: "core1"}).text == "done"
        assert client.get("/v1/active").text == "done"


@pytest.mark.parametrize(
    ("error", "status_code", "exit_code"),
    [
        (UsageError("wrong", hint="do this"), 400, 2),
        (RefusedError("no"), 409, 3),
        (ConflictError("lost"), 409, 3),
        (DeposedError("not the active"), 503, 4),
        (EngineError("no quorum"), 503, 4),
        (ValueError("a bug"), 500, 1),
    ],
)
def test_every_error_has_its_status_and_exit_code(error: Exception, status_code: int, exit_code: int) -> None:
    @get("/v1/thing", sync_to_thread=False)
    def thing() -> str:
        raise error from OSError("the cause")

    with TestClient(
        make_app([thing], [], guards=[], gate=lambda _: None, refused=UNHEARD), raise_server_exceptions=False
    ) as client:
        answer = client.get("/v1/thing")
    problem = msgspec.json.decode(answer.content, type=Problem)
    assert (answer.status_code, problem.exit_code) == (status_code, exit_code)
    if status_code != 500:
        assert problem.error == f"{error}: the cause"
        assert problem.hint == getattr(error, "hint", None)


class Active:
    """What the active hears over HTTP; `code` is what it answers."""

    def __init__(self) -> None:
        self.code = 202
        self.reports: list[BoardReport] = []
        self.statuses: list[ServerStatus] = []
        active = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if active.code < 300 and self.path == "/v1/reports?passed-on=true":
                    active.reports += msgspec.json.decode(body, type=list[BoardReport])
                elif active.code < 300:
                    active.statuses.append(msgspec.json.decode(body, type=ServerStatus))
                self.send_response(active.code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.record = server("c2s1", over_tls(self.http))
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()


@pytest.fixture
def active() -> Iterator[Active]:
    made = Active()
    yield made
    made.close()


class TestCourier:
    def courier(self, board_reports: BoardReports, standing: Standing) -> Courier:
        return Courier("c1s1", board_reports, standing, lambda: status("c1s1"), Lines(LAB.authority))

    def test_reports_and_the_own_status_go_to_the_active_once(self, active: Active) -> None:
        board_reports = BoardReports(lambda: 100.0)
        courier = self.courier(board_reports, Standing(active.record))
        board_reports.take([report(board(), 3)])
        courier.round()
        courier.round()
        assert [one.sequence for one in active.reports] == [3]
        assert len(active.statuses) == 2

    def test_what_was_not_taken_is_kept_and_brought_later(self, active: Active) -> None:
        board_reports = BoardReports(lambda: 100.0)
        courier = self.courier(board_reports, Standing(active.record))
        active.code = 500
        board_reports.take([report(board(), 3)])
        courier.round()
        board_reports.take([report(board(), 4)])
        active.code = 202
        courier.round()
        assert [one.sequence for one in active.reports] == [4]

    def test_a_dead_active_costs_nothing_but_the_time_out(self) -> None:
        board_reports = BoardReports(lambda: 100.0)
        board_reports.take([report(board(), 3)])
        self.courier(board_reports, Standing(server("c2s1"))).round()
        assert len(board_reports.outgoing(10)) == 1

    def test_a_new_active_is_told_everything(self, active: Active) -> None:
        board_reports = BoardReports(lambda: 100.0)
        standing = Standing(active.record)
        courier = self.courier(board_reports, standing)
        board_reports.take([report(board(), 3)])
        courier.round()
        standing.epoch = 2
        courier.round()
        assert [one.sequence for one in active.reports] == [3, 3]

    def test_the_active_itself_keeps_no_queue(self) -> None:
        board_reports = BoardReports(lambda: 100.0)
        standing = Standing()
        standing.is_active = True
        board_reports.take([report(board(), 3)])
        self.courier(board_reports, standing).round()
        assert board_reports.outgoing(10) == []


class Own:
    """The server that is asked."""

    def __call__(self) -> ServerStatus:
        return self.word()

    def word(self) -> ServerWord:
        return status("c1s1", "active", alarms=(alarm("c1s1", 3.0),))


def alarm(server: str, seconds: float) -> Alarm:
    return Alarm(server, "disk", "/data", "the disk is full", seconds)


class TestPeers:
    def peers(self, folder: Path, now: list[float]) -> Peers:
        mirror = Mirror(folder / "mirror.json")
        names = ("c1s1", "c2s1", "c3s1")
        mirror.apply([Change(f"{SERVERS}{name}", encoded(server(name)), 1) for name in names])
        self.clocks = Clocks("c1s1", lambda: 1e9, lambda: now[0])
        return Peers(mirror, Own(), lambda: now[0], self.clocks)

    def test_the_clock_of_a_peer_is_heard_and_that_of_a_stranger_is_not(self, tmp_path: Path) -> None:
        peers = self.peers(tmp_path, [100.0])
        peers.take(msgspec.structs.replace(status("c9s9"), clock=5e8))
        assert self.clocks.judged(alone=False) is None
        peers.take(msgspec.structs.replace(status("c2s1"), clock=1e9))
        assert self.clocks.judged(alone=False) == 1e9

    def test_who_speaks_is_shown_as_it_says_and_who_is_silent_as_silent(self, tmp_path: Path) -> None:
        now = [100.0]
        peers = self.peers(tmp_path, now)
        peers.take(status("c2s1"))
        assert [one.health for one in peers.listing().servers] == ["healthy", "healthy", "silent"]
        now[0] += SILENT_AFTER + 0.1
        listing = peers.listing().servers
        assert [(one.id, one.health) for one in listing] == [
            ("c1s1", "healthy"),
            ("c2s1", "silent"),
            ("c3s1", "silent"),
        ]
        assert listing[1].versions == ("platform 1 *",)

    def test_a_stranger_is_not_listed(self, tmp_path: Path) -> None:
        peers = self.peers(tmp_path, [100.0])
        peers.take(status("c9s9"))
        assert "c9s9" not in {one.id for one in peers.listing().servers}

    def test_alarms_of_every_server_are_listed_the_oldest_first(self, tmp_path: Path) -> None:
        peers = self.peers(tmp_path, [100.0])
        peers.take(status("c2s1", alarms=(alarm("c2s1", 9.0), alarm("c2s1", 1.0))))
        assert [(one.server, one.seconds) for one in peers.alarms().alarms] == [
            ("c2s1", 9.0),
            ("c1s1", 3.0),
            ("c2s1", 1.0),
        ]

    def test_the_list_of_servers_is_the_stable_one_without_their_alarms(self, tmp_path: Path) -> None:
        peers = self.peers(tmp_path, [100.0])
        peers.take(status("c2s1", alarms=(alarm("c2s1", 9.0),)))
        assert b"alarms" not in msgspec.json.encode(peers.listing().servers[1])
