"""The simulated network and its clock."""

from random import Random

import pytest

from boardwright.sim.clock import VirtualTime
from boardwright.sim.network import Conditions, Network


def network(conditions: Conditions | None = None, seed: int = 1) -> tuple[VirtualTime, Network]:
    time = VirtualTime()
    return time, Network(time, Random(seed), conditions or Conditions())


def ears(net: Network, *names: str) -> dict[str, list[bytes]]:
    heard: dict[str, list[bytes]] = {name: [] for name in names}
    for name in names:
        net.join(name, lambda data, sender, name=name: heard[name].append(data))  # type: ignore[misc]
    return heard


class TestTime:
    def test_events_happen_in_their_order_and_time_jumps_between_them(self) -> None:
        time = VirtualTime(0.0)
        seen: list[tuple[str, float]] = []
        time.at(5.0, lambda: seen.append(("late", time.now)))
        time.after(1.0, lambda: seen.append(("first", time.now)))
        time.after(1.0, lambda: seen.append(("second", time.now)))
        time.run(10.0)
        assert seen == [("first", 1.0), ("second", 1.0), ("late", 5.0)]
        assert time.now == 10.0

    def test_a_cancelled_timer_does_nothing(self) -> None:
        time = VirtualTime()
        fired: list[int] = []
        time.after(1.0, lambda: fired.append(1)).cancel()
        time.run(10.0)
        assert not fired

    def test_a_run_stops_when_its_condition_holds_and_says_if_it_never_did(self) -> None:
        time = VirtualTime(0.0)
        fired: list[int] = []
        time.after(1.0, lambda: fired.append(1))
        assert time.run(10.0, lambda: bool(fired))
        assert time.now == 1.0
        assert not time.run(10.0, lambda: len(fired) > 1)


class TestDelivery:
    def test_a_multicast_reaches_every_listener_and_the_sender_itself(self) -> None:
        time, net = network()
        heard = ears(net, "a", "b")
        net.join("deaf", lambda data, sender: pytest.fail("it does not listen"), listens=False)
        net.multicast("a", b"x")
        time.run(1.0)
        assert heard == {"a": [b"x"], "b": [b"x"]}

    def test_a_lossy_path_loses_its_share(self) -> None:
        time, net = network(Conditions(loss=0.3))
        heard = ears(net, "b")
        for _ in range(2000):
            net.unicast("a", "b", b"x")
        time.run(1.0)
        assert 1300 < len(heard["b"]) < 1500

    def test_duplicates_and_detours_happen(self) -> None:
        time, net = network(Conditions(duplicate=0.5, reorder=0.5))
        heard = ears(net, "b")
        for number in range(200):
            net.unicast("a", "b", bytes([number]))
        time.run(1.0)
        assert 250 < len(heard["b"]) < 350
        assert heard["b"] != sorted(heard["b"])

    def test_who_has_left_hears_nothing_of_what_is_on_the_way(self) -> None:
        time, net = network()
        heard = ears(net, "b")
        net.unicast("a", "b", b"x")
        net.leave("b")
        time.run(1.0)
        assert heard["b"] == []

    def test_a_partition_separates_and_heals(self) -> None:
        time, net = network()
        heard = ears(net, "a", "b", "c")
        net.partition({"a"}, {"b"})
        net.multicast("a", b"x")
        time.run(1.0)
        assert heard == {"a": [b"x"], "b": [], "c": []}
        net.partition()
        net.multicast("a", b"y")
        time.run(1.0)
        assert heard["b"] == heard["c"] == [b"y"]

    def test_one_direction_may_be_worse_than_the_other(self) -> None:
        time, net = network()
        heard = ears(net, "a", "b")
        net.path("a", "b", Conditions(loss=1.0))
        net.unicast("a", "b", b"x")
        net.unicast("b", "a", b"y")
        time.run(1.0)
        assert heard == {"a": [b"y"], "b": []}

    def test_the_same_seed_repeats_the_same_run(self) -> None:
        runs = []
        for _ in range(2):
            time, net = network(Conditions(loss=0.2, duplicate=0.2, reorder=0.2), seed=7)
            heard = ears(net, "b")
            for number in range(100):
                net.unicast("a", "b", bytes([number]))
            time.run(1.0)
            runs.append(heard["b"])
        assert runs[0] == runs[1]
