"""A board serves its neighbours what it has verified, and nothing to anybody else."""

import time
from pathlib import Path
from typing import Self

import pytest

from boardwright.model.location import Location
from boardwright.model.software import PIECE_SIZE
from boardwright.transfer.neighbour import ADDRESS
from boardwright.transfer.relay import News
from boardwright.transfer.relay_desk import AT_ONCE, AT_ONCE_YIELDING, EACH_AT_ONCE
from boardwright.transfer.relay_line import Limits
from boardwright.transfer.sharing import HEADER
from boardwright.trust.credentials import Credentials
from tests.integration.transfer.relays import BLOB, DATA, PACK, SMALL, TARGET, Asker, Running, neighbours
from tests.tls import LAB

ASKER = LAB.board("c1s4", slot="4")
HELD = f"{TARGET.manifest[:16]}"


class TestWhatIsServed:
    def test_any_range_of_what_is_there_and_what_else_is_there(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            for start, last in ((0, 0), (5, PIECE_SIZE + 9), (0, len(DATA) - 1), (PIECE_SIZE, 2 * PIECE_SIZE - 1)):
                answer = asker.span(BLOB, start, last)
                assert answer.status == 206
                assert answer.body == DATA[start : last + 1]
                assert answer.headers["Content-Range"] == f"bytes {start}-{last}/{len(DATA)}"
                assert answer.headers[HEADER] == f"{HELD}:1f"
            assert asker.span(PACK, 0, 999).body == SMALL
            assert one.relay.bytes_served == 1 + PIECE_SIZE + 5 + len(DATA) + PIECE_SIZE + 1000

    def test_only_verified_pieces_while_it_still_downloads(self, tmp_path: Path) -> None:
        with Running(tmp_path, b"\x02") as one, Asker(one.relay.address, ASKER) as asker:
            assert asker.span(BLOB, PIECE_SIZE, 2 * PIECE_SIZE - 1).body == DATA[PIECE_SIZE : 2 * PIECE_SIZE]
            assert asker.span(BLOB, PIECE_SIZE, 2 * PIECE_SIZE).status == 404
            assert asker.span(BLOB, PIECE_SIZE - 1, PIECE_SIZE).status == 404
            assert asker.span(BLOB, 0, 5).status == 404
            assert asker.get(f"/v1/pieces/{TARGET.manifest}").body == b"\x02"
            one.have = b"\x03"
            assert asker.get(f"/v1/pieces/{TARGET.manifest}").body == b"\x03"

    def test_nothing_else(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            for path in ("/", "/v1/health", f"/v1/blobs/{'0' * 64}", f"/v1/pieces/{'0' * 64}", "/v1/blobs/../x"):
                assert asker.get(path, "Range: bytes=0-1").status == 404
            assert asker.get(f"/v1/blobs/{BLOB.sha256}").status == 400
            assert asker.get(f"/v1/blobs/{BLOB.sha256}", f"Range: bytes={len(DATA)}-").status == 416
            one.shelf.drop(TARGET.manifest)
            assert asker.span(BLOB, 0, 5).status == 404

    def test_a_blob_that_is_gone_from_the_disk_is_not_here(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            one.store.remove(BLOB.sha256)
            assert asker.span(BLOB, 0, 5).status == 404

    def test_many_requests_over_one_line_also_before_the_answers_were_read(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            for _ in range(5):
                asker.send(f"/v1/blobs/{PACK.sha256}", "Range: bytes=0-9")
            assert [asker.answer().body for _ in range(5)] == [SMALL[:10]] * 5
            assert one.relay.lines == 1

    def test_a_line_that_is_to_be_closed_is(self, tmp_path: Path) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, ASKER) as asker:
            assert asker.span(PACK, 0, 9, "Connection: close").headers["Connection"] == "close"
            assert asker.ended


class TestWhoGetsIn:
    @pytest.mark.parametrize(
        "who",
        [LAB.board("c1s4", slot="4"), LAB.server("c1s1"), LAB.enrolled("c1s9")],
        ids=["a board", "a control board", "a board that an enroller let in"],
    )
    def test_neighbours(self, tmp_path: Path, who: Credentials) -> None:
        with Running(tmp_path) as one, Asker(one.relay.address, who) as asker:
            assert asker.span(PACK, 0, 9).status == 206


class TestNewsOfWhoAsks:
    def test_are_handed_on_with_the_neighbour_s_name(self, tmp_path: Path) -> None:
        heard: list[News] = []
        with Running(tmp_path, news=heard.append) as one, Asker(one.relay.address, ASKER) as asker:
            assert asker.span(PACK, 0, 9, f"{HEADER}: {HELD}:03", f"{ADDRESS}: https://127.0.0.1:6690").status == 206
            assert heard == [News("c1s4", Location("1", "4"), "https://127.0.0.1:6690", f"{HELD}:03")]

    def test_of_another_host_are_not(self, tmp_path: Path) -> None:
        heard: list[News] = []
        with Running(tmp_path, news=heard.append) as one, Asker(one.relay.address, ASKER) as asker:
            for url in ("https://127.0.0.2:6690", "http://127.0.0.1:6690", "https://127.0.0.1.evil:1", "x" * 300):
                assert asker.span(PACK, 0, 9, f"{HEADER}: {HELD}:03", f"{ADDRESS}: {url}").status == 206
            assert not heard


class TestItNeverHurtsItsOwnBoard:
    def test_so_many_answers_at_once_and_fewer_while_the_board_downloads(self, tmp_path: Path) -> None:
        downloading = False
        limits = Limits(patience=0.05)
        with Running(tmp_path, limits=limits, yields=lambda: downloading) as one:
            for downloading, most in ((False, AT_ONCE), (True, AT_ONCE_YIELDING)):  # noqa: B007 - read by the relay
                with _Stuck(one, (most + 1) // 2) as stuck:
                    stuck.until_busy(most)
                    assert one.relay.load == 1000
                    with Asker(one.relay.address, LAB.board("c1s16", slot="16")) as late:
                        answer = late.span(PACK, 0, 9)
                        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert one.relay.refused["busy"]

    def test_a_board_has_its_share_of_them(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=Limits(patience=0.05)) as one, _Stuck(one, 1) as stuck:
            stuck.until_busy(EACH_AT_ONCE)
            with Asker(one.relay.address, stuck.who[0]) as again, Asker(one.relay.address, LAB.server("c1s1")) as other:
                assert again.span(PACK, 0, 9).status == 503
                assert other.span(PACK, 0, 9).status == 206

    def test_under_its_cap(self, tmp_path: Path) -> None:
        with Running(tmp_path, limits=Limits(rate=4 * PIECE_SIZE)) as one, Asker(one.relay.address, ASKER) as asker:
            begun = time.monotonic()
            assert asker.span(BLOB, 0, len(DATA) - 1).body == DATA
            # Three pieces at four a second, the first quarter of a second is saved up.
            assert time.monotonic() - begun >= 0.45

    def test_stopping_ends_every_line_and_gives_the_port_back(self, tmp_path: Path) -> None:
        one = Running(tmp_path)
        with one, _Stuck(one, 2) as stuck:
            stuck.until_busy(2)
            one.relay.stop(20)
            assert one.relay.lines == 0
            assert all(asker.ended for asker in stuck.askers)
            with pytest.raises(OSError, match="refused"):
                Asker(one.relay.address, ASKER)


class _Stuck:
    """Neighbours that ask for much and take nothing: with two lines each."""

    def __init__(self, running: Running, boards: int) -> None:
        self._running = running
        self.who = neighbours(boards)
        self.askers = [Asker(running.relay.address, who) for who in self.who for _ in range(2)]

    def __enter__(self) -> Self:
        for asker in self.askers:
            for _ in range(16):  # more than all buffers on the way take
                asker.send(f"/v1/blobs/{BLOB.sha256}", f"Range: bytes=0-{len(DATA) - 1}")
        return self

    def __exit__(self, *_: object) -> None:
        for asker in self.askers:
            asker.line.close()

    def until_busy(self, answers: int) -> None:
        """So many answers are under way and stand still."""
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            with self._running.relay._desk._changed:
                if self._running.relay._desk._boards.total() >= answers:
                    return
            time.sleep(0.01)
        raise AssertionError(f"{answers} answers never were under way at once")
