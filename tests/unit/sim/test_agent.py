"""The agent's driver and machine over the simulated network, with simulated work: deploy, fail over, resume."""

import pytest

from boardwright.model.report import DeploymentState
from boardwright.sim.board import SimBoard
from boardwright.sim.cluster import Shape, SimCluster, manifest_of
from boardwright.sim.hands import Behaviour
from boardwright.sim.network import Conditions

State = DeploymentState


def cluster(behaviour: Behaviour | None = None, **shape: object) -> tuple[SimCluster, dict[str, SimBoard]]:
    """A cluster of agents with version 1.0 deployed; they are off."""
    built = SimCluster(Shape(**shape), Conditions(loss=0.02))  # type: ignore[arg-type]
    built.behave(behaviour or Behaviour())
    release(built, "platform", "1.0")
    return built, built.boards


def release(built: SimCluster, group: str, version: str) -> None:
    built.publish(group, version)
    built.deploy(group, version)


def power_on(agents: dict[str, SimBoard]) -> None:
    for agent in agents.values():
        agent.power_on()


def settle(built: SimCluster, agents: dict[str, SimBoard], version: str, seconds: float = 60.0) -> bool:
    def done() -> bool:
        return all(
            agent.running("platform") == version and agent.state("platform") is State.CONFIRMED
            for agent in agents.values()
        )

    return built.time.run(seconds, done)


def test_m3_blank_boards_provision_themselves_and_follow_the_next_version() -> None:
    """M3: select a server by the offers, download, deploy."""
    built, agents = cluster()
    power_on(agents)
    assert settle(built, agents, "1.0")
    release(built, "platform", "2.0")
    assert settle(built, agents, "2.0", seconds=10.0)
    assert all(agent.disk.installed["platform"].version == "2.0" for agent in agents.values())


def test_a_server_that_dies_in_mid_download_costs_no_byte_twice() -> None:
    built, agents = cluster()
    power_on(agents)
    agent = agents["c1s3"]
    built.time.run(30.0, lambda: agent.disk.fetched[manifest_of("platform", "1.0").hex()] > 20 * 2**20)
    (source,) = agent.served
    built.servers[source].kill()
    assert settle(built, {"c1s3": agent}, "1.0", seconds=10.0)
    assert sum(agent.served.values()) == agent.behaviour.size
    assert set(agent.served) == {"c1s1", "c1s2"}  # the other server of its own chassis
    assert agent.driver is not None
    assert agent.driver.account("platform").failovers >= 1


def test_when_every_server_dies_in_mid_download_it_goes_on_as_soon_as_one_is_back() -> None:
    built, agents = cluster()
    agent = agents["c1s3"]
    agent.power_on()
    half = agent.behaviour.size // 2
    built.time.run(30.0, lambda: agent.disk.fetched[manifest_of("platform", "1.0").hex()] > half)
    for server in built.servers.values():
        server.kill()
    built.time.run(20.0)
    built.servers["c2s2"].start()
    assert settle(built, {"c1s3": agent}, "1.0", seconds=120.0)
    assert sum(agent.served.values()) == agent.behaviour.size


@pytest.mark.parametrize("outage", [20.0, 90.0, 200.0, 3600.0])
def test_however_long_every_server_was_gone_a_board_goes_on_within_seconds(outage: float) -> None:
    """The back-off and the slow retry of what failed are for servers that answer and have no use."""
    built, agents = cluster()
    agent = agents["c1s3"]
    agent.power_on()
    half = agent.behaviour.size // 2
    built.time.run(30.0, lambda: agent.disk.fetched[manifest_of("platform", "1.0").hex()] > half)
    for server in built.servers.values():
        server.kill()
    built.time.run(outage)
    built.servers["c2s2"].start()
    assert settle(built, {"c1s3": agent}, "1.0", seconds=8.0)  # three of them are activation and health check
    assert sum(agent.served.values()) == agent.behaviour.size


def test_a_sick_version_is_rolled_back_and_not_tried_again() -> None:
    built, agents = cluster(Behaviour(sick=frozenset({"2.0"})))
    power_on(agents)
    assert settle(built, agents, "1.0")
    release(built, "platform", "2.0")
    built.time.run(30.0)
    for agent in agents.values():
        assert agent.state("platform") is State.FAILED
        assert agent.running("platform") == agent.disk.installed["platform"].version == "1.0"
        assert "health check" in agent.deployment("platform").phase.reason  # type: ignore[union-attr]
    steps = sum(agent.steps for agent in agents.values())
    built.time.run(3600.0)
    assert sum(agent.steps for agent in agents.values()) == steps
    release(built, "platform", "3.0")
    assert settle(built, agents, "3.0", seconds=30.0)


@pytest.mark.parametrize("how", ["vetoed", "broken"])
def test_a_version_that_cannot_take_over_leaves_the_old_one_running(how: str) -> None:
    built, agents = cluster(Behaviour(**{how: frozenset({"2.0"})}))  # type: ignore[arg-type]
    power_on(agents)
    assert settle(built, agents, "1.0")
    release(built, "platform", "2.0")
    built.time.run(60.0)
    assert {agent.state("platform") for agent in agents.values()} == {State.FAILED}
    assert {agent.disk.installed["platform"].version for agent in agents.values()} == {"1.0"}


def test_groups_take_over_in_the_order_of_their_requirements() -> None:
    behaviour = Behaviour(requires={"r1": {"platform": ">= 1"}})
    built, agents = cluster(behaviour, groups=("routing", "platform"))
    release(built, "routing", "r1")
    agent = agents["c1s3"]
    confirmed: list[str] = []

    def watch() -> None:
        confirmed.extend(group for group in ("routing", "platform") if agent.running(group) and group not in confirmed)

    agent.on_step = watch
    power_on(agents)
    assert built.time.run(60.0, lambda: all(each.running("routing") == "r1" for each in agents.values()))
    assert confirmed == ["platform", "routing"]


@pytest.mark.parametrize("sick", [False, True])
def test_a_power_cut_after_any_step_ends_where_it_would_have_ended(sick: bool) -> None:
    """Interrupt after the n-th write of the ledger, before its actions are carried out; for every n."""
    behaviour = Behaviour(size=12 * 2**20, sick=frozenset({"2.0"} if sick else ()))
    interrupted = 0
    for cut in range(1, 100):
        built, agents = cluster(behaviour, chassis=1, line_boards=1)
        agent = agents["c1s3"]
        power_on(agents)
        assert settle(built, agents, "1.0")
        last = agent.steps + cut

        def power_cut(agent: SimBoard = agent, last: int = last) -> None:
            if agent.steps == last:
                agent.power_cut()

        agent.on_step = power_cut
        release(built, "platform", "2.0")
        built.time.run(60.0, lambda agent=agent, last=last: agent.steps >= last)  # type: ignore[misc]
        if agent.steps < last:
            break
        interrupted += 1
        built.time.run(5.0)
        agent.power_on()
        expected, state = ("1.0", State.FAILED) if sick else ("2.0", State.CONFIRMED)
        goal = lambda: agent.running("platform") == expected and agent.state("platform") is state  # noqa: B023, E731
        assert built.time.run(120.0, goal), f"cut after step {cut}: {agent.deployment('platform')}"
        assert agent.disk.installed["platform"].version == expected
        assert agent.disk.fetched[manifest_of("platform", "2.0").hex()] in (0, behaviour.size)
        assert sum(agent.served.values()) <= 2 * behaviour.size  # 1.0 and 2.0 once each
    assert interrupted >= 6


def test_a_board_that_lost_its_disk_provisions_itself_again() -> None:
    built, agents = cluster()
    power_on(agents)
    assert settle(built, agents, "1.0")
    agent = agents["c2s4"]
    agent.power_cut()
    agent.disk.installed.clear()
    agent.disk.staged.clear()
    agent.disk.fetched.clear()
    agent.power_on()
    assert settle(built, agents, "1.0", seconds=30.0)
    assert agent.disk.installed["platform"].version == "1.0"


def test_a_group_that_nobody_has_is_said_and_costs_no_storm() -> None:
    built, agents = cluster(groups=("platform", "nobody"))
    power_on(agents)
    assert settle(built, agents, "1.0")
    before = sum(server.counts["requests"] for server in built.servers.values())
    built.time.run(3600.0)
    asked = sum(server.counts["requests"] for server in built.servers.values()) - before
    assert asked <= 30 * len(agents) * len(built.servers), "an hour of slow periods, not a loop"
    for agent in agents.values():
        deployment = agent.deployment("nobody")
        assert (deployment.state, deployment.running) == (State.IDLE, None)
        assert "names no version of nobody for this board" in deployment.phase.reason  # type: ignore[union-attr]
