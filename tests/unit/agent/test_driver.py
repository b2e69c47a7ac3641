"""A board's driver in virtual time: real asking, choosing and machine; hands and servers are of the test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from boardwright.agent import deployment as d
from boardwright.agent.downloads import Download
from boardwright.agent.driver import BoardDriver
from boardwright.agent.ledger import Ledger
from boardwright.agent.order import Release
from boardwright.agent.place import location_conflict
from boardwright.agent.plan_source import find_plan
from boardwright.agent.reporter import HEARTBEAT, BoardReporter
from boardwright.config.settings import AgentSettings, ClusterSettings
from boardwright.errors import UnreachableError
from boardwright.model.inventory import Board
from boardwright.model.location import Location, Tier
from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport, DeploymentState
from boardwright.model.software import Target
from boardwright.protocol.codec import Received, decode
from boardwright.protocol.messages import Announcement, GroupOffer, Holding, Offer, Request
from boardwright.transfer.sharing import Sharing
from tests.unit.transfer.blobs import MemorySource

BOARD = Board("c1s3", Location("1", "3"), "lc-100g", ("platform", "routing"))


def target(group: str, version: str) -> Target:
    return Target(group, version, "*", f"{group}{version}".encode().hex().ljust(64, "0"))


P1, P2 = target("platform", "1"), target("platform", "2")
R1, R2 = target("routing", "1"), target("routing", "2")


class Server:
    """A server on the test's network; it answers at once, unless it is down."""

    def __init__(self, id: str, chassis: str, slot: str) -> None:
        self.id, self.location = id, Location(chassis, slot)
        self.plan = BoardPlan(0)
        self.holding: dict[str, Holding] = {}
        self.up = self.api_up = True
        self.revocations = 0  # number of its list of revoked keys
        self.copied: int | None = None

    def answer(self, request: Request) -> Offer:
        wants = {query.group: query.want for query in request.groups}
        groups = [self._group(target, True) for target in self.plan.groups.values() if target.group in wants]
        for name, digest in ((n, m) for n, m in wants.items() if m and m.hex() in self.holding):
            if all(offer.manifest != digest for offer in groups):
                groups.append(GroupOffer(name, "?", digest, self.holding[digest.hex()], planned=False))
        return Offer(
            request.cluster,
            request.nonce,
            self.id,
            self.location.chassis,
            self.location.slot,
            self.plan.generation,
            api=f"https://{self.id}",
            revocations=self.revocations,
            blobs=f"https://{self.id}:2",
            groups=tuple(groups),
        )

    def _group(self, target: Target, planned: bool) -> GroupOffer:
        holding = self.holding.get(target.manifest, Holding.NONE)
        digest = bytes.fromhex(target.manifest)
        return GroupOffer(target.group, target.version, digest, holding, planned, copied=self.copied)


class World:
    """Hands, network and servers of one board, with the time."""

    def __init__(self, tmp_path: Path, *servers: Server) -> None:
        self.now = 100.0
        self.servers = {server.id: server for server in servers}
        self.state_dir = tmp_path
        self.requests: list[Request] = []
        self.sources: dict[str, list[str]] = {}
        self.done: list[d.Action | str] = []
        self.in_place: dict[str, Target] = {}
        self.staged: set[str] = set()
        self.sick: set[str] = set()
        self.broken_downloads = 0
        self.plan_takes = 0.0  # seconds
        self.revoked: dict[int, frozenset[str]] = {}  # whom the list of that number makes a server no more
        self.refreshes = 0
        self.releases: dict[str, Release] = {}
        self.reports: list[BoardReport] = []
        self.certified = BOARD.location
        self.relay = False
        self.stays = False  # downloads do not end
        self._queue: list[Callable[[], None]] = []
        self.start()

    def start(self) -> None:
        settings = AgentSettings(
            cluster=ClusterSettings(
                name="core1",
                interfaces=("lo",),
                multicast=None,
                trust=self.state_dir,
                certificate=self.state_dir,
                key=self.state_dir,
            ),
            board=BOARD,
            root=self.state_dir,
            state_dir=self.state_dir,
            relay_enabled=self.relay,
            relay_listen=None,
        )
        self._queue.clear()
        rng = Random(1)
        self.driver = BoardDriver(
            settings,
            hands=self,
            outside=self,
            ledger=Ledger(self.state_dir),
            rng=rng,
            now=self.now,
            conflict=location_conflict(BOARD.location, self.certified),
        )
        self.reporter = BoardReporter(self.driver, rng, 0)

    def deploy(self, generation: int, *targets: Target, holding: Holding = Holding.ALL) -> None:
        for server in self.servers.values():
            server.plan = BoardPlan(generation, {target.group: target for target in targets})
            server.holding |= {target.manifest: holding for target in targets}

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let virtual time go on for at most `seconds`."""
        end, steps = self.now + seconds, 0
        while True:
            steps += 1
            assert steps < 20_000, "the driver spins"
            while self._queue:
                self._queue.pop(0)()
            self.driver.wake(self.now)
            report = self.reporter.due(self.now)
            if report is not None:
                self.reports.append(report)
            if not self._queue:
                if until():
                    return True
                wakeup = min(self.driver.next_wakeup(), self.reporter.next_wakeup())
                if wakeup > end:
                    self.now = end
                    return until()
                self.now = max(self.now, wakeup)

    def state(self, group: str) -> DeploymentState:
        return self.driver.groups[group].state

    def confirmed(self, *targets: Target) -> bool:
        return all(
            self.state(one.group) is DeploymentState.CONFIRMED and self.in_place.get(one.group) == one
            for one in targets
        )

    # Outside.

    def send(self, datagrams: Sequence[bytes]) -> None:
        for datagram in datagrams:
            received = decode(datagram, "core1")
            assert isinstance(received, Received)
            request = received.message
            assert isinstance(request, Request)
            self.requests.append(request)
            for server in self.servers.values():
                if server.up:
                    self._later(lambda offer=server.answer(request): self.driver.hear(offer, self.now))

    def source(self, source_id: str, url: str) -> MemorySource:
        return MemorySource(source_id)

    def neighbour(self, source_id: str, url: str, sharing: Sharing) -> MemorySource:
        del sharing
        return MemorySource(source_id)

    def refresh(self, offers: Sequence[Offer], generation: int) -> None:
        self.refreshes += 1
        newest = max(offer.revocations for offer in offers)
        if newest in self.revoked:
            self._later(lambda: self.driver.revoked(newest, self.revoked[newest]))
        found = find_plan(self, BOARD.id, offers, generation)

        def answered() -> None:
            self.now += self.plan_takes
            self.driver.planned(found, self.now)

        self._later(answered)

    def plan(self, api: str, board: str) -> BoardPlan:
        server = self.servers[api.removeprefix("https://")]
        if not server.up or not server.api_up:
            raise UnreachableError(f"{api} cannot be reached")
        return server.plan

    # Hands.

    def running(self, group: str) -> Target | None:
        return self.in_place.get(group)

    def holds(self, target: Target) -> bool:
        return target.manifest in self.staged

    def release(self, target: Target) -> Release:
        return self.releases.get(target.manifest, Release(target.version))

    def activation_limit(self, target: Target) -> float:
        return 60.0

    def download(self, download: Download, others: tuple[Target, ...]) -> None:
        wanted = download.target
        self.done.append(f"download {wanted.group} {wanted.version}")
        self.sources[wanted.group] = list(download.sources.ids())
        self.last_download = download
        if self.broken_downloads:
            self.broken_downloads -= 1
            self._happen(wanted, d.DownloadFailed(wanted.manifest, "every source failed"))
            return
        download.needs(100)
        if self.stays:
            return
        first = download.sources.ids()[0]
        download.on_bytes(first, 100)
        self.staged.add(wanted.manifest)
        self._happen(wanted, d.StageSucceeded(wanted.manifest))

    def activate(self, action: d.Activate) -> None:
        self.done.append(action)
        self.in_place[action.target.group] = action.target
        self._happen(action.target, d.Activated(action.target.manifest, 10))

    def probe(self, action: d.Probe) -> None:
        self.done.append(action)
        m = action.target.manifest
        self._happen(action.target, d.Unhealthy(m, "exit code 1", "boom") if m in self.sick else d.Healthy(m))

    def roll_back(self, action: d.RollBack) -> None:
        self.done.append(action)
        if action.to is None:
            del self.in_place[action.target.group]
        else:
            self.in_place[action.target.group] = action.to
        self._happen(action.target, d.RolledBack(action.target.manifest))

    def confirm(self, action: d.Confirm) -> None:
        self.done.append(action)

    def discard(self, action: d.Discard) -> None:
        self.done.append(action)

    def stop(self, group: str) -> None:
        self.done.append(f"stop {group}")

    def _happen(self, target: Target, event: d.Event) -> None:
        self._later(lambda: self.driver.happened(target.group, event, self.now))

    def _later(self, call: Callable[[], None]) -> None:
        self._queue.append(call)


def near() -> Server:
    return Server("c1s1", "1", "1")


def far() -> Server:
    return Server("c2s1", "2", "1")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, near(), far())


class TestABlankBoard:
    def test_provisions_itself_from_the_server_of_its_chassis(self, world: World) -> None:
        """M1, M3, M5: it asks for its groups, chooses by location and deploys."""
        world.deploy(1, P1, R1)
        assert world.run(10, lambda: world.confirmed(P1, R1))
        assert {query.group for query in world.requests[0].groups} == {"platform", "routing"}
        assert world.sources["platform"] == ["c1s1", "c2s1"]
        report = world.reports[-1].groups["platform"]
        assert report.server is not None
        assert (report.server.id, report.server.tier) == ("c1s1", Tier.SAME_CHASSIS)
        assert report.bytes == {Tier.SAME_CHASSIS: 100}
        assert (report.version, report.wanted, report.state) == ("1", "1", DeploymentState.CONFIRMED)

    def test_explains_its_choice(self, world: World) -> None:
        """M4: every offer is in the explanation with its place and its rank."""
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        explanation = next(one for report in world.reports for one in report.explanations if one.group == "platform")
        assert [(heard.source.id, heard.rank) for heard in explanation.offers] == [("c1s1", 1), ("c2s1", 2)]
        assert "same-chassis" in explanation.reason

    def test_remembers_everything_over_a_restart(self, world: World) -> None:
        world.deploy(1, P1, R1)
        world.run(10, lambda: world.confirmed(P1, R1))
        world.done.clear()
        world.start()
        assert world.driver.generation == 1
        assert world.run(10, lambda: world.confirmed(P1, R1) and world.driver.plan is not None)
        assert not [one for one in world.done if isinstance(one, str)]

    def test_still_says_after_a_restart_where_it_got_what_it_runs(self, world: World) -> None:
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        before = world.driver.account("platform")
        world.start()
        assert before.server is not None
        assert world.driver.account("platform") == before


class TestABoardElsewhereThanItsCertificateSays:
    @pytest.fixture
    def moved(self, world: World) -> World:
        world.certified = Location("1", "7")
        world.start()
        world.deploy(1, P1, R1)
        return world

    def staged(self, world: World) -> bool:
        return all(world.state(group) is DeploymentState.STAGED for group in ("platform", "routing"))

    def test_downloads_everything_and_activates_nothing(self, moved: World) -> None:
        assert moved.run(10, lambda: self.staged(moved))
        moved.run(600)
        assert self.staged(moved)
        assert moved.in_place == {}

    def test_says_why_of_every_group_and_of_itself(self, moved: World) -> None:
        moved.run(10, lambda: self.staged(moved))
        moved.run(1)
        report = moved.reports[-1]
        reasons = {report.conflict, *(group.reason for group in report.groups.values())}
        assert len(reasons) == 1
        (reason,) = reasons
        assert reason.startswith("location-conflict: its configuration says 1/3, its certificate 1/7;")

    def test_goes_on_once_both_agree_and_it_was_restarted_and_downloads_nothing_anew(self, moved: World) -> None:
        moved.run(10, lambda: self.staged(moved))
        moved.done.clear()
        moved.certified = BOARD.location
        moved.start()
        assert moved.run(10, lambda: moved.confirmed(P1, R1))
        assert not [one for one in moved.done if isinstance(one, str)]
        moved.run(10)
        assert moved.reports[-1].conflict == ""

    def test_says_it_also_while_there_is_nothing_to_activate(self, world: World) -> None:
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        world.certified = Location("2", "3")
        world.start()
        world.run(10)
        assert world.state("platform") is DeploymentState.CONFIRMED
        assert world.reports[-1].conflict.startswith("location-conflict")


class TestMetadataComesFromTheNewest:
    def test_and_bytes_from_the_nearest_that_has_that_version(self, world: World) -> None:
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        world.servers["c2s1"].plan = BoardPlan(2, {"platform": P2})
        world.servers["c2s1"].holding[P2.manifest] = world.servers["c1s1"].holding[P2.manifest] = Holding.ALL
        world.driver.hear(Announcement("core1", "c2s1", 2), world.now)
        assert world.run(10, lambda: world.confirmed(P2))
        # The near server still has the old plan; it was asked for the version by `want`.
        assert world.sources["platform"][0] == "c1s1"

    def test_the_next_one_is_tried_if_the_newest_does_not_answer(self, world: World) -> None:
        world.deploy(1, P1)
        world.servers["c2s1"].plan = BoardPlan(2, {"platform": P1})
        world.servers["c2s1"].api_up = False
        assert world.run(10, lambda: world.confirmed(P1))
        assert world.driver.generation == 1

    def test_who_offered_but_does_not_answer_for_its_plan_is_not_chosen_by_that_offer(self, world: World) -> None:
        world.deploy(1, P1)
        world.servers["c1s1"].api_up = False  # nearer, and it hangs
        assert world.run(10, lambda: world.confirmed(P1))
        assert world.sources["platform"] == ["c2s1"]

    def test_servers_that_hold_up_the_plan_for_long_do_not_hold_up_the_choice_for_ever(self, world: World) -> None:
        """Each costs the time of a connection attempt; the offers of the others are as good as before."""
        world.plan_takes = 5.0
        world.deploy(1, P1)
        world.servers["c1s1"].plan = BoardPlan(9)
        world.servers["c1s1"].api_up = False
        assert world.run(20, lambda: world.confirmed(P1))
        assert world.sources["platform"] == ["c2s1"]

    def test_an_older_plan_than_the_board_has_is_refused(self, world: World) -> None:
        world.deploy(5, P2)
        world.run(10, lambda: world.confirmed(P2))
        world.deploy(4, P1)
        world.start()
        world.run(30)
        assert world.in_place["platform"] == P2
        assert world.driver.generation == 5
        assert "older than 5" in world.driver.trouble


class TestARevokedServer:
    @pytest.fixture
    def revoked(self, world: World) -> World:
        """The board's own neighbour is revoked; it hides that, the other server does not."""
        world.servers["c2s1"].revocations, world.revoked = 3, {3: frozenset({"c1s1"})}
        return world

    def test_is_not_chosen_by_an_offer_that_was_heard_before_the_list_came(self, revoked: World) -> None:
        revoked.deploy(1, P1, R1)
        assert revoked.run(60, until=lambda: revoked.confirmed(P1, R1))
        assert revoked.sources == {"platform": ["c2s1"], "routing": ["c2s1"]}
        assert set(revoked.driver.asking.apis) == {"c2s1"}

    def test_is_found_out_before_the_choice_though_the_plan_is_known(self, world: World) -> None:
        world.deploy(1, P1, R1)
        assert world.run(60, until=lambda: world.confirmed(P1, R1))
        before = world.refreshes
        world.servers["c2s1"].revocations, world.revoked = 3, {3: frozenset({"c1s1"})}
        world.run(400)  # the slow period
        assert world.refreshes == before + 1
        assert set(world.driver.asking.apis) == {"c2s1"}

    def test_list_that_is_in_hand_is_fetched_no_more(self, revoked: World) -> None:
        revoked.deploy(1, P1, R1)
        revoked.run(60)
        before = revoked.refreshes
        revoked.run(1000)
        assert revoked.refreshes == before


class TestAServerThatPrepares:
    def test_is_waited_for_a_bounded_time_before_the_board_crosses(self, world: World) -> None:
        world.deploy(1, P1)
        world.servers["c1s1"].holding[P1.manifest] = Holding.PREPARING
        begun = world.now
        world.run(2)
        assert world.state("platform") is DeploymentState.REQUESTING
        assert "c1s1" in world.reports[-1].groups["platform"].reason
        assert world.run(60, lambda: world.confirmed(P1))
        assert world.sources["platform"] == ["c2s1"]
        assert 4 < world.now - begun < 8

    def test_is_taken_as_soon_as_it_has_the_version(self, world: World) -> None:
        world.deploy(1, P1)
        world.servers["c1s1"].holding[P1.manifest] = Holding.PREPARING
        world.run(2)
        world.servers["c1s1"].holding[P1.manifest] = Holding.ALL
        assert world.run(2, lambda: world.confirmed(P1))
        assert world.sources["platform"][0] == "c1s1"


class TestTrouble:
    def test_a_broken_download_is_tried_again_with_back_off(self, world: World) -> None:
        world.broken_downloads = 3
        world.deploy(1, P1)
        begun = world.now
        assert world.run(60, lambda: world.confirmed(P1))
        assert world.done.count("download platform 1") == 4
        assert world.now - begun >= 1 + 2 + 4

    def test_without_any_server_the_board_goes_on_asking_and_says_why(self, world: World) -> None:
        for server in world.servers.values():
            server.up = False
        world.run(60)
        assert 20 < len(world.requests) < 120
        assert world.reports[-1].groups["platform"].reason == "no server answered"
        world.deploy(1, P1)
        for server in world.servers.values():
            server.up = True
        assert world.run(5, lambda: world.confirmed(P1))

    def test_a_sick_version_is_rolled_back_and_not_tried_again(self, world: World) -> None:
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        world.sick.add(P2.manifest)
        world.deploy(2, P2)
        world.driver.hear(Announcement("core1", "c1s1", 2), world.now)
        world.run(2000)
        assert world.in_place["platform"] == P1
        assert world.done.count("download platform 2") == 1
        report = world.reports[-1].groups["platform"]
        assert (report.state, report.version, report.wanted) == (DeploymentState.FAILED, "1", "2")
        assert report.reason == "rolled back to 1: exit code 1"
        assert report.log.endswith("boom")
        world.start()
        world.run(600)
        assert world.done.count("download platform 2") == 1

    def test_a_ledger_that_cannot_be_written_holds_every_action(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.deploy(1, P1)

        def full(self: Ledger, record: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(Ledger, "save", full)
            world.run(20)
            assert not [one for one in world.done if not isinstance(one, str)]
            assert "No space left" in world.driver.trouble
        assert world.run(10, lambda: world.confirmed(P1))

    def test_a_server_that_is_heard_later_joins_the_failover_list(self, world: World) -> None:
        world.deploy(1, P1)
        world.servers["c2s1"].up = False
        world.download = lambda download, others: world.done.append("hangs")  # type: ignore[method-assign]
        assert world.run(10, lambda: "hangs" in world.done)
        download = world.driver._downloads["platform"]
        assert download.sources.ids() == ("c1s1",)
        world.driver.hear(world.servers["c2s1"].answer(world.requests[-1]), world.now)
        assert download.sources.ids() == ("c1s1", "c2s1")


class TestGroups:
    def test_go_in_the_order_of_their_requirements(self, world: World) -> None:
        world.releases[R1.manifest] = Release("1", {"platform": ">= 1"})
        world.deploy(1, R1, P1)
        assert world.run(20, lambda: world.confirmed(P1, R1))
        activated = [action.target for action in world.done if isinstance(action, d.Activate)]
        assert activated == [P1, R1]

    def test_whose_requirement_is_unmet_wait_staged_and_say_why(self, world: World) -> None:
        world.releases[R2.manifest] = Release("2", {"platform": ">= 2"})
        world.deploy(1, P1, R2)
        world.run(30)
        assert world.confirmed(P1)
        report = world.reports[-1].groups["routing"]
        assert (report.state, report.reason) == (DeploymentState.STAGED, "requires platform >= 2, but 1 runs")
        world.deploy(2, P2, R2)
        world.driver.hear(Announcement("core1", "c1s1", 2), world.now)
        assert world.run(30, lambda: world.confirmed(P2, R2))

    def test_take_over_one_at_a_time(self, world: World) -> None:
        world.deploy(1, P1, R1)
        world.run(30, lambda: world.confirmed(P1, R1))
        steps = [type(action) for action in world.done if isinstance(action, d.Activate | d.Confirm)]
        assert steps == [d.Activate, d.Confirm, d.Activate, d.Confirm]


class TestALateBoard:
    def test_says_why_it_is_idle_and_asks_again_soon(self, world: World) -> None:
        world.deploy(3)
        world.run(4)
        report = world.reports[-1].groups["platform"]
        assert report.state is DeploymentState.IDLE
        assert report.reason == "plan 3 names no version of platform for this board"
        world.deploy(4, P1)
        assert world.run(10, lambda: world.confirmed(P1))

    def test_falls_back_to_the_slow_period(self, world: World) -> None:
        world.deploy(3)
        world.run(100)
        before = len(world.requests)
        world.run(100)
        assert len(world.requests) == before


class TestALostAnnouncement:
    def test_is_made_good_by_the_next_report(self, world: World) -> None:
        world.deploy(1, P1)
        assert world.run(10, lambda: world.confirmed(P1))
        world.deploy(2, P2)  # nobody announces it to this board
        assert not world.run(20, lambda: world.confirmed(P2))
        world.driver.announced(2, world.now)
        assert world.run(5, lambda: world.confirmed(P2))

    def test_of_a_plan_that_nobody_has_makes_nobody_ask_for_ever(self, world: World) -> None:
        world.deploy(1, P1)
        assert world.run(10, lambda: world.confirmed(P1))
        for _ in range(100):
            world.driver.announced(99, world.now)
            world.run(1)
        before = len(world.requests)
        world.driver.announced(99, world.now)
        world.run(100)
        assert len(world.requests) == before


class TestFalseAnnouncements:
    def test_of_the_highest_number_do_not_make_deaf_to_true_ones(self, world: World) -> None:
        world.deploy(1, P1)
        assert world.run(10, lambda: world.confirmed(P1))
        world.driver.announced(2**53 - 1, world.now)
        world.run(200)
        world.deploy(2, P2)
        world.driver.announced(2, world.now)
        assert world.run(10, lambda: world.confirmed(P2))

    def test_of_ever_new_numbers_make_a_board_ask_less_and_less(self, world: World) -> None:
        world.deploy(1, P1)
        assert world.run(10, lambda: world.confirmed(P1))
        before = len(world.requests)
        for number in range(3000):
            world.driver.announced(10 + number, world.now)
            world.run(0.1)
        assert len(world.requests) - before < 40  # in 300 s; one for each would be some 1,000
        world.deploy(9, P2)
        world.driver.announced(9, world.now)
        assert world.run(40, lambda: world.confirmed(P2))

    def test_that_say_nothing_new_wake_nobody(self, world: World) -> None:
        world.deploy(1, P1)
        assert world.run(10, lambda: world.confirmed(P1))
        assert not world.driver.hear(Announcement("lab", "liar", 1), world.now)
        offer = Offer("lab", b"x" * 16, "liar", "1", "1", 2**53 - 1)
        assert not any(world.driver.hear(offer, world.now) for _ in range(1000))


class TestReports:
    def test_go_out_at_every_change_and_as_heartbeats(self, world: World) -> None:
        world.deploy(1, P1)
        world.run(10, lambda: world.confirmed(P1))
        states = [report.groups["platform"].state for report in world.reports]
        assert states[0] is DeploymentState.IDLE
        assert states[-1] is DeploymentState.CONFIRMED
        before = len(world.reports)
        world.run(20 * HEARTBEAT)
        assert 16 <= len(world.reports) - before <= 25

    def test_have_growing_sequence_numbers_over_restarts(self, world: World) -> None:
        world.run(30)
        world.start()
        world.run(30)
        numbers = [report.sequence for report in world.reports]
        assert numbers == sorted(set(numbers))


def test_an_idle_board_sleeps(world: World) -> None:
    world.deploy(1, P1, R1)
    world.run(10, lambda: world.confirmed(P1, R1))
    world.run(20)
    requests = len(world.requests)
    wakes = 0
    wake = world.driver.wake

    def counted(now: float) -> None:
        nonlocal wakes
        wakes += 1
        wake(now)

    world.driver.wake = counted  # type: ignore[method-assign]
    world.run(600)
    assert wakes < 600 / HEARTBEAT * 1.5
    assert len(world.requests) - requests <= 6


def test_a_plan_that_does_not_come_makes_nobody_spin(world: World) -> None:
    world.deploy(1, P1)
    world.refresh = lambda offers, generation: None  # type: ignore[method-assign]
    world.run(2)
    world.driver.hear(Announcement("core1", "c1s1", 2), world.now)
    world.run(60)
    assert len(world.requests) < 5


class TestNeighbours:
    def downloading(self, tmp_path: Path, *, relay: bool = True) -> World:
        world = World(tmp_path, near())
        world.relay, world.stays = relay, True
        world.start()
        world.deploy(1, P1)
        assert world.run(10, lambda: hasattr(world, "last_download"))
        return world

    def offer_of_a_relay(self, world: World, pieces: bytes = b"\x01") -> Offer:
        entry = GroupOffer("platform", "1", bytes.fromhex(P1.manifest), Holding.PART, planned=False, pieces=pieces)
        nonce = world.requests[-1].nonce
        return Offer("core1", nonce, "c1s4", "1", "4", blobs="https://10.0.1.4:6690", relay=True, groups=(entry,))

    def test_a_board_that_downloads_asks_again_and_names_the_version(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path)
        before = len(world.requests)
        world.run(6)
        again = world.requests[before:]
        assert 4 <= len(again) <= 7
        assert {query.want for one in again for query in one.groups if query.group == "platform"} == {
            bytes.fromhex(P1.manifest)
        }

    def test_without_relay_it_does_not(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path, relay=False)
        before = len(world.requests)
        world.run(6)
        assert len(world.requests) == before

    def test_a_relay_that_offers_later_joins_the_download(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path)
        world.run(1)
        assert world.driver.hear(self.offer_of_a_relay(world), world.now)
        assert set(world.last_download.sources.ids()) == {"c1s1", "c1s4"}

    def test_new_pieces_of_a_relay_are_news(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path)
        world.run(1)
        assert world.driver.hear(self.offer_of_a_relay(world), world.now)
        assert not world.driver.hear(self.offer_of_a_relay(world), world.now)
        assert world.driver.hear(self.offer_of_a_relay(world, b"\x03"), world.now)

    def test_a_relay_gives_no_generation_and_is_not_asked_for_the_plan(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path)
        world.run(1)
        refreshes = world.refreshes
        world.driver.hear(self.offer_of_a_relay(world), world.now)
        world.run(5)
        assert world.refreshes == refreshes
        assert set(world.driver.asking.apis) == {"c1s1"}

    def test_where_relay_is_off_relays_are_not_heard(self, tmp_path: Path) -> None:
        world = self.downloading(tmp_path, relay=False)
        assert not world.driver.hear(self.offer_of_a_relay(world), world.now)
        assert world.last_download.sources.ids() == ("c1s1",)


class TestWaitingForAServerThatCopies:
    def copying(self, tmp_path: Path) -> World:
        world = World(tmp_path, near(), far())
        world.deploy(1, P1)
        world.servers["c1s1"].holding[P1.manifest] = Holding.PREPARING
        return world

    def test_as_long_as_it_gets_on_the_link_is_not_crossed(self, tmp_path: Path) -> None:
        world = self.copying(tmp_path)
        server = world.servers["c1s1"]
        for second in range(20):
            server.copied = 1000 * second
            world.run(1)
        assert not world.done
        server.holding[P1.manifest] = Holding.ALL
        assert world.run(10, lambda: world.confirmed(P1))
        assert world.sources["platform"][0] == "c1s1"

    def test_when_it_gets_nothing_more_it_is(self, tmp_path: Path) -> None:
        world = self.copying(tmp_path)
        world.servers["c1s1"].copied = 1000
        assert world.run(10, lambda: world.confirmed(P1))
        assert world.sources["platform"][0] == "c2s1"

    def test_nor_is_it_waited_for_without_an_end(self, tmp_path: Path) -> None:
        world = self.copying(tmp_path)
        server, seconds = world.servers["c1s1"], 0
        while not world.run(1, lambda: world.confirmed(P1)):
            seconds += 1
            server.copied = seconds
            assert seconds < 40
        assert seconds > 20
