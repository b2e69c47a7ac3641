"""The local copy: what it keeps, when it is on disk, and what cannot break it."""

from pathlib import Path

from boardwright.model.plan import Plan
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.state.follow import Follower
from boardwright.state.kv import Change, Entry, Snapshot, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import BOARDS, LEASE, PLAN, LeaseRecord
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
    mirror.reset(Snapshot((Entry(f"{BOARDS}c1s4", encoded(board("c1s4")), 9),), 9))
    assert set(mirror.state.boards) == {"c1s4"}
    assert mirror.state.plan == Plan()


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
