"""Hundreds of boards fetch one version at once: how long it takes, and what crosses the links between chassis."""

from boardwright.model.location import Tier
from boardwright.sim.swarm import Crowd, Swarm

BOUND = 1.05  # copies of the version that may come into a chassis without living servers


def swarm(**options: object) -> Swarm:
    return Swarm(Crowd(**options))  # type: ignore[arg-type]


def ended(built: Swarm) -> Swarm:
    assert built.run()
    return built


class TestTimeToCompletion:
    def test_sixteen_boards_take_little_longer_than_one(self) -> None:
        assert ended(swarm()).multiple < 1.25
        assert ended(swarm(pieces=128)).multiple < 1.12

    def test_four_chassis(self) -> None:
        assert ended(swarm(chassis=4)).multiple < 1.4

    def test_it_grows_slowly_with_the_boards_of_a_chassis(self) -> None:
        for boards in (8, 16, 32):
            assert ended(swarm(chassis=1, boards=boards)).multiple < 1.5

    def test_hundreds_of_boards(self) -> None:
        built = ended(swarm(chassis=15, boards=16, pieces=16))
        assert len(built.boards) == 240
        assert built.multiple < 2.2  # the start weighs more: the version is small
        assert all(built.crossed(chassis) == 0 for chassis in built.trunks)

    def test_one_board_alone_is_as_fast_as_its_link(self) -> None:
        assert ended(swarm(chassis=1, boards=1, jitter=0.0)).multiple < 1.02

    def test_no_verified_piece_comes_twice(self) -> None:
        assert not sum(board.again for board in ended(swarm()).boards.values())


class TestBetweenChassis:
    def test_nothing_crosses_where_each_chassis_has_servers(self) -> None:
        built = ended(swarm(pieces=64))
        assert built.crossed(1) == built.crossed(2) == 0

    def test_each_piece_crosses_once_where_only_one_chassis_has(self) -> None:
        for seed in range(4):
            built = ended(swarm(holders=(1,), pieces=64, seed=seed))
            assert built.crossed(2) <= BOUND
            assert built.crossed(1) == 0
            assert sum(board.received[Tier.ELSEWHERE] for board in built.boards.values()) <= BOUND * 64

    def test_also_over_slow_links_and_with_boards_that_begin_half_a_second_apart(self) -> None:
        assert ended(swarm(holders=(1,), trunk=1.25e6)).crossed(2) <= BOUND
        assert ended(swarm(holders=(1,), jitter=0.5, pieces=64)).crossed(2) <= BOUND

    def test_when_all_servers_of_a_chassis_die_the_rest_crosses_once(self) -> None:
        built = swarm(pieces=64)
        built.time.after(2.0, lambda: built.kill("c2s1", "c2s2"))
        assert ended(built).multiple < 1.6
        assert built.crossed(2) < 0.8  # what was there is not fetched again

    def test_boards_that_die_while_they_bring_are_replaced(self) -> None:
        built = swarm(holders=(1,), pieces=64)
        built.time.after(2.0, lambda: built.kill("c2s4", "c2s5", "c2s7"))
        assert ended(built).multiple < 2.0
        assert built.crossed(2) <= 1.2  # what the dead had brought and shown to nobody crosses again


class TestFaults:
    def test_dead_relays_cost_little(self) -> None:
        built = swarm(pieces=128)
        built.time.after(6.0, lambda: built.kill("c1s3", "c1s5", "c2s7"))
        assert ended(built).multiple < 1.2

    def test_hanging_relays_cost_little(self) -> None:
        built = swarm(pieces=128)
        built.time.after(6.0, lambda: built.hang("c1s3", "c1s5", "c2s7"))
        assert ended(built).multiple < 1.3

    def test_a_dead_server_costs_little(self) -> None:
        built = swarm(pieces=128)
        built.time.after(3.0, lambda: built.kill("c1s1"))
        assert ended(built).multiple < 1.2

    def test_a_liar_costs_each_board_a_piece(self) -> None:
        built = swarm(pieces=64)
        for name in ("c1s3", "c1s5", "c2s7"):
            built.boards[name].lies = True
        assert ended(built).multiple < 1.4
        assert all(board.wrong <= 2 for board in built.boards.values())
