"""Endpoints that refuse, hang, lie or say too much: what a read, a write and a watch make of each."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.errors import ConflictError, MalformedError
from boardwright.model.endpoints import Endpoint
from boardwright.state import etcd_client, etcd_watch
from boardwright.state.etcd_client import ENDPOINT_SECONDS, EtcdAccess, EtcdClient
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.etcd_messages import (
    RANGE,
    TXN,
    RangeReply,
    Reply,
    Streamed,
    TxnReply,
    WatchReply,
    range_of,
    read_reply,
)
from boardwright.state.kv import CompactedError, EngineError, Transaction

HEADER = {"header": {"cluster_id": "7", "revision": "5"}}
SLACK = 1.0  # seconds that a busy machine may add


class Fake(ThreadingHTTPServer):
    """An endpoint that does with every call what it is told; `calls` are the paths that it got."""

    daemon_threads = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.deed: Callable[[Any], None] = answer(HEADER)
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self) -> Endpoint:
        return "127.0.0.1", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append(self.path)
        self.server.deed(self)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def raw(status: int, body: bytes) -> Callable[[Any], None]:
    def deed(handler: _Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return deed


def answer(message: object) -> Callable[[Any], None]:
    return raw(200, msgspec.json.encode(message))


def failure(status: int, code: int, message: str) -> Callable[[Any], None]:
    return raw(status, msgspec.json.encode({"error": message, "message": message, "code": code}))


def hang(handler: _Handler) -> None:
    with contextlib.suppress(OSError):
        handler.connection.recv(1)  # until the caller gives up


def drop(handler: _Handler) -> None:
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def trickle(handler: _Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"header"')
    hang(handler)


FAULTS = {
    "hangs": (hang, "gives no answer in time"),
    "drops": (drop, "broke the connection off"),
    "stops in the middle": (trickle, "gives no answer in time"),
    "is no etcd": (raw(200, b"<html>"), "the answer is not one of etcd"),
    "is of another cluster": (answer({"header": {"cluster_id": "8"}}), "is of another etcd cluster"),
    "has no leader": (failure(503, 14, "etcdserver: no leader"), "says: etcdserver: no leader"),
    "fails without words": (raw(500, b"{}"), "says: an error without words"),
    "fails with a page": (raw(502, b"<html>bad gateway</html>"), "the answer is not one of etcd"),
}
FINAL = {
    "too large": (failure(400, 3, "etcdserver: request is too large"), "too large", None),
    "not allowed": (failure(403, 7, "etcdserver: permission denied"), "permission denied", "readwrite"),
    "full": (failure(429, 8, "etcdserver: mvcc: database space exceeded"), "space exceeded", "auto-compaction"),
}


@pytest.fixture
def fakes() -> Iterator[tuple[Fake, Fake]]:
    made = Fake(), Fake()
    yield made
    for fake in made:
        fake.shutdown()
        fake.server_close()


@pytest.fixture
def client(fakes: tuple[Fake, Fake]) -> Iterator[EtcdClient]:
    made = EtcdClient(tuple(fake.endpoint for fake in fakes), EtcdAccess())
    made.check_cluster("7")
    yield made
    made.close()


def read(client: EtcdClient) -> Reply:
    return client.read(RANGE, range_of(b"a"), RangeReply)


def write(client: EtcdClient) -> Reply:
    return client.write(TXN, {}, TxnReply)


class TestARead:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_goes_on_to_the_next_endpoint(self, client: EtcdClient, fakes: tuple[Fake, Fake], fault: str) -> None:
        first, second = fakes
        first.deed, _ = FAULTS[fault]
        began = time.monotonic()
        assert read(client).header.revision == 5
        assert time.monotonic() - began < ENDPOINT_SECONDS + SLACK
        assert client.order() == (second.endpoint, first.endpoint)
        read(client)
        assert len(first.calls) == 1

    def test_goes_on_past_one_that_is_not_there(self, fakes: tuple[Fake, Fake]) -> None:
        client = EtcdClient((("127.0.0.1", 1), ("no-such-host.invalid", 2379), fakes[0].endpoint), EtcdAccess())
        assert read(client).header.revision == 5
        client.close()

    def test_says_of_every_endpoint_what_it_did(self, client: EtcdClient, fakes: tuple[Fake, Fake]) -> None:
        fakes[0].deed, first = FAULTS["has no leader"]
        fakes[1].deed, second = FAULTS["drops"]
        with pytest.raises(EngineError, match=f"etcd does not answer: 127.*{first}; 127.*{second}"):
            read(client)

    def test_reads_no_more_than_a_bound(
        self, client: EtcdClient, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(etcd_client, "MAX_REPLY", 1000)
        fakes[0].deed = raw(200, b" " * 1001)
        with pytest.raises(EngineError, match="answers more than 1000 bytes"):
            read(client)

    def test_of_what_was_compacted_says_so(self, client: EtcdClient, fakes: tuple[Fake, Fake]) -> None:
        fakes[0].deed = failure(400, 11, "etcdserver: mvcc: required revision has been compacted")
        with pytest.raises(CompactedError):
            read(client)

    def test_of_what_a_lagging_member_does_not_have_yet_asks_the_next(
        self, client: EtcdClient, fakes: tuple[Fake, Fake]
    ) -> None:
        fakes[0].deed = failure(400, 11, "etcdserver: mvcc: required revision is a future revision")
        assert read(client).header.revision == 5


class TestAWrite:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_whose_outcome_nobody_knows_is_not_repeated(
        self, client: EtcdClient, fakes: tuple[Fake, Fake], fault: str
    ) -> None:
        first, second = fakes
        first.deed, words = FAULTS[fault]
        with pytest.raises(EngineError, match=f"nobody knows whether the change was made.*{words}"):
            write(client)
        assert (len(first.calls), len(second.calls)) == (1, 0)
        write(client)
        assert (len(first.calls), len(second.calls)) == (1, 1)

    def test_that_certainly_did_not_arrive_goes_to_the_next(self, fakes: tuple[Fake, Fake]) -> None:
        client = EtcdClient((("127.0.0.1", 1), fakes[0].endpoint), EtcdAccess())
        assert write(client).header.revision == 5
        client.close()

    def test_that_took_effect_without_an_answer_is_no_conflict(self, fakes: tuple[Fake, Fake]) -> None:
        """Repeated at the second endpoint, it would lose against itself."""
        first, second = fakes
        first.deed = drop
        second.deed = answer({**HEADER, "responses": [{"response_range": HEADER}]})
        kv = EtcdKV((first.endpoint, second.endpoint), "x")
        with pytest.raises(EngineError):
            kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        with pytest.raises(ConflictError):
            kv.commit(Transaction({"a": 1}, {"a": b"1"}))
        kv.close()

    @pytest.mark.parametrize("reason", FINAL)
    def test_that_no_endpoint_would_take_fails_at_once(
        self, client: EtcdClient, fakes: tuple[Fake, Fake], reason: str
    ) -> None:
        fakes[0].deed, words, hint = FINAL[reason]
        with pytest.raises(EngineError, match=f"etcd refuses the call: .*{words}") as caught:
            write(client)
        assert fakes[1].calls == []
        assert hint is None or hint in (caught.value.hint or "")


class TestAWatch:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(etcd_watch, "CATCH_UP_SECONDS", 0.05)

    @pytest.fixture
    @staticmethod
    def kv(fakes: tuple[Fake, Fake]) -> Iterator[EtcdKV]:
        made = EtcdKV(tuple(fake.endpoint for fake in fakes), "x")
        yield made
        made.close()

    @pytest.mark.parametrize("fault", FAULTS)
    def test_begins_at_the_next_endpoint(self, kv: EtcdKV, fakes: tuple[Fake, Fake], fault: str) -> None:
        fakes[1].deed = stream({"result": {**HEADER, "created": True}}, event(6))
        kv.watch("", 5, 0.0)
        fakes[0].deed, _ = FAULTS[fault]
        assert [change.revision for change in kv.watch("", 5, 5.0)] == [6]

    def test_that_is_silent_goes_on_at_the_next_endpoint(
        self, kv: EtcdKV, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A member that is cut off from the others still talks to us, but learns of nothing."""
        monkeypatch.setattr(etcd_watch, "SILENT_SECONDS", ENDPOINT_SECONDS + 0.1)
        created = {"result": {**HEADER, "created": True}}
        fakes[0].deed, fakes[1].deed = stream(created), stream(created, event(6))
        assert [change.revision for change in kv.watch("", 5, 10.0)] == [6]
        assert fakes[0].calls == ["/v3/watch"]

    def test_that_is_cut_off_goes_on_where_it_was(self, kv: EtcdKV, fakes: tuple[Fake, Fake]) -> None:
        created = {"result": {**HEADER, "created": True}}
        fakes[0].deed = stream(created, event(6), cut=b'{"result": {"eve')
        later = {"result": {"header": {"cluster_id": "7", "revision": "7"}, "created": True}}
        fakes[1].deed = stream(later, event(6), event(7))
        assert [change.revision for change in kv.watch("", 5, 5.0)] == [6]
        assert [change.revision for change in kv.watch("", 6, 5.0)] == [7]

    def test_waits_for_the_rest_of_a_revision_that_comes_in_parts(self, kv: EtcdKV, fakes: tuple[Fake, Fake]) -> None:
        first, rest = event(6, "a"), event(6, "b")
        first["result"]["fragment"] = True
        fakes[0].deed = stream({"result": {**HEADER, "created": True}}, first, rest)
        assert [change.key for change in kv.watch("", 5, 5.0)] == ["a", "b"]

    def test_of_an_etcd_that_was_restored_is_to_be_read_again(self, kv: EtcdKV, fakes: tuple[Fake, Fake]) -> None:
        def restored(handler: _Handler) -> None:
            deed = stream({"result": {**HEADER, "created": True}}) if "watch" in handler.path else answer(HEADER)
            deed(handler)

        fakes[0].deed = restored
        with pytest.raises(CompactedError, match="not yet at revision 99: it was restored"):
            kv.watch("", 99, 0.0)

    def test_reads_no_more_than_a_bound(
        self, kv: EtcdKV, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(etcd_watch, "MAX_REPLY", 10_000)
        for fake in fakes:
            fake.deed = stream({"result": {**HEADER, "created": True}}, cut=b" " * 100_000)
        with pytest.raises(EngineError, match="sends a change of more than 10000 bytes"):
            kv.watch("", 5, 5.0)

    def test_of_more_than_fits_into_memory_is_to_be_read_again(
        self, kv: EtcdKV, fakes: tuple[Fake, Fake], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(etcd_watch, "MAX_REPLY", 10_000)
        parts = [event(6, f"k{number}", b"x" * 3000) for number in range(5)]
        for part in parts:
            part["result"]["fragment"] = True
        fakes[0].deed = stream({"result": {**HEADER, "created": True}}, *parts)
        with pytest.raises(CompactedError, match="more than 10000 bytes"):
            kv.watch("", 5, 5.0)

    def test_keeps_a_bounded_number_of_streams(self, kv: EtcdKV, fakes: tuple[Fake, Fake]) -> None:
        fakes[0].deed = stream({"result": {**HEADER, "created": True}}, event(6))
        for number in range(3 * etcd_watch.KEPT):
            assert kv.watch(f"p{number}", 5, 5.0)
        assert kv.streams == etcd_watch.KEPT


def event(revision: int, key: str = "a", value: bytes = b"") -> dict[str, Any]:
    kv = {"key": f"boardwright/x/state/{key}".encode(), "value": value, "mod_revision": str(revision)}
    return {"result": {**HEADER, "events": [{"kv": kv}]}}


def stream(*messages: object, cut: bytes | None = None) -> Callable[[Any], None]:
    """These messages line by line, then `cut` and the end, or silence."""

    def deed(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in [*(msgspec.json.encode(one) + b"\n" for one in messages), *([cut] if cut else [])]:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        if cut is None:
            hang(handler)
        drop(handler)

    return deed


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 5000, b'{"header":' * 3000, b'{"header": {"revision": "x"}}']))
def test_whatever_an_endpoint_says_is_a_reply_or_malformed(data: bytes) -> None:
    for kind in (Reply, RangeReply, TxnReply, WatchReply, Streamed):
        try:
            read_reply(data, kind)
        except MalformedError:
            pass
