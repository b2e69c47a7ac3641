"""An upgrade over the state: what is looked at first, what is written, and what becomes of it when it is cut off."""

from pathlib import Path

import msgspec
import pytest

from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.errors import ConflictError, FailedError, RefusedError, UsageError
from boardwright.model.api import ServerList, ServerStatus, SwitchoverRequest
from boardwright.model.audit import Act, Action
from boardwright.model.report import GroupReport
from boardwright.model.upgrade import Outcome, ServerStep, UpgradeRecord, UpgradeRequest
from boardwright.server.board_reports import BoardReports, BoardView
from boardwright.server.deployments import Deployments
from boardwright.server.facts import read_facts
from boardwright.server.held import HeldVersions
from boardwright.server.mirror import Mirror
from boardwright.server.switchover import Switching
from boardwright.server.upgrades import Upgrades
from boardwright.server.upgrading import Upgrading
from boardwright.state.follow import Follower
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import HELD, SERVERS, HeldRecord, ServerRecord, encode_record
from tests.identities import Identities
from tests.unit.planner.control_boards import NEW, ControlBoard
from tests.unit.server.builders import Version, act, audit_records, audited, board, fill

IDENTITIES = Identities()
SERVERS_OF_IT = ("c1s1", "c1s2", "c2s1")


class Reports(BoardReports):
    def __init__(self, stations: dict[str, ControlBoard]) -> None:
        self._stations = stations

    def views(self) -> dict[str, BoardView]:
        found = {}
        for name, one in self._stations.items():
            agent = one.view().agent
            if agent is not None:
                report = GroupReport(agent.version or None, agent.wanted or None, agent.state, agent.reason)
                groups = {SERVER_GROUP: report} if agent.version or agent.wanted else {}
                found[name] = BoardView(board(name), 1, 0.5, groups)
        return found

    def view(self, board: str) -> BoardView | None:
        return self.views().get(board)


class Hands(Switching):
    """Hands the role over as it is told."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster

    def switch(self, request: SwitchoverRequest, act: Act) -> None:  # type: ignore[override]
        assert act.action is Action.SWITCHOVER
        self._cluster.lead(request.server)


class Cluster:
    """Three control boards over one engine; the parts of whoever is active are made anew with every change of role."""

    def __init__(self, folder: Path, *, before: str = "") -> None:
        self.kv = MemoryKV()
        self.folder = folder
        self.now = 0.0
        self.fails: list[Exception] = []
        IDENTITIES.begin(self.kv)
        groups = ("platform", SERVER_GROUP, AGENT_GROUP)
        versions = [Version(SERVER_GROUP, version) for version in ("1.0", NEW)]
        fill(self.kv, *versions, boards=tuple(board(name, groups=groups) for name in SERVERS_OF_IT))
        for name in SERVERS_OF_IT:
            chassis, slot = board(name).location.chassis, board(name).location.slot
            record = ServerRecord(name, chassis, slot, f"https://{name}:6688", f"https://{name}:6689", "1.4")
            self.kv.commit(Transaction({SERVERS + name: 0}, {SERVERS + name: encode_record(record)}))
        self.stations = {name: ControlBoard(before, sick=False) for name in SERVERS_OF_IT}
        self.mirror = Mirror(folder / f"mirror-{len(list(folder.iterdir()))}.json")
        self.follower = Follower(self.kv, "", self.mirror)
        self.lead("c1s1")
        self.follow()

    def lead(self, server: str) -> None:
        self.active = server
        reports = Reports(self.stations)
        commit = audited(self.kv, self.commit)
        deployments = Deployments(self.kv, commit, self.mirror, IDENTITIES.signing(), lambda: 1.0)
        self.upgrading = Upgrading(
            server, self.kv, self.commit, self.mirror, reports, self.listing, IDENTITIES.signing(), Hands(self),
            deployments, act, lambda: self.now,
        )  # fmt: skip
        held = HeldVersions(self.kv, self.commit, commit, self.mirror, reports)
        self.upgrades = Upgrades(
            server, self.kv, commit, self.mirror, held, self.upgrading.views, self.listing,
            lambda: self.upgrading.waits, lambda: 1.0,
        )  # fmt: skip

    def commit(self, transaction: Transaction) -> int:
        if self.fails:
            raise self.fails.pop()
        return self.kv.commit(transaction)

    def listing(self) -> ServerList:
        generation = self.mirror.state.plan.generation
        return ServerList(
            tuple(
                ServerStatus(name, "1", "1", "standby", one.view().health, 1, generation, (), 0, release=one.release)
                for name, one in self.stations.items()
            )
        )

    def follow(self) -> None:
        for _ in range(3):
            self.follower.step(0)
        plan = self.mirror.state.plan
        for name, one in self.stations.items():
            target = plan.for_board(name).groups.get(SERVER_GROUP)
            one.planned = "" if target is None else target.version

    def step(self) -> None:
        if self.stations[self.active].serves:
            self.upgrading.round()
        else:
            self.lead(next(name for name, one in self.stations.items() if one.serves))
        self.follow()
        for one in self.stations.values():
            one.step()
        self.now += 1.0

    def run(self) -> UpgradeRecord:
        for _ in range(400):
            self.step()
            if not self.record.running:
                return self.record
        raise AssertionError(self.record)

    @property
    def record(self) -> UpgradeRecord:
        record = read_facts(self.kv).upgrade
        assert record is not None
        return record

    @property
    def releases(self) -> set[str]:
        return {one.release for one in self.stations.values()}

    def begin(self, version: str = NEW, **differs: object) -> None:
        self.upgrades.begin(UpgradeRequest(version, **differs), act(Action.UPGRADE))  # type: ignore[arg-type]
        self.follow()


@pytest.fixture(autouse=True)
def _nobody_follows_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boardwright.server.upgrades.SEEN_WITHIN", 0.0)
    monkeypatch.setattr("boardwright.server.deployments.SEEN_WITHIN", 0.0)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


class TestBeginning:
    def test_is_recorded_by_who_wanted_it(self, cluster: Cluster) -> None:
        cluster.begin()
        assert (cluster.record.id, cluster.record.version, cluster.record.by) == ("u1", NEW, "ana")
        assert cluster.record.order == ("c1s1", "c1s2", "c2s1")
        assert [(one.action, one.subject) for one in audit_records(cluster.kv)] == [("upgrade", NEW)]

    def test_begins_with_the_active(self, cluster: Cluster) -> None:
        cluster.lead("c2s1")
        cluster.begin()
        assert cluster.record.order == ("c2s1", "c1s1", "c1s2")

    def test_asked_for_twice_is_one(self, cluster: Cluster) -> None:
        cluster.begin()
        cluster.begin()
        assert cluster.record.id == "u1"

    def test_while_another_is_under_way_is_refused(self, cluster: Cluster) -> None:
        cluster.begin()
        with pytest.raises(RefusedError, match=r"the upgrade to 2\.0 is under way"):
            cluster.begin("1.0")

    def test_of_what_nobody_published_names_what_there_is(self, cluster: Cluster) -> None:
        with pytest.raises(FailedError, match=r"release '9' of boardwright is not published") as caught:
            cluster.begin("9")
        assert "published are 1.0, 2.0" in str(caught.value.hint)

    @pytest.mark.parametrize(
        "request_of", [UpgradeRequest(""), UpgradeRequest("x" * 999), UpgradeRequest("1", soak=-1)]
    )
    def test_of_what_cannot_be_meant_is_wrong_usage(self, cluster: Cluster, request_of: UpgradeRequest) -> None:
        with pytest.raises(UsageError):
            cluster.upgrades.begin(request_of, act())

    def test_while_a_server_is_not_healthy_is_refused(self, cluster: Cluster) -> None:
        cluster.stations["c1s2"].up = 3
        with pytest.raises(RefusedError, match="c1s2 is silent; an upgrade begins when every server is healthy"):
            cluster.begin()

    def test_without_the_agent_of_a_server_is_refused(self, cluster: Cluster) -> None:
        cluster.stations["c2s1"].dead = 3
        with pytest.raises(RefusedError, match="the agent of c2s1 is silent"):
            cluster.begin()

    def test_where_an_agent_does_not_run_the_group_is_refused(self, cluster: Cluster) -> None:
        key = "boards/c1s2"
        entry = cluster.kv.get(key)
        assert entry is not None
        cluster.kv.commit(Transaction({key: entry.revision}, {key: encode_record(board("c1s2"))}))
        cluster.follow()
        with pytest.raises(RefusedError, match="the agent of c1s2 does not run the group 'boardwright'"):
            cluster.begin()

    def test_to_a_release_for_other_boards_is_refused(self, cluster: Cluster) -> None:
        fill(cluster.kv, Version(SERVER_GROUP, "3.0", board_types=("arm-*",)))
        with pytest.raises(RefusedError, match=r"c1s1 cannot run 3\.0: boardwright 3.0 has no variant"):
            cluster.begin("3.0")

    def test_to_a_release_that_cannot_read_what_is_there_is_refused(self, cluster: Cluster) -> None:
        fill(cluster.kv, Version(SERVER_GROUP, "3.0", requires={SERVER_GROUP: ">= 2"}))
        with pytest.raises(RefusedError, match=r"takes over from Boardwright >= 2, c1s1 is 1\.4"):
            cluster.begin("3.0")
        assert read_facts(cluster.kv).upgrade is None


class TestCarriedOut:
    def test_every_server_ends_with_the_release_and_so_does_one_that_joins_later(self, cluster: Cluster) -> None:
        cluster.begin()
        assert cluster.run().outcome is Outcome.DONE
        assert cluster.releases == {NEW}
        (wish,) = [one for one in read_facts(cluster.kv).policy.assignments if one.group == SERVER_GROUP]
        assert (wish.version, wish.selectors) == (NEW, ())

    def test_says_meanwhile_what_it_waits_for(self, cluster: Cluster) -> None:
        cluster.begin()
        for _ in range(4):
            cluster.step()
        found = cluster.upgrades.status()
        assert found.state == "running"
        assert found.waits.startswith("c1s1 ")
        assert [one.step for one in found.servers] == [ServerStep.CHANGES, ServerStep.WAITS, ServerStep.WAITS]
        assert cluster.upgrades.listed().upgrade == found

    def test_the_agents_follow_if_their_version_is_published(self, cluster: Cluster) -> None:
        fill(cluster.kv, Version(AGENT_GROUP, NEW))
        cluster.begin()
        record = cluster.run()
        assert read_facts(cluster.kv).rollouts[record.rollout].group == AGENT_GROUP

    def test_the_agents_stay_if_that_is_wanted(self, cluster: Cluster) -> None:
        fill(cluster.kv, Version(AGENT_GROUP, NEW))
        cluster.begin(agents=False)
        assert cluster.run().rollout == ""

    @pytest.mark.parametrize("error", [ConflictError("lost"), EngineError("no quorum")])
    def test_an_engine_that_fails_at_any_commit_only_delays_it(self, tmp_path: Path, error: Exception) -> None:
        for step in range(60):
            cluster = Cluster(tmp_path)
            cluster.begin()
            for number in range(400):
                if number == step:
                    cluster.fails.append(error)
                try:
                    cluster.step()
                except (ConflictError, EngineError):
                    continue
                if not cluster.record.running:
                    break
            assert cluster.record.outcome is Outcome.DONE
            assert cluster.releases == {NEW}
            if number < step:
                return  # it was over before


class TestGoingBack:
    @pytest.mark.parametrize("before", ["", "1.0"], ids=["to the installed program", "to a release"])
    def test_everywhere_from_any_step(self, tmp_path: Path, before: str) -> None:
        for steps in range(0, 60, 3):
            cluster = Cluster(tmp_path, before="")
            if before:
                cluster.begin(before)
                cluster.run()
            cluster.begin()
            for _ in range(steps):
                cluster.step()
            cluster.upgrades.abort(act(Action.UPGRADE_ABORT))
            cluster.follow()
            assert cluster.run().outcome is Outcome.GONE_BACK
            assert cluster.releases == {before}

    def test_without_an_upgrade_is_refused(self, cluster: Cluster) -> None:
        with pytest.raises(RefusedError, match="there is no upgrade to go back from"):
            cluster.upgrades.abort(act())

    def test_of_the_agents_too(self, cluster: Cluster) -> None:
        fill(cluster.kv, Version(AGENT_GROUP, NEW))
        cluster.begin()
        cluster.run()
        cluster.upgrades.abort(act())
        cluster.follow()
        cluster.run()
        assert not any(target.group == AGENT_GROUP for target in read_facts(cluster.kv).plan.targets)

    def test_of_agents_that_were_deployed_when_the_active_died_before_it_noted_that(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(cluster.kv, Version(AGENT_GROUP, NEW))
        cluster.begin()

        def dies(*_: object, **__: object) -> None:
            raise EngineError("the active dies here")

        with monkeypatch.context() as patch:
            patch.setattr(Upgrading, "_record", dies)
            with pytest.raises(EngineError):
                cluster.run()
        cluster.follow()
        assert any(target.group == AGENT_GROUP for target in read_facts(cluster.kv).plan.targets)
        cluster.upgrades.abort(act())
        cluster.follow()
        assert cluster.run().outcome is Outcome.GONE_BACK
        assert not any(target.group == AGENT_GROUP for target in read_facts(cluster.kv).plan.targets)

    def test_once_more_after_it_stopped_has_its_time_anew(self, cluster: Cluster) -> None:
        cluster.begin()
        cluster.run()
        cluster.upgrades.abort(act())
        cluster.follow()
        cluster.stations["c1s1"].dead = 1000
        assert cluster.run().outcome is Outcome.STOPPED
        cluster.step()
        cluster.upgrades.abort(act())
        cluster.follow()
        cluster.step()
        assert cluster.record.running
        cluster.stations["c1s1"].dead = 0
        assert cluster.run().outcome is Outcome.GONE_BACK


class TestASickRelease:
    def test_stops_it_and_the_same_again_goes_on_with_what_ran_before_that(self, cluster: Cluster) -> None:
        cluster.stations["c1s2"].sick = True
        cluster.begin()
        stopped = cluster.run()
        assert (stopped.outcome, stopped.reason) == (Outcome.STOPPED, "c1s2: it was sick")
        manifest = Version(SERVER_GROUP, NEW).digest
        key = f"{HELD}c1s2/{SERVER_GROUP}"
        cluster.kv.commit(Transaction({key: 0}, {key: encode_record(HeldRecord(manifest, NEW, "it was sick"))}))
        cluster.follow()
        cluster.stations["c1s2"].sick = False
        cluster.step()
        cluster.step()
        cluster.begin()
        assert cluster.kv.get(key) is None, "the board tries it again"
        assert cluster.record.before == dict.fromkeys(SERVERS_OF_IT, "")
        cluster.stations["c1s2"].wanted = ""  # it heard of the retry
        assert cluster.run().outcome is Outcome.DONE


def test_a_record_of_a_newer_form_lets_no_older_release_begin(cluster: Cluster) -> None:
    cluster.kv.commit(Transaction({"upgrade": 0}, {"upgrade": msgspec.json.encode({"id": 7})}))
    with pytest.raises(FailedError, match="of a form that this release does not know"):
        cluster.begin()
