"""A whole cluster asks and chooses in virtual time, on networks that lose, double and reorder."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.model.location import Location, Tier
from boardwright.protocol.codec import encode_announcement
from boardwright.protocol.messages import Announcement, Holding
from boardwright.sim.board import SimBoard
from boardwright.sim.cluster import Shape, SimCluster, manifest_of
from boardwright.sim.network import Conditions
from boardwright.sim.seal import SimSeal

V1 = "1.0"
V2 = "2.0"
LOSSY = Conditions(loss=0.1, duplicate=0.1, reorder=0.1)


def cluster(
    *,
    chassis: int = 2,
    control_boards: int = 2,
    line_boards: int = 4,
    conditions: Conditions | None = None,
    seed: int = 1,
) -> SimCluster:
    """A cluster whose servers all hold and plan version 1.0 of `platform`; the boards are off."""
    built = SimCluster(Shape(chassis, control_boards, line_boards), conditions, seed)
    built.publish("platform", V1)
    built.deploy("platform", V1)
    return built


def on_first_version(**options: int) -> SimCluster:
    """A cluster whose boards have all chosen for 1.0, some seconds ago."""
    built = cluster(**options)  # type: ignore[arg-type]
    built.power_on()
    assert built.run_until_chosen("platform", V1)
    built.time.run(5.0)
    return built


def taken(board: SimBoard) -> str:
    return board.chosen["platform"].server


def tier(board: SimBoard) -> Tier:
    return board.chosen["platform"].source.tier


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


class TestTheMethod:
    def test_m1_m6_every_board_asks_and_all_servers_answer_simultaneously(self) -> None:
        """M1, M6: servers on different control boards all serve at once."""
        built = on_first_version()
        assert all(server.counts["requests"] >= len(built.boards) for server in built.servers.values())

    def test_m2_every_board_has_offers_of_at_least_two_servers(self) -> None:
        """M2: and each offer says how to get the files."""
        built = on_first_version()
        for board in built.boards.values():
            assert len(board.ranking("platform")) == 4
            assert board.requester is not None
            assert all(offer.blobs.startswith("https://") for offer in board.requester.offers)

    def test_m3_m4_m5_each_board_takes_the_nearest_server(self) -> None:
        """M3, M4, M5: its own board's, else one of its own chassis."""
        built = on_first_version()
        for board in built.boards.values():
            if board.board.server:
                assert taken(board) == board.board.id
                assert tier(board) is Tier.SAME_BOARD
            else:
                assert tier(board) is Tier.SAME_CHASSIS

    def test_m5_a_chassis_without_servers_is_served_from_elsewhere(self) -> None:
        built = cluster()
        for server in ("c1s1", "c1s2"):
            built.servers[server].kill()
        built.power_on()
        assert built.run_until_chosen("platform", V1)
        assert tier(built.boards["c1s3"]) is Tier.ELSEWHERE
        assert tier(built.boards["c2s3"]) is Tier.SAME_CHASSIS

    def test_m7_a_server_answers_unknown_boards_too(self) -> None:
        """M7: a board that the plan does not name gets an offer without groups, and knows whom to ask."""
        built = cluster()
        stranger = built.boards["c1s3"]
        for server in built.servers.values():
            server.plan = built.plan.__class__(built.plan.generation)
        stranger.power_on()
        built.time.run(5.0)
        assert not stranger.chosen
        assert stranger.generation == built.plan.generation


class TestDeadServers:
    def test_half_of_the_servers_dead_costs_each_board_only_the_window(self) -> None:
        seconds = []
        for seed in range(20):
            built = cluster(line_boards=8, seed=seed)
            for server in ("c1s1", "c2s2"):
                built.servers[server].kill()
            built.power_on()
            assert built.run_until_chosen("platform", V1)
            seconds += [board.chosen["platform"].seconds for board in built.boards.values()]
        assert p99(seconds) <= 0.06

    def test_with_loss_and_half_of_the_servers_dead_the_99th_percentile_stays_in_the_target(self) -> None:
        seconds = []
        for seed in range(30):
            built = cluster(line_boards=8, seed=seed, conditions=Conditions(loss=0.02, duplicate=0.02, reorder=0.05))
            for server in ("c1s1", "c2s2"):
                built.servers[server].kill()
            built.power_on()
            assert built.run_until_chosen("platform", V1)
            seconds += [board.chosen["platform"].seconds for board in built.boards.values()]
        assert p99(seconds) <= 0.150

    def test_when_nobody_lives_boards_keep_asking_slowly_and_find_the_first_that_comes_back(self) -> None:
        built = cluster()
        for server in built.servers.values():
            server.kill()
        built.power_on()
        built.time.run(300.0)
        board = built.boards["c1s3"]
        assert not board.chosen
        assert board.transmissions < 300  # more than one a second would be a storm
        built.servers["c2s1"].start()
        assert built.run_until_chosen("platform", V1, seconds=4.0)

    def test_a_partition_that_heals_costs_only_time(self) -> None:
        built = cluster()
        built.network.partition({board.node for board in built.boards.values()})
        built.power_on()
        built.time.run(30.0)
        assert not any(board.chosen for board in built.boards.values())
        built.network.partition()
        assert built.run_until_chosen("platform", V1, seconds=4.0)

    def test_a_chassis_cut_off_is_served_by_its_own_servers(self) -> None:
        built = cluster()
        inside = {f"board:c1s{slot}" for slot in range(1, 7)} | {"server:c1s1", "server:c1s2"}
        built.network.partition(inside)
        built.power_on()
        assert built.run_until_chosen("platform", V1, seconds=2.0)
        assert tier(built.boards["c1s5"]) is Tier.SAME_CHASSIS

    def test_a_late_server_joins_the_failover_list_after_the_choice(self) -> None:
        built = cluster()
        board = built.boards["c2s3"]
        built.network.path("server:c1s1", board.node, Conditions(fastest=0.5, slowest=0.6))
        built.power_on()
        assert built.run_until_chosen("platform", V1)
        assert "c1s1" not in board.ranking("platform")
        built.time.run(2.0)
        assert "c1s1" in board.ranking("platform")


class TestAnnouncements:
    def test_boards_ask_at_once_for_an_announced_generation(self) -> None:
        built = on_first_version()
        built.publish("platform", V2)
        built.deploy("platform", V2)
        assert built.run_until_chosen("platform", V2, seconds=1.0)

    def test_lost_announcements_cost_only_time(self) -> None:
        built = on_first_version()
        built.publish("platform", V2)
        healthy = built.network.conditions
        built.network.conditions = Conditions(loss=1.0)
        built.deploy("platform", V2)
        built.time.run(1.0)
        built.network.conditions = healthy
        board = built.boards["c1s3"]
        period = board.period * (1 + board.timing.period_jitter)
        assert built.run_until_chosen("platform", V2, seconds=period + 1.0)

    def test_an_old_or_repeated_announcement_makes_nobody_ask(self) -> None:
        built = on_first_version()
        rounds = sum(board.rounds for board in built.boards.values())
        for server in built.servers.values():
            plan = server.plan
            server.plan = plan.__class__()
            server.take(plan)
        built.time.run(2.0)
        assert sum(board.rounds for board in built.boards.values()) == rounds

    def test_a_server_that_missed_the_news_does_not_hold_its_own_board_back(self) -> None:
        """Metadata from the newest: the stale own server offers the old version, the announcement told better."""
        built = on_first_version()
        built.publish("platform", V2)
        built.deploy("platform", V2, told=frozenset({"c2s1"}))
        assert built.run_until_chosen("platform", V2, seconds=10.0)
        assert taken(built.boards["c1s1"]) == "c1s1"

    def test_bytes_come_from_the_nearest_although_only_the_farthest_knows_the_plan(self) -> None:
        built = on_first_version()
        built.publish("platform", V2)
        built.deploy("platform", V2, told=frozenset({"c2s1"}))
        assert built.run_until_chosen("platform", V2, seconds=10.0)
        assert tier(built.boards["c1s3"]) is Tier.SAME_CHASSIS
        assert built.boards["c1s3"].generation == 2


class TestPreparing:
    def copying(self) -> SimCluster:
        """2.0 is deployed; chassis 2 has it, the servers of chassis 1 still copy it."""
        built = on_first_version()
        built.publish("platform", V2)
        for server in ("c1s1", "c1s2"):
            built.servers[server].hold(manifest_of("platform", V2), V2, Holding.PREPARING)
        built.deploy("platform", V2)
        return built

    def test_boards_wait_for_their_own_chassis_s_server_to_get_ready(self) -> None:
        built = self.copying()
        built.time.run(2.0)
        assert built.boards["c1s3"].chosen["platform"].manifest == manifest_of("platform", V1)
        for server in ("c1s1", "c1s2"):
            built.servers[server].hold(manifest_of("platform", V2), V2)
        assert built.run_until_chosen("platform", V2, seconds=2.0)
        assert tier(built.boards["c1s3"]) is Tier.SAME_CHASSIS

    def test_the_wait_is_bounded_and_then_crosses(self) -> None:
        built = self.copying()
        board = built.boards["c1s3"]
        wait = board.timing.preparing_wait
        assert built.run_until_chosen("platform", V2, seconds=wait + 2.0)
        assert tier(board) is Tier.ELSEWHERE
        assert wait <= board.chosen["platform"].seconds <= wait + 1.0

    def test_boards_of_the_chassis_that_has_it_do_not_wait(self) -> None:
        built = self.copying()
        built.time.run(1.0)
        assert tier(built.boards["c2s3"]) is Tier.SAME_CHASSIS
        assert built.boards["c2s3"].chosen["platform"].manifest == manifest_of("platform", V2)

    @pytest.mark.parametrize("holding", [Holding.PREPARING, Holding.NONE])
    def test_nobody_ever_chooses_who_does_not_hold_the_version(self, holding: Holding) -> None:
        built = on_first_version()
        built.publish("platform", V2, holding=holding)
        built.deploy("platform", V2)
        built.time.run(30.0)
        assert {each.chosen["platform"].manifest for each in built.boards.values()} == {manifest_of("platform", V1)}
        built.servers["c2s2"].hold(manifest_of("platform", V2), V2)
        # By then boards have backed off to 8 s, and those of chassis 1 wait once more for their own servers.
        assert built.run_until_chosen("platform", V2, seconds=20.0)
        assert {taken(board) for board in built.boards.values()} == {"c2s2"}


class TestLoad:
    def test_equally_loaded_servers_share_sixteen_boards(self) -> None:
        built = cluster(chassis=1, control_boards=4, line_boards=16)
        built.power_on()
        assert built.run_until_chosen("platform", V1)
        count = Counter(taken(board) for board in built.boards.values() if not board.board.server)
        assert len(count) == 4
        assert max(count.values()) <= 8

    def test_a_full_chassis_spills_to_the_next(self) -> None:
        built = cluster()
        for server in ("c1s1", "c1s2"):
            built.servers[server].load = 1000
        built.power_on()
        assert built.run_until_chosen("platform", V1)
        assert tier(built.boards["c1s3"]) is Tier.ELSEWHERE


class TestStorm:
    def power_on(self, servers: int, *, jitter: bool) -> tuple[SimCluster, float]:
        built = cluster(chassis=50, control_boards=0, line_boards=20)
        built.name = "sim"
        first = SimCluster(Shape(1, servers, 0))
        for board in built.boards.values():
            board.known_servers = frozenset(first.servers)
        for server in first.servers.values():
            twin = type(server)(server.id, server.facts.location, built.time, built.network, built.name)
            built.servers[server.id] = twin
        built.publish("platform", V1)
        built.deploy("platform", V1)
        began = built.time.now
        built.power_on(listens=False, jitter=jitter)
        assert built.run_until_chosen("platform", V1, seconds=30.0)
        return built, built.time.now - began

    def test_a_thousand_boards_that_ask_one_server_in_the_same_moment_all_choose_within_two_seconds(self) -> None:
        built, seconds = self.power_on(1, jitter=False)
        assert seconds <= 2.0
        assert built.servers["c1s1"].counts["overflow"] > 0  # it was a storm: the buffer overflowed
        assert sum(board.transmissions for board in built.boards.values()) <= 4 * len(built.boards)

    def test_power_on_of_a_thousand_boards_is_spread_and_storms_nobody(self) -> None:
        built, seconds = self.power_on(2, jitter=True)
        assert seconds <= 2.0
        assert all(server.counts["overflow"] == 0 for server in built.servers.values())
        assert sum(board.transmissions for board in built.boards.values()) == len(built.boards)


class TestChance:
    @pytest.mark.parametrize("seed", range(10))
    def test_on_a_lossy_network_every_board_still_gets_there(self, seed: int) -> None:
        built = cluster(conditions=LOSSY, seed=seed)
        built.power_on()
        assert built.run_until_chosen("platform", V1, seconds=10.0)
        built.publish("platform", V2)
        built.deploy("platform", V2)
        assert built.run_until_chosen("platform", V2, seconds=10.0)

    @settings(max_examples=30, deadline=None)
    @given(
        st.floats(0, 0.4),
        st.floats(0, 0.5),
        st.floats(0, 0.5),
        st.sets(st.sampled_from(["c1s1", "c1s2", "c2s1", "c2s2"]), max_size=3),
        st.integers(0, 10**6),
    )
    def test_whatever_the_network_does_no_wrong_choice_is_made(
        self, loss: float, duplicate: float, reorder: float, dead: set[str], seed: int
    ) -> None:
        built = cluster(conditions=Conditions(loss, duplicate, reorder), seed=seed)
        for server in dead:
            built.servers[server].kill()
        built.power_on()
        assert built.run_until_chosen("platform", V1, seconds=120.0)
        assert all(taken(board) not in dead for board in built.boards.values())

    def test_the_same_seed_repeats_the_same_run(self) -> None:
        ends = []
        for _ in range(2):
            built = cluster(conditions=LOSSY, seed=5)
            built.power_on()
            built.run_until_chosen("platform", V1)
            ends.append((built.time.now, built.network.counters, [taken(board) for board in built.boards.values()]))
        assert ends[0] == ends[1]


def test_datagrams_of_strangers_are_counted_and_answered_with_nothing() -> None:
    built = cluster()
    built.time.run(1.0)
    sent = built.network.counters.sent
    foreign = encode_announcement(Announcement("other", "", 9), SimSeal("c1s1", Location("1", "1")))
    for data in (b"not a message", bytes(1300), foreign):
        built.network.multicast("stranger", data)
    built.time.run(1.0)
    assert built.network.counters.sent == sent + 3
    for server in built.servers.values():
        assert server.counts == {"malformed": 1, "oversized": 1, "foreign-cluster": 1}
