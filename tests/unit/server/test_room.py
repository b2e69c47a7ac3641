"""Room in a server's store: the quota, the collector that drops what nobody needs, and versions that are retired."""

import errno
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import ConflictError, FailedError, RefusedError
from boardwright.model.api import DeploymentRequest
from boardwright.model.audit import Action
from boardwright.model.policy import Assignment
from boardwright.model.software import BlobRef, FileEntry, Manifest, digest_of, encode_manifest
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.board_reports import BoardReports
from boardwright.server.collector import GRACE, LONGEST, PRESSED, Collector
from boardwright.server.damage import Damage
from boardwright.server.deployments import Deployments
from boardwright.server.disk_watch import DiskWatch
from boardwright.server.facts import encoded, read_facts
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.piece_digests import PieceDigests
from boardwright.server.planning import propose, transaction
from boardwright.server.publishing import PublishEvents, Publishing
from boardwright.server.retirement import Retirement
from boardwright.server.room import QuotaError, Room
from boardwright.server.version_blobs import VersionBlobs
from boardwright.state.kv import Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import BOARDS, CatalogRecord, RolloutRecord
from boardwright.transfer.space import NoSpaceError, Space
from boardwright.transfer.store import BlobStore
from tests.identities import Identities
from tests.unit.server.builders import Version, act, audit_records, audited, board, confirmed, report

IDENTITIES = Identities()

SIZE = 10_000  # bytes of a version's large file


def big(name: str, group: str = "platform", **facts: object) -> Version:
    return Version(group, name, (name.encode() * SIZE,), **facts)  # type: ignore[arg-type]


class Bench:
    """An active server without its network: the state, a store with real files, and what makes room in it."""

    def __init__(self, folder: Path, quota: int = 0) -> None:
        self.folder = folder
        self.now = 0.0
        self.kv = MemoryKV()
        self.store = BlobStore(folder / "store")
        self.mirror = Mirror(folder / "mirror.json")
        self.holdings = Holdings()
        self.versions = VersionBlobs(self.store)
        self.alarms = Alarms("c1s1", lambda: self.now)
        self.reports = BoardReports(lambda: self.now)
        self.damage = Damage(self.store, self.holdings, self.versions, self.alarms, lambda: None)
        self.collector = Collector(self.store, self.mirror, self.versions, self.damage, lambda: self.now)
        self.before_commit: list[Transaction] = []
        self.retirement = Retirement(
            self.kv,
            audited(self.kv, self.commit),
            act(Action.RETIRE),
            self.mirror,
            self.reports,
            self.collector,
            self.versions,
            lambda: -1e12,
        )
        self.room = Room(self.store, quota, self.collector, self.alarms, self.retirement.retire)
        self.publishing = Publishing(
            self.kv,
            audited(self.kv, self.commit),
            self.mirror,
            self.store,
            PieceDigests(self.store),
            PublishEvents(self.collector.touch, self.settle),
            IDENTITIES.signing(),
            lambda: self.now,
        )
        self.deployments = Deployments(
            self.kv, audited(self.kv, self.commit), self.mirror, IDENTITIES.signing(), lambda: self.now
        )
        self.introduce("c1s3")

    def bring(self, encoded: bytes) -> tuple[CatalogRecord, bool]:
        """Upload the manifest and publish it, signed by the operator."""
        digest = digest_of(encoded)
        self.collector.touch([digest], upload=True)
        self.store.put(digest, [encoded])
        return self.publishing.publish(IDENTITIES.over(self.kv, encoded), act(Action.PUBLISH))

    def commit(self, change: Transaction) -> int:
        while self.before_commit:
            self.follow(self.kv.commit(self.before_commit.pop(0)))
        return self.follow(self.kv.commit(change))

    def follow(self, revision: int) -> int:
        self.mirror.reset(self.kv.range(""))
        return revision

    def settle(self, record: CatalogRecord) -> None:
        self.collector.settle([record.manifest, *(self.versions.of(record.manifest) or ())])

    def write(self, key: str, value: bytes) -> None:
        """A change by somebody else."""
        entry = self.kv.get(key)
        self.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))

    def introduce(self, *names: str) -> None:
        keys = [f"{BOARDS}{name}" for name in names]
        self.commit(Transaction(dict.fromkeys(keys, 0), {f"{BOARDS}{name}": encoded(board(name)) for name in names}))

    def upload(self, version: Version) -> None:
        for sha256, data in version.blobs.items():
            if data != version.encoded:
                self.collector.touch([sha256], upload=True)
                with self.room.for_upload(sha256, len(data)):
                    self.store.put(sha256, [data])

    def publish(self, *versions: Version) -> None:
        for version in versions:
            self.now += 1
            self.room.for_publish(sum(map(len, version.blobs.values())))
            self.upload(version)
            self.bring(version.encoded)

    def deploy(self, version: str) -> None:
        self.now += 1
        self.deployments.deploy(DeploymentRequest("platform", version), act(Action.DEPLOY))
        self.runs(version)

    def runs(self, version: str, name: str = "c1s3") -> None:
        self.now += 1
        self.reports.take([report(board(name), int(self.now) + 100, platform=confirmed(version))])

    def has(self, version: Version) -> bool:
        return all(self.store.has(sha256) for sha256 in version.blobs)

    def retired(self) -> set[str]:
        return {record.version for record in read_facts(self.kv).catalog.values() if record.retired}

    def later(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def tight(tmp_path: Path) -> Bench:
    """Three versions fit into the quota, a fourth does not."""
    return Bench(tmp_path, quota=3 * SIZE + 8000)


class TestCollector:
    def test_what_a_version_names_stays_for_ever(self, bench: Bench) -> None:
        bench.publish(big("1"), big("2"))
        for _ in range(3):
            bench.later(10 * LONGEST)
            assert bench.collector.collect(pressed=True) == 0
        assert bench.has(big("1"))

    def test_an_upload_whose_manifest_comes_last_loses_nothing(self, bench: Bench) -> None:
        """Each blob takes nearly as long as the grace: what came first must outlast what comes after."""
        bench.publish(big("1"))
        slow = Version("platform", "2", tuple(bytes([number]) * 500 for number in range(9)))
        for sha256, data in slow.blobs.items():
            bench.collector.touch([sha256], upload=True)
            bench.store.put(sha256, [data])
            bench.later(GRACE - 1)
            bench.collector.collect()
        bench.bring(slow.encoded)
        bench.later(LONGEST)
        bench.collector.collect()
        assert bench.has(slow)

    def test_leftovers_go_after_a_grace_and_sooner_if_room_is_wanted(self, bench: Bench) -> None:
        bench.publish(big("1"))
        for pressed, grace in ((False, GRACE), (True, PRESSED)):
            bench.upload(big("2"))
            bench.collector.collect(pressed=pressed)
            bench.later(grace - 1)
            assert bench.collector.collect(pressed=pressed) == 0
            bench.later(2)
            assert bench.collector.collect(pressed=pressed) > SIZE
            assert bench.store.digests() == set(big("1").blobs)

    def test_what_somebody_asked_about_stays(self, bench: Bench) -> None:
        bench.publish(big("1"))
        bench.upload(big("2"))
        bench.collector.collect()
        bench.later(GRACE - 1)
        bench.collector.touch(big("2").blobs)
        bench.later(GRACE - 1)
        bench.collector.collect()
        assert bench.store.has(digest_of(big("2").contents[0]))

    def test_publishes_without_end_keep_no_leftover_longer_than_a_day(self, bench: Bench) -> None:
        bench.publish(big("1"))
        bench.upload(big("2"))
        bench.collector.collect()
        for _ in range(int(LONGEST / 600) + 8):
            bench.later(600)
            bench.collector.touch(["0" * 64], upload=True)
            bench.collector.collect()
        assert bench.store.digests() == set(big("1").blobs)

    def test_a_partial_that_no_version_names_goes_too(self, bench: Bench) -> None:
        bench.publish(big("1"))
        data = b"partial"
        bench.store.partial(BlobRef(digest_of(data), len(data), bytes.fromhex(digest_of(data)))).close()
        bench.collector.collect()
        bench.later(GRACE + 1)
        bench.collector.collect()
        assert bench.store.partial_digests() == set()

    def test_who_does_not_know_what_is_needed_drops_nothing(self, bench: Bench) -> None:
        bench.publish(big("1"))
        fresh = Mirror(bench.folder / "mirror.json")  # of a server that started and did not hear the engine yet
        for mirror in (fresh, Mirror(bench.folder / "no-mirror.json")):
            mirror.wait_for(1, 0.0)
            collector = Collector(bench.store, mirror, bench.versions, bench.damage, lambda: bench.now)
            collector.collect()
            bench.later(2 * LONGEST)
            collector.collect(pressed=True)
            assert bench.has(big("1"))

    def test_while_the_manifest_of_a_version_is_not_here_nothing_goes(self, bench: Bench) -> None:
        bench.publish(big("1"), big("2"))
        bench.store.remove(big("2").digest)
        bench.versions = VersionBlobs(bench.store)
        collector = Collector(bench.store, bench.mirror, bench.versions, bench.damage, lambda: bench.now)
        collector.collect()
        bench.later(2 * LONGEST)
        collector.collect()
        assert bench.store.has(digest_of(big("2").contents[0]))


class TestQuota:
    def test_what_is_retired_is_recorded_as_an_act(self, tight: Bench) -> None:
        tight.publish(big("1"))
        tight.deploy("1")
        tight.publish(big("2"), big("3"), big("4"))
        told = [(one.action, one.subject) for one in audit_records(tight.kv)]
        assert told[-2:] == [("retire", "platform 2 *"), ("publish", "platform 4 *")]

    def test_without_one_nothing_is_ever_retired(self, bench: Bench) -> None:
        for number in range(12):
            bench.publish(big(str(number)))
        assert bench.retired() == set()

    def test_the_oldest_version_that_nobody_needs_makes_room(self, tight: Bench) -> None:
        tight.publish(big("1"))
        tight.deploy("1")
        tight.publish(big("2"), big("3"), big("4"))
        assert tight.retired() == {"2"}
        assert [tight.has(big(name)) for name in "1234"] == [True, False, True, True]
        assert tight.store.has(big("2").digest)

    def test_what_runs_and_what_a_rollback_needs_stays_and_the_publish_is_refused_with_figures(
        self, tight: Bench
    ) -> None:
        for name in "123":
            tight.publish(big(name))
            tight.deploy(name)
        tight.introduce("c1s4")
        tight.runs("1", "c1s4")
        with pytest.raises(
            QuotaError, match=r"does not fit: it needs 10.* bytes, the store has 31.* at most"
        ) as caught:
            tight.room.for_publish(10_500)
        assert "raise store_quota" in str(caught.value.hint)
        assert tight.retired() == set()
        assert all(tight.has(big(name)) for name in "123")
        assert tight.alarms.subjects(AlarmKind.QUOTA) == {"publish"}

    def test_nothing_of_a_group_goes_while_a_board_of_it_was_not_heard(self, tight: Bench) -> None:
        tight.publish(big("1"))
        tight.deploy("1")
        tight.publish(big("2"), big("3"))
        tight.reports = BoardReports(lambda: tight.now)
        tight.retirement._board_reports = tight.reports
        with pytest.raises(QuotaError):
            tight.room.for_publish(10_500)
        tight.runs("1")
        tight.room.for_publish(10_500)
        assert tight.retired() == {"2"}

    def test_a_publish_that_shares_blobs_with_an_old_version_does_not_lose_them_while_it_uploads(
        self, tight: Bench
    ) -> None:
        tight.publish(big("1"), big("2"), big("3"))
        (shared,) = big("1").contents
        tight.collector.touch([digest_of(shared)])  # what the publish was told is here already
        tight.room.for_publish(10_500)
        assert tight.retired() == {"2"}
        assert tight.store.has(digest_of(shared))

    def test_leftovers_go_before_versions_do(self, tight: Bench) -> None:
        tight.publish(big("1"), big("2"))
        tight.upload(big("9"))
        tight.collector.collect()
        tight.later(PRESSED + 1)
        tight.publish(big("3"))
        assert tight.retired() == set()

    def test_uploads_under_way_count(self, tight: Bench) -> None:
        tight.publish(big("1"))
        tight.deploy("1")
        with tight.room.for_upload("a" * 64, 2 * SIZE):
            with pytest.raises(QuotaError):
                tight.room.for_upload("b" * 64, SIZE).__enter__()

    def test_more_than_the_disk_has_is_refused_whatever_the_quota(self, tight: Bench) -> None:
        tight.store.space = Space(tight.store.root, 1000, lambda _: 5000)
        with pytest.raises(NoSpaceError, match="the publish does not fit"):
            tight.room.for_publish(4001)


class TestRetired:
    @pytest.fixture
    def retired(self, tight: Bench) -> Bench:
        """Version 1 was retired to make room for version 4."""
        tight.publish(big("1"), big("2"), big("3"), big("4"))
        assert tight.retired() == {"1"}
        return tight

    def test_it_is_not_deployed_and_the_sentence_says_why(self, retired: Bench) -> None:
        with pytest.raises(FailedError, match="was retired from the stores to make room") as caught:
            retired.deploy("1")
        assert caught.value.hint == "publish it again, with the same content"

    def test_the_same_content_revives_it_and_other_content_is_refused(self, retired: Bench) -> None:
        other = Version("platform", "1", (b"other" * 100,))
        retired.upload(other)
        with pytest.raises(RefusedError, match="other content"):
            retired.bring(other.encoded)
        retired.upload(big("1"))
        _, new = retired.bring(big("1").encoded)
        assert new
        assert retired.has(big("1"))
        assert "1" not in retired.retired()
        retired.deploy("1")

    def test_the_same_files_packed_otherwise_are_the_same_content(self, retired: Bench) -> None:
        (old,) = big("1").contents
        packed = old + b"something else of the pack"
        blob = BlobRef(digest_of(packed), len(packed), bytes.fromhex(digest_of(packed)))
        entry = FileEntry("f0", 0o644, len(old), digest_of(old), 0)
        again = encode_manifest(Manifest(1, "platform", "1", files=(entry,), blobs=(blob,)))
        retired.store.put(blob.sha256, [packed])
        record, new = retired.bring(again)
        assert (new, record.manifest) == (True, digest_of(again))

    def test_a_deploy_at_the_same_moment_wins_or_is_refused(self, tight: Bench) -> None:
        tight.publish(big("1"), big("2"), big("3"))
        tight.runs("3")
        facts = read_facts(tight.kv)
        wish = facts.policy.assign(Assignment("platform", "1"))
        deploy = transaction(facts, wish, propose(facts, wish))
        tight.before_commit = [deploy]
        tight.retirement.retire(SIZE)
        assert tight.retired() == {"2"}
        facts = read_facts(tight.kv)
        wish = facts.policy.assign(Assignment("platform", "3"))
        deploy = transaction(facts, wish, propose(facts, wish))
        record = facts.catalog["platform/3/*"]
        tight.write("catalog/platform/3/*", encoded(msgspec.structs.replace(record, retired=True)))
        with pytest.raises(ConflictError):
            tight.commit(deploy)

    def test_versions_of_rollouts_that_ended_well_are_remembered_as_what_to_go_back_to(self, tight: Bench) -> None:
        tight.publish(big("1"), big("2"), big("3"))
        rollouts = [
            RolloutRecord(f"r{number}", "platform", name, (), "all-at-once", number, 0.0, outcome)
            for number, (name, outcome) in enumerate((("1", "done"), ("2", "failed"), ("3", "done")))
        ]
        for one in rollouts:
            tight.write(f"rollouts/{one.id}", encoded(one))
        tight.runs("3")
        assert tight.retirement.retire(1) == ()


class TestDisk:
    def test_a_disk_that_becomes_full_in_an_upload_is_no_fault_of_the_server(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = [100_000]
        bench.store.space = Space(bench.store.root, 1000, lambda _: free[0])

        def blocks() -> object:
            yield b"x" * 500
            free[0] = 900
            yield b"y" * 500

        with pytest.raises(NoSpaceError, match="stopped because the disk is nearly full: 900 bytes are free"):
            bench.store.put("a" * 64, blocks())  # type: ignore[arg-type]
        assert list(bench.store.root.glob(".incoming-*")) == []

    def test_an_alarm_sounds_before_uploads_have_to_stop_and_ends_with_its_cause(self, bench: Bench) -> None:
        free = [5000]
        watch = DiskWatch(Space(bench.folder, 1000, lambda _: free[0]), bench.alarms)
        for left, sounds in ((5000, False), (1900, True), (2200, True), (2500, False), (2200, False)):
            free[0] = left
            watch.look()
            assert bool(bench.alarms.subjects(AlarmKind.DISK)) is sounds, left

    def test_a_disk_that_cannot_be_looked_at_is_an_alarm_too(self, bench: Bench) -> None:
        def broken(_: Path) -> int:
            raise OSError(errno.EIO, "Input/output error")

        DiskWatch(Space(bench.folder, 1000, broken), bench.alarms).look()
        assert bench.alarms.subjects(AlarmKind.DISK) == {str(bench.folder)}
