"""Neighbours and strangers that lie, hang, flood and trickle at a relay: they hear nothing, the others are served."""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from boardwright.model.location import Location
from boardwright.transfer.relay import GREETINGS, LINES_EACH, MAX_LINES
from boardwright.transfer.relay_line import MAX_HEAD, Limits
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.lines import client_context
from tests.identities import Identities
from tests.integration.transfer.relays import BLOB, DATA, PACK, SMALL, Asker, Running, door_of, files_of, neighbours
from tests.tls import LAB

ASKER = LAB.board("c1s4", slot="4")
QUICK = Limits(idle=0.3, head_time=0.3, handshake=0.3, piece_time=0.5)


def serves(one: Running, who: Credentials = ASKER) -> bool:
    """Whether a neighbour gets what it asks for."""
    with Asker(one.relay.address, who) as asker:
        return asker.span(PACK, 0, 9).body == SMALL[:10]


def gets_nothing(one: Running, who: Credentials | None) -> bool:
    """Whether who comes so is told nothing at all."""
    try:
        with Asker(one.relay.address, who) as asker:
            asker.send(f"/v1/blobs/{PACK.sha256}", "Range: bytes=0-9")
            return not asker.line.recv(1)
    except OSError:
        return True


def _in_the_chassis(role: Role) -> Credentials:
    """Somebody who is no board, with a place in the relay's chassis."""
    key = new_key()
    made = LAB.issuer.issue("c1s1", role, Location("1", "1"), key.public_key())
    return Credentials((made,), key, LAB.authority)


class TestStrangers:
    @pytest.mark.parametrize(
        "who",
        [
            None,
            Identities("lab").board("c1s4", slot="4"),
            LAB.board("c2s4", chassis="2", slot="4"),
            LAB.server("c2s1", chassis="2"),
            LAB.person(Role.ADMIN),
            _in_the_chassis(Role.ADMIN),
            _in_the_chassis(Role.ENROLLER),
        ],
        ids=[
            "no certificate",
            "another cluster",
            "another chassis",
            "its server",
            "an operator",
            "here",
            "an enroller",
        ],
    )
    def test_hear_nothing(self, tmp_path: Path, who: Credentials | None) -> None:
        with Running(tmp_path) as one:
            assert gets_nothing(one, who)
            assert one.relay.bytes_served == 0
            assert serves(one)

    def test_a_server_that_an_enroller_made_up_hears_nothing(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one:
            assert gets_nothing(one, _made_up_by_an_enroller())

    def test_a_revoked_board_hears_nothing_also_on_a_line_that_is_up(self, tmp_path: Path) -> None:
        revoked: frozenset[str] = frozenset()
        with Running(tmp_path, door=door_of(LAB.board("c1s3"), revoked=lambda: revoked)) as one:
            with Asker(one.relay.address, ASKER) as asker:
                assert asker.span(PACK, 0, 9).status == 206
                revoked = frozenset({ASKER.identity.key})
                asker.send(f"/v1/blobs/{PACK.sha256}", "Range: bytes=0-9")
                assert asker.ended
            assert gets_nothing(one, ASKER)
            assert serves(one, LAB.board("c1s5", slot="5"))

    def test_whom_a_revoked_enroller_let_in_hears_nothing(self, tmp_path: Path) -> None:
        let_in = LAB.enrolled("c1s9")
        enroller = LAB.authority.verify(let_in.chain[1]).identity.key
        with Running(tmp_path, door=door_of(LAB.board("c1s3"), revoked=lambda: frozenset({enroller}))) as one:
            assert gets_nothing(one, let_in)

    def test_an_older_tls_is_not_spoken(self, tmp_path: Path) -> None:
        context = client_context(LAB.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*files_of(ASKER, tmp_path))
        with Running(tmp_path) as one, socket.create_connection(one.relay.address, timeout=20) as plain:
            with pytest.raises(ssl.SSLError), context.wrap_socket(plain):
                pass
            assert serves(one)

    def test_who_connects_and_says_nothing_keeps_nobody_out_for_long(self, tmp_path: Path) -> None:
        limits = msgspec.structs.replace(QUICK, handshake=2.0)
        with Running(tmp_path, limits=limits) as one, contextlib.ExitStack() as silent:
            for _ in range(2 * GREETINGS):
                silent.enter_context(socket.create_connection(one.relay.address))
            assert _soon(lambda: one.relay.refused["lines"] == GREETINGS)
            assert one.relay.lines == GREETINGS
            assert _soon(lambda: serves(one))

    def test_a_handshake_that_trickles_ends(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=QUICK) as one, socket.create_connection(one.relay.address) as line:
            line.settimeout(20)
            with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - it ends at one byte or another
                for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(2000):
                    line.sendall(bytes((byte,)))
                    time.sleep(0.05)
            assert serves(one)


class TestWhatIsNoRequest:
    @pytest.mark.parametrize(
        "said",
        [
            b"\r\n\r\n",
            b"\x00\xff\x16\x03\r\n\r\n",
            b"GET /v1/blobs/x HTTP/2.0\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nno header\r\n\r\n",
            b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nrange: bytes=0-1\r\nRange: bytes=0-2\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nx: " + b"y" * MAX_HEAD + b"\r\n\r\n",
            b"x" * (2 * MAX_HEAD),
        ],
    )
    def test_is_answered_with_400_and_the_end(self, tmp_path: Path, said: bytes) -> None:
        with Running(tmp_path) as one:
            with Asker(one.relay.address, ASKER) as asker:
                asker.line.sendall(said)
                assert asker.answer().status == 400
                assert asker.ended
            assert serves(one)

    def test_another_method_is_none_of_ours(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            asker.line.sendall(f"DELETE /v1/blobs/{PACK.sha256} HTTP/1.1\r\n\r\n".encode())
            assert asker.answer().status == 405
            assert asker.span(PACK, 0, 9).body == SMALL[:10]

    def test_half_a_head_ends_in_time(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=QUICK) as one, Asker(one.relay.address, ASKER) as asker:
            asker.line.sendall(b"GET /v1/blobs/")
            assert asker.ended

    def test_a_head_that_trickles_ends_in_time(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=QUICK) as one, Asker(one.relay.address, ASKER) as asker:
            begun = time.monotonic()
            with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - as above
                while time.monotonic() - begun < 20:
                    asker.line.sendall(b"x")
                    time.sleep(0.05)


class TestWhoTakesMoreThanItsShare:
    def test_of_lines(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, contextlib.ExitStack() as stack:
            askers = [stack.enter_context(Asker(one.relay.address, ASKER)) for _ in range(LINES_EACH)]
            assert all(asker.span(PACK, 0, 9).status == 206 for asker in askers)
            assert gets_nothing(one, ASKER)
            assert serves(one, LAB.board("c1s5", slot="5"))

    def test_of_all_lines_and_uses_none_makes_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("boardwright.transfer.relay.FAIR_IDLE", 0.1)
        with Running(tmp_path) as one, contextlib.ExitStack() as stack:
            for who in neighbours(MAX_LINES // 4):
                for _ in range(4):
                    assert stack.enter_context(Asker(one.relay.address, who)).span(PACK, 0, 9).status == 206
            assert one.relay.lines == MAX_LINES
            assert _soon(lambda: serves(one, LAB.server("c1s1")))
            assert one.relay.lines <= MAX_LINES

    def test_of_time_to_take_a_piece(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=QUICK) as one, Asker(one.relay.address, ASKER) as asker:
            for _ in range(16):
                asker.send(f"/v1/blobs/{BLOB.sha256}", f"Range: bytes=0-{len(DATA) - 1}")
            assert _soon(lambda: one.relay.lines == 0)
            assert one.relay.load == 0
            assert serves(one)

    def test_of_silence(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=QUICK) as one, Asker(one.relay.address, ASKER) as asker:
            assert asker.span(PACK, 0, 9).status == 206
            assert asker.ended
            assert one.relay.refused["slow"] == 1


def _soon(condition: Callable[[], bool]) -> bool:
    """Whether it comes about within a bounded time."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with contextlib.suppress(OSError, EOFError):
            if condition():
                return True
        time.sleep(0.02)
    return False


def _made_up_by_an_enroller() -> Credentials:
    """A server's certificate that an enroller has signed, which it may not."""
    online, key = new_key(), new_key()
    leave = LAB.issuer.issue("c1s1", Role.ENROLLER, Location("1", "1"), online.public_key())
    forged = Issuer("lab", "c1s1", online, leave).issue("c1s2", Role.SERVER, Location("1", "2"), key.public_key())
    bears = SimpleNamespace(chain=(forged, leave), key=key, identity=SimpleNamespace(id="c1s2"))
    return cast(Credentials, bears)
