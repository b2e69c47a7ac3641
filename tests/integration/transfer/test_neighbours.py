"""Pieces from a neighbour's relay over TLS: who is let in at both ends, and what both tell each other."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from boardwright.cli.enrolling import write_private
from boardwright.model.location import Tier
from boardwright.model.software import PIECE_SIZE
from boardwright.protocol.pieces import from_bitmap, to_bitmap
from boardwright.transfer.fetch import fetch
from boardwright.transfer.neighbour import ADDRESS, NeighbourSource
from boardwright.transfer.sharing import HEADER, Sharing, read_news, write_news
from boardwright.transfer.sources import SourceError, SourceList
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role
from boardwright.trust.issuing import certificate_pem, key_pem
from boardwright.trust.neighbours import NeighbourLines
from tests.tls import LAB
from tests.unit.transfer.blobs import blob_of, some_bytes

DATA = some_bytes(5 * PIECE_SIZE + 100)
BLOB = blob_of(DATA)
COUNT, ALL = 6, 0b111111
MANIFEST = "cd" * 32
ME = LAB.board("c1s3", "1", "3")
RELAY = LAB.board("c1s4", "1", "4")


class Double:
    """A relay that serves `has` of `DATA`, and remembers what it was told."""

    def __init__(self, who: Credentials, folder: Path) -> None:
        self.has = ALL
        self.told: list[tuple[str, str]] = []
        self.callers: list[bytes] = []
        self.status = 206
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                double.callers.append(self.connection.getpeercert(binary_form=True))  # type: ignore[attr-defined]
                double.told.append((self.headers.get(HEADER, ""), self.headers.get(ADDRESS, "")))
                status, body, more = double.answer(self.path, self.headers.get("Range", ""))
                self.send_response(status)
                for name, value in {**more, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*written(who, folder))
        context.load_verify_locations(cadata=LAB.authority.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, wanted: str) -> tuple[int, bytes, dict[str, str]]:
        bitmap = to_bitmap(self.has, COUNT)
        news = {HEADER: write_news(MANIFEST, bitmap)}
        if path == f"/v1/pieces/{MANIFEST}":
            return 200, bitmap, {}
        first, last = map(int, wanted.removeprefix("bytes=").split("-"))
        if self.status != 206 or not self.has >> first // PIECE_SIZE & 1:
            return (404 if self.status == 206 else self.status), b"", news
        return 206, DATA[first : last + 1], {**news, "Content-Range": f"bytes {first}-{last}/{len(DATA)}"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def written(who: Credentials, folder: Path) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    certificate, key = folder / f"{who.identity.id}.pem", folder / f"{who.identity.id}.key"
    if not key.exists():
        certificate.write_bytes(b"".join(map(certificate_pem, who.chain)))
        write_private(key, key_pem(who.key))
    return certificate, key


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Double]:
    made = Double(RELAY, tmp_path / "relay")
    yield made
    made.close()


@pytest.fixture
def sharing() -> Sharing:
    made = Sharing("c1s3", MANIFEST)
    made.begin([BLOB])
    return made


def lines(tmp_path: Path, revoked: frozenset[str] = frozenset()) -> NeighbourLines:
    return NeighbourLines(ME, *written(ME, tmp_path / "me"), lambda: revoked)


SOURCES: list[NeighbourSource] = []


@pytest.fixture(autouse=True)
def closed_sources() -> Iterator[None]:
    yield
    while SOURCES:
        SOURCES.pop().close()


def source(relay: Double, sharing: Sharing, tmp_path: Path, **options: frozenset[str]) -> NeighbourSource:
    neighbours = lines(tmp_path, **options)
    SOURCES.append(NeighbourSource("c1s4", relay.url, neighbours, sharing, lambda: "https://10.0.1.3:6690"))
    return SOURCES[-1]


def joined(sharing: Sharing, has: int = ALL) -> None:
    sharing.join("c1s4", Tier.SAME_CHASSIS, relay=True, pieces=to_bitmap(has, COUNT))


class TestPieces:
    def test_a_version_comes_from_a_neighbour_alone(self, relay: Double, sharing: Sharing, tmp_path: Path) -> None:
        joined(sharing)
        store = BlobStore(tmp_path / "store")
        result = fetch([BLOB], SourceList([source(relay, sharing, tmp_path)]), store, sharing=sharing)
        assert result.bytes == {"c1s4": len(DATA)}
        assert store.path(BLOB.sha256).read_bytes() == DATA
        assert set(relay.callers) == {ME.certificate}

    def test_both_tell_each_other_what_they_have(self, relay: Double, sharing: Sharing, tmp_path: Path) -> None:
        joined(sharing, 0b1)  # it says more in its first answer
        store = BlobStore(tmp_path / "store")
        assert fetch([BLOB], SourceList([source(relay, sharing, tmp_path)]), store, sharing=sharing).complete
        told = [from_bitmap(read_news(said, MANIFEST) or b"").bit_count() for said, _ in relay.told]
        assert told[0] == 0
        assert told[-1] > 0
        assert {address for _, address in relay.told} == {"https://10.0.1.3:6690"}

    def test_one_that_waits_asks_until_the_neighbour_has_it(
        self, relay: Double, sharing: Sharing, tmp_path: Path
    ) -> None:
        relay.has = 0b1
        joined(sharing, 0b1)
        threading.Timer(0.3, lambda: setattr(relay, "has", ALL)).start()
        store = BlobStore(tmp_path / "store")
        assert fetch([BLOB], SourceList([source(relay, sharing, tmp_path)]), store, sharing=sharing).complete

    def test_what_it_has_not_is_asked_for_again_later_and_of_others_now(
        self, relay: Double, sharing: Sharing, tmp_path: Path
    ) -> None:
        relay.has = 0
        joined(sharing)
        with pytest.raises(SourceError) as caught:
            source(relay, sharing, tmp_path).open_range(BLOB.sha256, 0, PIECE_SIZE, 2.0)
        assert caught.value.wait is not None
        assert caught.value.wait > 0

    def test_a_full_one_says_when_to_come_again(self, relay: Double, sharing: Sharing, tmp_path: Path) -> None:
        relay.status = 503
        with pytest.raises(SourceError) as caught:
            source(relay, sharing, tmp_path).open_range(BLOB.sha256, 0, PIECE_SIZE, 2.0)
        assert caught.value.busy


class TestWhoIsAtTheOtherEnd:
    @pytest.mark.parametrize(
        "who",
        [
            LAB.board("c2s4", "2", "4"),  # another chassis
            LAB.person(Role.ADMIN),
        ],
        ids=["another-chassis", "an-operator"],
    )
    def test_a_stranger_gets_no_question(self, who: Credentials, sharing: Sharing, tmp_path: Path) -> None:
        stranger = Double(who, tmp_path / "stranger")
        try:
            with pytest.raises(SourceError) as caught:
                source(stranger, sharing, tmp_path).open_range(BLOB.sha256, 0, PIECE_SIZE, 2.0)
            assert caught.value.wait is None  # never again
            assert stranger.told == []
        finally:
            stranger.close()

    def test_a_control_boards_agent_is_a_neighbour(self, sharing: Sharing, tmp_path: Path) -> None:
        control = Double(LAB.server("c1s1", "1", "1"), tmp_path / "control")
        try:
            reader = source(control, sharing, tmp_path).open_range(BLOB.sha256, 0, PIECE_SIZE, 2.0)
            assert reader.length == PIECE_SIZE
            reader.close()
        finally:
            control.close()

    def test_a_revoked_one_gets_no_question(self, relay: Double, sharing: Sharing, tmp_path: Path) -> None:
        gone = RELAY.identity.key
        with pytest.raises(SourceError):
            source(relay, sharing, tmp_path, revoked=frozenset({gone})).open_range(BLOB.sha256, 0, PIECE_SIZE, 2.0)
        assert relay.told == []


class TestTheHeader:
    @pytest.mark.parametrize("said", ["", "x", "cd" * 8, f"{'cd' * 8}:", f"{'ce' * 8}:ff", f"{'cd' * 8}:f", "é" * 30])
    def test_whatever_else_is_said_is_nothing(self, said: str) -> None:
        assert read_news(said, MANIFEST) is None

    def test_there_and_back(self) -> None:
        assert read_news(write_news(MANIFEST, b"\x01\xff"), MANIFEST) == b"\x01\xff"

    def test_of_a_huge_version_nothing_is_said(self) -> None:
        assert write_news(MANIFEST, bytes(1001)) == ""
