"""What an upgrade does next, and what becomes of it when anybody dies at any moment."""

from collections.abc import Iterator

import msgspec
import pytest

from boardwright.model.upgrade import Outcome, ServerStep, UpgradeRecord
from boardwright.planner.upgrade import (
    PATIENCE,
    Act,
    End,
    HandOver,
    MoveAgents,
    PlanServer,
    UpgradeWatch,
    Wait,
)
from tests.unit.planner.control_boards import NEW, ControlBoard


class World:
    """Servers of a cluster with an upgrade; whoever is active carries it out, one act a step."""

    def __init__(self, servers: int, *, before: str = "1.0", sick: str = "", agents: bool = False) -> None:
        names = tuple(f"c1s{number}" for number in range(1, servers + 1))
        self.boards = {name: ControlBoard(before, name == sick) for name in names}
        self.active = names[0]
        self.watch = UpgradeWatch()
        self.now = 0.0
        self.record = UpgradeRecord(
            id="u1", version=NEW, order=names, before=dict.fromkeys(names, before), agents=agents
        )
        self.acts: list[Act] = []
        self.alone = True  # whether the upgrade alone has taken servers out of service

    def step(self, *, lose: bool = False) -> None:
        """One act, carried out unless the active dies before (`lose`); then one step of everybody."""
        if not self.boards[self.active].serves:
            living = [name for name, board in self.boards.items() if board.serves]
            if living:
                self.active, self.watch = living[-1], UpgradeWatch()
        elif self.record.running:
            views = {name: board.view() for name, board in self.boards.items()}
            act = self.watch.look(self.record, views, self.active, self.now)
            if not lose:
                self.do(act)
        for board in self.boards.values():
            board.step()
        self.now += 1.0
        if self.alone:
            assert sum(board.serves for board in self.boards.values()) >= len(self.boards) - 1, "one at a time"

    def do(self, act: Act) -> None:
        self.acts.append(act)
        match act:
            case PlanServer(server, version):
                self.boards[server].planned = version
            case HandOver(server):
                assert self.boards[server].serves
                self.active, self.watch = server, UpgradeWatch()
            case MoveAgents(version):
                done = {"rollout": "", "agents": False} if self.record.back else {"rollout": "r1"}
                self.record = msgspec.structs.replace(self.record, **done)
                assert version in (NEW, "")
            case End(outcome, reason):
                self.record = msgspec.structs.replace(self.record, outcome=outcome, reason=reason)
            case Wait():
                pass

    def run(self, steps: int = 400) -> None:
        for _ in range(steps):
            if not self.record.running:
                return
            self.step()

    def abort(self) -> None:
        self.record = msgspec.structs.replace(self.record, back=True, outcome=Outcome.NONE, reason="")

    def kill(self, server: str, steps: int) -> None:
        self.alone = False
        self.boards[server].dead = steps

    @property
    def releases(self) -> set[str]:
        return {board.release for board in self.boards.values()}

    def planned(self) -> list[str]:
        return [act.server for act in self.acts if isinstance(act, PlanServer)]


@pytest.mark.parametrize("servers", [1, 2, 3, 4])
@pytest.mark.parametrize("before", ["", "1.0"], ids=["installed program", "release"])
class TestUndisturbed:
    def test_every_server_in_order_the_active_first_and_it_leads_the_rest(self, servers: int, before: str) -> None:
        world = World(servers, before=before)
        world.run()
        assert world.record.outcome is Outcome.DONE
        assert world.releases == {NEW}
        assert world.planned() == list(world.record.order)
        assert {act.server for act in world.acts if isinstance(act, HandOver)} == ({"c1s1"} if servers > 1 else set())

    def test_back_in_the_opposite_order(self, servers: int, before: str) -> None:
        world = World(servers, before=before)
        world.run()
        world.acts.clear()
        world.abort()
        world.run()
        assert world.record.outcome is Outcome.GONE_BACK
        assert world.releases == {before}
        assert world.planned() == list(reversed(world.record.order))


def disturbed(servers: int, sick: str = "") -> Iterator[World]:
    """The world of an upgrade after every one of its steps."""
    plain = World(servers, sick=sick)
    plain.run()
    for steps in range(round(plain.now) + 1):
        world = World(servers, sick=sick)
        for _ in range(steps):
            world.step()
        yield world


@pytest.mark.parametrize("servers", [2, 3, 4])
class TestWhateverHappens:
    def test_the_death_of_any_server_at_any_step_only_delays_it(self, servers: int) -> None:
        for number in range(servers):
            for world in disturbed(servers):
                world.kill(world.record.order[number], 20)
                world.run()
                assert (world.record.outcome, world.record.reason) == (Outcome.DONE, "")
                assert world.releases == {NEW}

    def test_a_server_that_never_comes_back_ends_it_with_the_reason_and_the_others_serve(self, servers: int) -> None:
        for number in range(servers):
            for world in disturbed(servers):
                done = not world.record.running
                world.kill(server := world.record.order[number], 10**6)
                world.run(round(PATIENCE) * 3)
                if not done:
                    assert world.record.outcome is Outcome.STOPPED
                    assert server in world.record.reason
                assert all(board.serves for name, board in world.boards.items() if name != server)

    def test_an_active_that_dies_before_any_of_its_acts_takes_effect_is_followed_by_one_that_does_it(
        self, servers: int
    ) -> None:
        for world in disturbed(servers):
            world.step(lose=True)
            world.kill(world.active, 10)
            world.run()
            assert world.record.outcome is Outcome.DONE
            assert world.releases == {NEW}

    def test_going_back_from_any_step_ends_with_what_ran_before(self, servers: int) -> None:
        for world in disturbed(servers):
            world.abort()
            world.run()
            assert world.record.outcome is Outcome.GONE_BACK
            assert world.releases == {"1.0"}

    def test_going_back_from_a_sick_release_at_any_step(self, servers: int) -> None:
        for sick in ("c1s1", f"c1s{servers}"):
            for world in disturbed(servers, sick):
                world.abort()
                world.run()
                assert world.record.outcome is Outcome.GONE_BACK
                assert world.releases == {"1.0"}


class TestASickRelease:
    def test_stops_at_the_first_server_that_rolls_back_with_its_reason(self) -> None:
        world = World(4, sick="c1s1")
        world.run()
        assert (world.record.outcome, world.record.reason) == (Outcome.STOPPED, "c1s1: it was sick")
        assert world.planned() == ["c1s1"]
        assert world.releases == {"1.0"}

    def test_stops_at_a_later_one_and_leaves_what_was_upgraded(self) -> None:
        world = World(4, sick="c1s3")
        world.run()
        assert world.record.reason == "c1s3: it was sick"
        assert [board.release for board in world.boards.values()] == [NEW, NEW, "1.0", "1.0"]


class TestAReleaseThatTurnsSickLater:
    @pytest.mark.parametrize("sick", ["c1s1", "c1s2", "c1s3"])
    def test_is_left_by_going_back_the_sick_server_first(self, sick: str) -> None:
        world = World(3)
        world.run()
        world.acts.clear()
        world.alone = False
        world.boards[sick].broken = True
        world.abort()
        world.run()
        assert world.record.outcome is Outcome.GONE_BACK
        assert world.releases == {"1.0"}
        assert world.planned()[0] == sick


class TestOneAtATime:
    def test_nobody_is_planned_while_another_server_is_not_healthy(self) -> None:
        world = World(3)
        world.kill("c1s3", 10)
        views = {name: board.view() for name, board in world.boards.items()}
        act = world.watch.look(world.record, views, "c1s1", 0.0)
        assert act == Wait("c1s1 waits: c1s3 is silent")

    def test_a_server_is_watched_for_as_long_as_was_asked_for(self) -> None:
        world = World(2)
        world.record = msgspec.structs.replace(world.record, soak=50.0)
        world.run()
        assert world.record.outcome is Outcome.DONE
        assert world.now > 100.0

    def test_a_server_that_joins_meanwhile_comes_last(self) -> None:
        world = World(2)
        world.step()
        world.boards["c0s1"] = ControlBoard("", sick=False)
        world.run()
        assert world.planned() == ["c1s1", "c1s2", "c0s1"]

    def test_a_server_that_leaves_meanwhile_is_not_waited_for(self) -> None:
        world = World(3)
        world.step()
        del world.boards["c1s3"]
        world.run()
        assert world.record.outcome is Outcome.DONE


class TestTheAgents:
    def test_follow_when_every_server_is_there(self) -> None:
        world = World(2, agents=True)
        world.run()
        moved = [index for index, act in enumerate(world.acts) if isinstance(act, MoveAgents)]
        assert len(moved) == 1
        assert moved[0] > max(index for index, act in enumerate(world.acts) if isinstance(act, PlanServer))

    def test_go_back_with_the_servers(self) -> None:
        world = World(2, agents=True)
        world.run()
        world.acts.clear()
        world.abort()
        world.run()
        assert MoveAgents("") in world.acts
        assert world.record.outcome is Outcome.GONE_BACK


class TestProgress:
    def test_says_of_every_server_how_far_it_is(self) -> None:
        world = World(3)
        while "c1s2" not in world.planned():
            world.step()
        views = {name: board.view() for name, board in world.boards.items()}
        found = world.watch.progress(world.record, views)
        assert [(one.id, one.before, one.step) for one in found] == [
            ("c1s1", "1.0", ServerStep.PROVEN),
            ("c1s2", "1.0", ServerStep.CHANGES),
            ("c1s3", "1.0", ServerStep.WAITS),
        ]
        assert found[1].word == "changes to 2.0: downloading"
