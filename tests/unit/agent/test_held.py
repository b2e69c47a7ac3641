"""A version that a board rolled back from: not tried again before the operator says so, with and without a memory."""

from pathlib import Path

import pytest

from boardwright.agent import deployment as d
from boardwright.agent.following import follow
from boardwright.agent.ledger import Ledger
from boardwright.agent.machine import step
from boardwright.model.plan import BoardPlan, Withheld
from boardwright.model.report import DeploymentState
from tests.unit.agent.test_driver import P1, P2, World, far, near

FAILED, CONFIRMED = DeploymentState.FAILED, DeploymentState.CONFIRMED
REASON = "rolled back to 1: exit code 1"


def withheld(generation: int = 2, retry: int = 0) -> BoardPlan:
    return BoardPlan(generation, {}, {"platform": Withheld(P2, REASON)}, retry)


def offered(retry: int, generation: int = 2) -> BoardPlan:
    return BoardPlan(generation, {"platform": P2}, retry=retry)


class TestWhatAPlanMeans:
    def test_what_is_withheld_is_wished_for_and_bad(self) -> None:
        ((_, event),) = follow(withheld(), ["platform"], 0)
        assert event == d.Wanted(P2, bad=d.BadVersion(P2.manifest, REASON))

    def test_a_server_that_lags_behind_a_retry_withholds_nothing(self) -> None:
        ((_, event),) = follow(withheld(retry=1), ["platform"], 2)
        assert event == d.Wanted(P2)

    def test_a_higher_count_forgives_before_it_wishes(self) -> None:
        assert [event for _, event in follow(offered(3), ["platform"], 2)] == [d.Retried(), d.Wanted(P2)]
        assert [event for _, event in follow(offered(2), ["platform"], 2)] == [d.Wanted(P2)]

    def test_a_group_that_is_withheld_beside_is_not_forgiven(self) -> None:
        ((_, event),) = follow(withheld(retry=3), ["platform"], 2)
        assert isinstance(event, d.Wanted)


class TestTheMachine:
    def test_stops_fetching_what_it_hears_to_be_bad(self) -> None:
        deployment, _ = step(d.Deployment("platform", running=P1), d.Wanted(P2), 0.0)
        deployment, actions = step(deployment, d.Wanted(P2, bad=d.BadVersion(P2.manifest, REASON)), 1.0)
        assert (deployment.state, deployment.running) == (FAILED, P1)
        assert d.Stop(P2) in actions

    def test_does_not_believe_that_what_runs_is_bad(self) -> None:
        running = d.Deployment("platform", running=P2, phase=d.Confirmed())
        deployment, actions = step(running, d.Wanted(P2, bad=d.BadVersion(P2.manifest, REASON)), 1.0)
        assert (deployment.state, actions) == (CONFIRMED, ())


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, near(), far())
    world.deploy(1, P1)
    world.run(10, lambda: world.confirmed(P1))
    world.sick.add(P2.manifest)
    world.deploy(2, P2)
    world.driver.announced(2, world.now)
    assert world.run(30, lambda: world.state("platform") is FAILED)
    world.done.clear()
    return world


def tell(world: World, plan: BoardPlan) -> None:
    for server in world.servers.values():
        server.plan = plan


def attempts(world: World) -> int:
    return sum(isinstance(one, d.Activate) and one.target == P2 for one in world.done)


class TestABoardThatRolledBack:
    def test_says_which_manifest_it_holds_and_which_retry_it_has_heard_of(self, world: World) -> None:
        world.run(10)
        report = world.reports[-1]
        assert (report.groups["platform"].held, report.retry) == (P2.manifest, 0)

    def test_keeps_what_runs_its_reason_and_its_log_when_the_version_is_withheld(self, world: World) -> None:
        before = world.driver.groups["platform"]
        tell(world, withheld(3))
        world.driver.announced(3, world.now)
        world.run(30)
        assert world.driver.generation == 3
        assert world.driver.groups["platform"] == before
        assert attempts(world) == 0

    def test_that_lost_its_disk_does_not_try_again_and_says_why(self, world: World) -> None:
        """It boots over the network: neither ledger nor software outlives a restart."""
        tell(world, withheld())
        Ledger(world.state_dir).path.unlink()
        world.in_place.clear()
        world.staged.clear()
        world.start()
        world.requests.clear()
        world.run(300)
        assert (world.state("platform"), attempts(world)) == (FAILED, 0)
        assert not [one for one in world.done if isinstance(one, str) and one.startswith("download")]
        report = world.reports[-1].groups["platform"]
        assert (report.wanted, report.reason, report.held) == ("2", REASON, P2.manifest)
        assert len(world.requests) < 30  # the ordinary period, no loop


class TestRetry:
    def test_is_followed_at_once_and_once(self, world: World) -> None:
        world.sick.clear()
        tell(world, offered(1))
        world.driver.retried(1, world.now)
        assert world.run(5, lambda: world.confirmed(P2))
        assert world.reports[-1].retry == 1
        world.start()
        assert world.driver.retry == 1

    def test_a_version_that_is_still_sick_is_tried_once_more_and_held_again(self, world: World) -> None:
        tell(world, offered(1))
        for _ in range(3):
            world.driver.retried(1, world.now)
            world.run(60)
        assert (world.state("platform"), attempts(world)) == (FAILED, 1)
        assert (world.reports[-1].groups["platform"].held, world.reports[-1].retry) == (P2.manifest, 1)

    def test_a_server_that_lags_is_asked_again(self, world: World) -> None:
        world.sick.clear()
        tell(world, withheld())
        world.driver.retried(1, world.now)
        world.run(1.5)
        tell(world, offered(1))
        assert world.run(10, lambda: world.confirmed(P2))

    def test_a_lie_about_it_costs_little_and_does_not_make_deaf_to_the_truth(self, world: World) -> None:
        tell(world, withheld())
        world.requests.clear()
        world.driver.retried(1_000_000, world.now)
        world.run(120)
        assert attempts(world) == 0
        assert len({request.nonce for request in world.requests}) < 12
        world.sick.clear()
        tell(world, offered(1))
        world.driver.retried(1, world.now)
        assert world.run(5, lambda: world.confirmed(P2))
