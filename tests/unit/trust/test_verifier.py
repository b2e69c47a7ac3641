"""What a board believes of signed metadata: attacks (TUF specification section 1.5.2), clocks, power cuts."""

import io
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from boardwright.errors import UnreachableError
from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.verifier import FLOOR, Trusted, Verifier
from tests.unit.trust.repository import DAY, START, Repository


class Board:
    """A board with a clock of its own; `boot` is a restart."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder = folder
        self.repository = repository
        self.given = repository.roots[0]
        self.wall = START
        self.up = 0.0
        self.writes: list[str] = []
        self.boot()

    def boot(self) -> None:
        self.up = 0.0
        self.verifier = Verifier(
            self.folder, write=self.write, wall=lambda: self.wall, monotonic=lambda: self.up, root=self.given
        )

    def write(self, path: Path, data: bytes) -> None:
        write_durably(path, data)
        self.writes.append(path.name)

    def refresh(self) -> Trusted:
        return self.verifier.refresh(self.repository, "http://c1s1/v1/metadata")


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def board(tmp_path: Path, repository: Repository) -> Board:
    return Board(tmp_path, repository)


class TestWhatIsSigned:
    def test_is_found_by_its_path_and_checked_by_its_bytes(self, board: Board, repository: Repository) -> None:
        repository.add_target("software/platform/1.0", b"manifest", {"variant": "*"})
        repository.publish()
        target = board.refresh().find("software/platform/1.0")
        assert target is not None
        assert (target.length, target.custom) == (8, {"variant": "*"})
        target.check(io.BytesIO(b"manifest"))

    def test_and_nothing_else_is(self, board: Board, repository: Repository) -> None:
        repository.add_target("software/platform/1.0", b"manifest")
        repository.publish()
        trusted = board.refresh()
        assert trusted.find("software/platform/2.0") is None
        target = trusted.find("software/platform/1.0")
        assert target is not None
        with pytest.raises(UntrustedError, match=r"software/platform/1\.0 is not what was signed"):
            target.check(io.BytesIO(b"ANOTHER!"))

    def test_is_on_disk_once_and_not_written_again(self, board: Board) -> None:
        board.refresh()
        before = list(board.writes)
        board.boot()
        board.refresh()
        assert board.writes == before


class TestAttacks:
    def test_arbitrary_software_a_stranger_signs_targets(self, board: Board, repository: Repository) -> None:
        repository.operator = CryptoSigner.generate_ecdsa()
        repository.add_target("software/platform/6.6.6", b"evil")
        repository.publish()
        with pytest.raises(UntrustedError):
            board.refresh()

    def test_a_stolen_online_key_cannot_sign_software(self, board: Board, repository: Repository) -> None:
        repository.operator = repository.online[0]
        repository.add_target("software/platform/6.6.6", b"evil")
        repository.publish()
        with pytest.raises(UntrustedError):
            board.refresh()

    def test_rollback_to_an_older_timestamp(self, board: Board, repository: Repository) -> None:
        old = dict(repository.files)
        repository.publish()
        board.refresh()
        repository.files = old
        with pytest.raises(StaleError):
            board.refresh()

    def test_mix_and_match_of_two_times(self, board: Board, repository: Repository) -> None:
        before = repository.snapshot.version
        repository.publish()
        repository.files[f"{repository.snapshot.version}.snapshot.json"] = repository.files[f"{before}.snapshot.json"]
        with pytest.raises(StaleError):
            board.refresh()

    def test_endless_data(self, board: Board, repository: Repository) -> None:
        repository.files["timestamp.json"] += b" " * 1_000_000
        with pytest.raises(UntrustedError, match="more bytes come than were signed"):
            board.refresh()

    def test_garbage(self, board: Board, repository: Repository) -> None:
        for garbage in (b"", b"\x00\xff", b"[]", b"{}", b'{"signed": 5}', b"[" * 10_000):
            repository.files["timestamp.json"] = garbage
            with pytest.raises(UntrustedError):
                board.refresh()

    def test_a_server_that_has_nothing_is_left_for_the_next(self, board: Board, repository: Repository) -> None:
        repository.files.clear()
        with pytest.raises(UnreachableError):
            board.refresh()

    def test_a_new_root_needs_the_keys_of_the_one_before(self, board: Board, repository: Repository) -> None:
        stranger = CryptoSigner.generate_ecdsa()
        repository.operator = stranger
        repository.new_root([stranger], repository.online)
        with pytest.raises(UntrustedError):
            board.refresh()

    def test_a_bad_refresh_takes_nothing_from_what_was_believed(self, board: Board, repository: Repository) -> None:
        good = dict(repository.files)
        board.refresh()
        repository.files["timestamp.json"] = b"garbage"
        with pytest.raises(UntrustedError):
            board.refresh()
        repository.files = good
        board.boot()
        board.refresh()


class TestNoClock:
    def test_a_board_that_boots_in_1970_believes_what_is_signed(self, board: Board) -> None:
        board.wall = 0.0
        board.refresh()
        assert board.verifier.now == START

    def test_and_stays_at_the_newest_signed_time_over_restarts(self, board: Board, repository: Repository) -> None:
        board.wall = 0.0
        repository.time += 30 * DAY
        repository.sign_timestamp()
        board.refresh()
        board.boot()
        assert board.verifier.now == START + 30 * DAY

    def test_a_frozen_repository_is_noticed_by_the_clock(self, board: Board) -> None:
        board.refresh()
        board.wall += 91 * DAY
        with pytest.raises(StaleError):
            board.refresh()

    def test_and_without_a_clock_by_the_time_that_the_board_is_up(self, board: Board) -> None:
        board.wall = 0.0
        board.refresh()
        board.up += 91 * DAY
        with pytest.raises(StaleError):
            board.refresh()

    def test_a_poisoned_future_is_healed_when_the_thief_s_key_is_dropped(
        self, board: Board, repository: Repository
    ) -> None:
        thief, honest = repository.online[0], CryptoSigner.generate_ecdsa()
        repository.new_root([repository.operator], [thief, honest])
        repository.sign_timestamp(signed_time=int(START + 20_000 * DAY), signer=thief)
        board.refresh()
        repository.sign_timestamp(signer=honest)
        with pytest.raises(StaleError):
            board.refresh()
        repository.new_root([repository.operator], [honest])
        repository.publish()
        board.refresh()
        assert board.verifier.now == START

    def test_a_fast_forward_of_versions_is_healed_the_same_way(self, board: Board, repository: Repository) -> None:
        thief, honest = repository.online[0], CryptoSigner.generate_ecdsa()
        repository.timestamp.version = 2**31
        repository.sign_timestamp(signer=thief)
        board.refresh()
        repository.new_root([repository.operator], [honest])
        repository.timestamp.version = 5
        repository.publish()
        board.refresh()

    def test_a_time_that_is_none_is_ignored(self, board: Board, repository: Repository) -> None:
        repository.sign_timestamp(signed_time="tomorrow")
        board.refresh()
        assert board.verifier.now == START

    def test_a_lost_or_broken_floor_does_not_stop_the_board(self, board: Board) -> None:
        board.refresh()
        for content in (b"", b"{", b"[]", b"\xff", b"9" * 100_000):
            (board.folder / FLOOR).write_bytes(content)
            board.boot()
            board.refresh()


class TestPowerCuts:
    def test_after_a_cut_at_any_write_the_next_refresh_succeeds(self, tmp_path: Path, repository: Repository) -> None:
        for point in range(20):
            folder = tmp_path / str(point)
            folder.mkdir()
            board = Board(folder, repository)
            left = point

            def write(path: Path, data: bytes, board: Board = board) -> None:
                nonlocal left
                if left == 0:
                    raise OSError(5, "the power is gone")
                left -= 1
                write_durably(path, data)

            board.verifier = Verifier(folder, write=write, wall=lambda: START, monotonic=lambda: 0.0, root=board.given)
            try:
                board.refresh()
            except OSError:
                board.boot()
                board.refresh()
            else:
                assert point > 4
                return
        pytest.fail("a refresh writes more than twenty files")
