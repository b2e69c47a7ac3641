"""What the active signs, as a board's verifier and a thief of an online key see it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface

from boardwright.errors import ConflictError, RefusedError
from boardwright.model.software import Target
from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import StaleError, UntrustedError
from boardwright.trust.floor import LATEST
from boardwright.trust.names import PLANS, SNAPSHOT, TARGETS, TIMESTAMP
from boardwright.trust.offline import add_version, delegate_group, delegate_plans, next_root, read_role, to_bytes
from boardwright.trust.online import LIFE, MAX_LEAP, RENEW_AFTER, SignedRoles
from boardwright.trust.verifier import Trusted, Verifier
from tests.unit.trust.test_offline import NOW, Desk

PLATFORM = Target("platform", "1.0", "*", "ab" * 32)
SECOND = Target("platform", "2.0", "*", "cd" * 32)


class Cluster(FetcherInterface):
    """A desk, a vendor of `platform`, and the set that the active has; boards fetch from it."""

    def __init__(self) -> None:
        self.desk, self.vendor = Desk(), CryptoSigner.generate_ecdsa()
        targets = delegate_group(self.desk.targets, "platform", [self.vendor.public_key], self.desk.targets_key, NOW)
        fresh = SignedRoles().with_root(self.desk.root).with_targets(self.desk.targets).with_targets(targets)
        self.roles = fresh.signed(None, self.desk.online[0], NOW)

    def publish(self, target: Target = PLATFORM) -> None:
        role = add_version(self.roles.roles.get("software-platform"), target, 100, self.vendor, NOW)
        self.roles = self.roles.with_software("platform", role).signed(None, self.desk.online[0], NOW)

    def plan(self, data: bytes, now: float = NOW, signer: CryptoSigner | None = None) -> None:
        self.roles = self.roles.signed({"plans/0": data}, signer or self.desk.online[0], now)

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self.roles.files:
            raise DownloadHTTPError(f"{url} is not there", 404)
        return iter((self.roles.files[name],))


class Board:
    def __init__(self, folder: Path, cluster: Cluster, wall: float = NOW) -> None:
        self.cluster, self.wall = cluster, wall
        self.verifier = Verifier(
            folder, write=write_durably, wall=lambda: self.wall, monotonic=lambda: 0.0, root=cluster.desk.root
        )

    def refresh(self) -> Trusted:
        return self.verifier.refresh(self.cluster, "https://c1s1/v1/metadata/")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def board(tmp_path: Path, cluster: Cluster) -> Board:
    return Board(tmp_path, cluster)


class TestABoard:
    def test_believes_a_version_that_its_group_s_key_signed_and_its_plan(self, board: Board, cluster: Cluster) -> None:
        cluster.publish()
        cluster.plan(b"the plan")
        trusted = board.refresh()
        version, plan = trusted.find("software/platform/1.0/*"), trusted.find("plans/0")
        assert version is not None
        assert version.hashes == {"sha256": PLATFORM.manifest}
        assert plan is not None
        assert plan.length == len(b"the plan")

    def test_knows_nothing_of_what_nobody_signed(self, board: Board) -> None:
        assert board.refresh().find("software/platform/1.0/*") is None
        assert board.refresh().find("software/routing/1.0/*") is None

    def test_follows_from_change_to_change(self, board: Board, cluster: Cluster) -> None:
        for number in range(3):
            cluster.plan(b"x" * (number + 1))
            plan = board.refresh().find("plans/0")
            assert plan is not None
            assert plan.length == number + 1

    def test_goes_on_when_a_control_board_was_dropped_and_refuses_what_that_one_signs(
        self, board: Board, cluster: Cluster
    ) -> None:
        stolen, other = cluster.desk.online
        cluster.plan(b"before", signer=stolen)
        board.refresh()
        desk = cluster.desk
        root = next_root(desk.root, desk.keys.without(stolen.public_key.keyid), [desk.root_key], NOW)
        targets = delegate_plans(cluster.roles.roles[TARGETS], [other.public_key], desk.targets_key, NOW)
        cluster.roles = cluster.roles.with_root(root).with_targets(targets)
        with pytest.raises(UntrustedError):
            cluster.roles.signed({}, stolen, NOW)
        cluster.plan(b"after", signer=other)
        plan = board.refresh().find("plans/0")
        assert plan is not None
        assert plan.length == len(b"after")

    def test_notices_after_90_days_that_nothing_is_signed_any_more(self, board: Board) -> None:
        board.refresh()
        board.wall = NOW + LIFE + 1
        with pytest.raises(StaleError):
            board.refresh()


class TestAThiefOfAnOnlineKey:
    def test_signs_no_software(self, cluster: Cluster) -> None:
        for thief in (*cluster.desk.online, cluster.desk.root_key):
            with pytest.raises(
                UntrustedError, match="software-platform is not signed by whom this cluster lets sign it"
            ):
                cluster.roles.with_software("platform", add_version(None, PLATFORM, 1, thief, NOW))

    def test_changes_neither_root_nor_targets(self, cluster: Cluster) -> None:
        thief = cluster.desk.online[0]
        mine = delegate_group(cluster.roles.roles[TARGETS], "platform", [thief.public_key], thief, NOW)
        with pytest.raises(UntrustedError, match="the role targets is not signed"):
            cluster.roles.with_targets(mine)
        with pytest.raises(RefusedError):
            next_root(cluster.desk.root, cluster.desk.keys, [thief], NOW)


class TestAChange:
    def test_is_exactly_the_next_version(self, cluster: Cluster) -> None:
        cluster.publish()
        one = cluster.roles.roles["software-platform"]
        with pytest.raises(
            ConflictError, match="version 1 of the signed role software-platform was sent, the next is 2"
        ):
            cluster.roles.with_software("platform", one)
        two = add_version(one, SECOND, 5, cluster.vendor, NOW)
        three = add_version(two, Target("platform", "3.0", "*", "ef" * 32), 5, cluster.vendor, NOW)
        assert cluster.roles.with_software("platform", three).names(SECOND), "a vendor signed another for somebody else"
        with pytest.raises(ConflictError):
            cluster.roles.with_software("platform", _leaping(cluster, two, MAX_LEAP + 1))
        with pytest.raises(ConflictError, match="root 1 was sent, the next is 2"):
            cluster.roles.with_root(cluster.desk.root)

    def test_loses_and_changes_no_version_that_was_signed(self, cluster: Cluster) -> None:
        cluster.publish()
        other = add_version(None, Target("platform", "1.0", "*", "ff" * 32), 100, cluster.vendor, NOW)
        for forged in (add_version(other, SECOND, 5, cluster.vendor, NOW), _without(cluster)):
            with pytest.raises(RefusedError, match=r"software/platform/1\.0/\* is signed already"):
                cluster.roles.with_software("platform", forged)

    def test_of_root_needs_the_root_before(self, cluster: Cluster) -> None:
        other = Desk()
        forged = next_root(other.root, other.keys, [other.root_key], NOW)
        with pytest.raises(UntrustedError):
            cluster.roles.with_root(forged)

    def test_says_which_versions_are_signed(self, cluster: Cluster) -> None:
        assert not cluster.roles.names(PLATFORM)
        cluster.publish()
        assert cluster.roles.names(PLATFORM)
        assert not cluster.roles.names(Target("platform", "1.0", "*", "ff" * 32))


class TestRenewing:
    def test_is_due_after_a_day(self, cluster: Cluster) -> None:
        assert not cluster.roles.due(NOW + RENEW_AFTER - 60)
        assert cluster.roles.due(NOW + RENEW_AFTER + 60)
        assert SignedRoles().due(NOW)

    def test_counts_the_plan_in_which_lasts_no_longer(self, cluster: Cluster) -> None:
        cluster.plan(b"x")
        later = cluster.roles.signed(None, cluster.desk.online[0], NOW + 10 * RENEW_AFTER)
        assert later.due(NOW + 10 * RENEW_AFTER)

    def test_says_when_it_was_signed(self, cluster: Cluster) -> None:
        assert read_role(cluster.roles.roles[TIMESTAMP], Timestamp).signed.unrecognized_fields == {
            "x-boardwright-time": int(NOW)
        }
        assert cluster.roles.time == NOW

    def test_ends_no_sooner_than_what_it_takes_the_place_of(self, cluster: Cluster) -> None:
        signer = cluster.desk.online[0]
        ahead = cluster.roles.signed({}, signer, NOW + 20 * LIFE)
        back = ahead.signed({}, signer, NOW)
        assert back.time == NOW
        for name in (PLANS, SNAPSHOT, TIMESTAMP):
            assert ends(back, name) == ends(ahead, name)

    def test_is_due_at_once_if_the_signed_time_is_wrong_though_all_of_it_will_hold(self, cluster: Cluster) -> None:
        signer = cluster.desk.online[0]
        ahead = cluster.roles.signed({}, signer, NOW + 20 * LIFE)
        assert ahead.due(NOW)
        assert not ahead.signed({}, signer, NOW).due(NOW)

    def test_begins_anew_when_what_was_signed_counts_no_more(self, cluster: Cluster) -> None:
        signer = cluster.desk.online[0]
        ahead = cluster.roles.signed({}, signer, NOW + 20 * LIFE)
        assert ends(ahead.signed({}, signer, NOW, anew=True), TIMESTAMP) == NOW + LIFE

    def test_a_clock_past_the_last_date_signs_the_last_date(self, cluster: Cluster) -> None:
        made = cluster.roles.signed({}, cluster.desk.online[0], 1e15)
        assert ends(made, TIMESTAMP) == LATEST


def test_a_plan_of_many_shards_is_one_small_file_to_sign(cluster: Cluster) -> None:
    shards = {f"plans/{number}": b"%d" % number for number in range(512)}
    made = cluster.roles.signed(shards, cluster.desk.online[0], NOW)
    assert len(made.roles[PLANS]) < 100_000
    assert set(read_role(made.roles[PLANS], Targets).signed.targets) == set(shards)


def ends(roles: SignedRoles, name: str) -> float:
    kinds: dict[str, type[Any]] = {SNAPSHOT: Snapshot, TIMESTAMP: Timestamp}
    metadata: Metadata[Any] = read_role(roles.roles[name], kinds.get(name, Targets))
    return float(metadata.signed.expires.timestamp())


def _leaping(cluster: Cluster, role: bytes, by: int) -> bytes:
    metadata = read_role(role, Targets)
    metadata.signed.version += by
    metadata.sign(cluster.vendor)
    return to_bytes(metadata)


def _without(cluster: Cluster) -> bytes:
    lost = add_version(None, SECOND, 5, cluster.vendor, NOW)
    return add_version(lost, Target("platform", "3.0", "*", "ef" * 32), 5, cluster.vendor, NOW)
