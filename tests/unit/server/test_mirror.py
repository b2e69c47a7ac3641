"""The local copy: what it keeps, when it is on disk, and what cannot break it."""

from pathlib import Path

import pytest

from boardwright.model.plan import Plan
from boardwright.server.facts import encoded
from boardwright.server.mirror import UNFINISHED, Mirror, MirrorState, ReadAgainError
from boardwright.state.follow import Follower
from boardwright.state.kv import Change, Entry, Snapshot, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import (
    BOARDS,
    LEASE,
    PLAN,
    RESTORED,
    RESTORING,
    LeaseRecord,
    RestoredRecord,
    RestoringRecord,
)
from tests.unit.server.builders import Version, board


def put(key: str, record: object, revision: int = 1) -> Change:
    return Change(key, encoded(record), revision)


def test_it_starts_from_its_file_without_the_engine(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.json")
    version = Version()
    mirror.apply([put(PLAN, Plan(generation=4)), put(version.key, version.record), put(f"{BOARDS}c1s3", board())])
    again = Mirror(tmp_path / "mirror.json")
    assert again.state == mirror.state
    assert again.state.plan.generation == 4
    assert again.state.catalog == {"platform/1/*": version.record}
    assert again.state.inventory.boards["c1s3"] == board()


def test_a_plan_is_on_disk_before_anybody_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mirror.json"
    mirror = Mirror(path)
    on_disk: list[int] = []
    mirror.subscribe(lambda _before, _after: on_disk.append(Mirror(path).state.plan.generation))
    mirror.apply([put(PLAN, Plan(generation=7))])
    assert on_disk == [7]


def test_beats_of_the_lease_neither_write_nor_tell(tmp_path: Path) -> None:
    path = tmp_path / "mirror.json"
    mirror = Mirror(path)
    told: list[MirrorState] = []
    mirror.subscribe(lambda _before, after: told.append(after))
    mirror.apply([put(LEASE, LeaseRecord("c1s1", 3, 17))])
    assert not path.exists()
    assert not told


def test_a_reading_forgets_what_the_engine_no_longer_has(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.json")
    mirror.apply([put(f"{BOARDS}c1s3", board()), put(PLAN, Plan(generation=4))])
    plan = Entry(PLAN, encoded(Plan(generation=4)), 9)
    mirror.reset(Snapshot((Entry(f"{BOARDS}c1s4", encoded(board("c1s4")), 9), plan), 9))
    assert set(mirror.state.boards) == {"c1s4"}


def test_a_record_of_a_newer_release_leaves_the_known_one(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.json")
    mirror.apply([put(f"{BOARDS}c1s3", board())])
    mirror.apply([Change(f"{BOARDS}c1s3", b'{"id": 5}', 2), Change("later/thing", b"\xff", 2)])
    mirror.reset(Snapshot((Entry(f"{BOARDS}c1s3", b'{"id": 5}', 2),), 2))
    assert mirror.state.boards == {"c1s3": board()}


def test_a_deletion_is_taken_over(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror.json")
    mirror.apply([put(f"{BOARDS}c1s3", board())])
    mirror.apply([Change(f"{BOARDS}c1s3", None, 2)])
    assert mirror.state.boards == {}


def test_a_broken_or_half_written_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "mirror.json"
    for content in (b"", b"{", b'{"plan": 3}', b"\xff\xfe"):
        path.write_bytes(content)
        assert Mirror(path).state == MirrorState()


def test_a_disk_that_is_full_costs_the_file_and_not_the_service(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "missing" / "mirror.json")
    mirror.apply([put(PLAN, Plan(generation=4))])
    assert mirror.state.plan.generation == 4


def test_a_follower_brings_what_is_committed_and_whoever_waits_sees_it(tmp_path: Path) -> None:
    kv = MemoryKV()
    mirror = Mirror(tmp_path / "mirror.json")
    follower = Follower(kv, "", mirror)
    follower.step(0)
    revision = kv.commit(Transaction({PLAN: 0}, {PLAN: encoded(Plan(generation=1))}))
    assert not mirror.wait_for(revision, 0)
    follower.step(0)
    assert mirror.wait_for(revision, 0)
    assert mirror.state.plan.generation == 1


def snapshot(**records: object) -> Snapshot:
    keys = {"plan": PLAN, "board": f"{BOARDS}c1s4", "restoring": RESTORING, "restored": RESTORED}
    return Snapshot(tuple(Entry(keys[name], encoded(record), 9) for name, record in records.items()), 9)


class TestAStateThatIsNotBelieved:
    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def mirror(self, tmp_path: Path, said: list[str]) -> Mirror:
        made = Mirror(tmp_path / "mirror.json", doubted=said.append)
        made.apply([put(f"{BOARDS}c1s3", board()), put(PLAN, Plan(generation=4))])
        return made

    def test_one_with_an_older_plan_takes_nothing_away(self, mirror: Mirror, said: list[str]) -> None:
        mirror.reset(snapshot(plan=Plan(generation=3)))
        assert mirror.state.plan.generation == 4
        assert set(mirror.state.boards) == {"c1s3"}
        assert said == [mirror.doubt] == ["the state has plan 3, and this server has seen plan 4"]

    def test_nor_does_an_empty_one(self, mirror: Mirror) -> None:
        mirror.reset(Snapshot((), 1))
        assert mirror.state.plan.generation == 4

    def test_nor_an_empty_one_if_there_was_no_plan_yet_but_something_signed(self, tmp_path: Path) -> None:
        mirror = Mirror(tmp_path / "mirror.json")
        mirror.apply([Change("trust/roots/00001", b"root", 1)])
        mirror.reset(Snapshot((), 1))
        assert mirror.doubt == "the state is empty, and this server has seen another"
        assert mirror.state.signed

    def test_one_that_is_being_restored_is_looked_at_when_that_is_over(self, mirror: Mirror, said: list[str]) -> None:
        mirror.apply([put(RESTORING, RestoringRecord("x"), 2)])
        mirror.apply([put(f"{BOARDS}c1s9", board("c1s9"), 3)])
        assert set(mirror.state.boards) == {"c1s3"}
        with pytest.raises(ReadAgainError):
            mirror.apply([Change(RESTORING, None, 4)])
        mirror.reset(snapshot(plan=Plan(generation=9), board=board("c1s4"), restored=RestoredRecord("x", 9, 3)))
        assert set(mirror.state.boards) == {"c1s4"}
        assert (mirror.doubt, said) == ("", [UNFINISHED, ""])

    def test_nor_is_a_restore_believed_that_was_cut_off_before_this_server_started(self, mirror: Mirror) -> None:
        mirror.reset(snapshot(plan=Plan(generation=9), restoring=RestoringRecord("x")))
        assert mirror.state.plan.generation == 4

    def test_beats_of_the_lease_are_no_reason_to_read_it_again(self, mirror: Mirror) -> None:
        mirror.reset(snapshot(plan=Plan(generation=3)))
        mirror.apply([put(LEASE, LeaseRecord("c1s1", 3, 17), 10)])
        assert mirror.wait_for(10, 0)

    def test_a_later_restore_may_say_otherwise_and_an_older_state_may_not(self, mirror: Mirror) -> None:
        """A thief may have signed a generation that nobody can surpass."""
        mirror.reset(snapshot(plan=Plan(generation=3), restored=RestoredRecord("y", 3, 1)))
        assert (mirror.state.plan.generation, mirror.state.restored) == (3, 3)
        mirror.reset(snapshot(plan=Plan(generation=2), restored=RestoredRecord("x", 2, 1)))
        assert mirror.state.plan.generation == 3
        mirror.reset(snapshot(plan=Plan(generation=1)))
        assert mirror.state.plan.generation == 3
