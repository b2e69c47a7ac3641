"""Metadata from the newest: whose plan a board takes."""

from boardwright.agent.plan_source import find_plan
from boardwright.errors import UnreachableError
from boardwright.model.plan import BoardPlan
from boardwright.protocol.messages import Offer


class Servers:
    """Plans by API URL; a server without one cannot be reached."""

    def __init__(self, **generations: int) -> None:
        self.generations = generations
        self.asked: list[str] = []

    def plan(self, api: str, board: str) -> BoardPlan:
        self.asked.append(api)
        if api not in self.generations:
            raise UnreachableError(f"{api} cannot be reached")
        return BoardPlan(self.generations[api])


def offer(server: str, generation: int) -> Offer:
    return Offer("core1", b"n" * 16, server, "1", "1", generation, api=server)


def test_the_first_that_proves_its_generation_is_taken() -> None:
    servers = Servers(a=7, b=7)
    assert find_plan(servers, "c1s3", [offer("a", 7), offer("b", 7)], 3).plan == BoardPlan(7)
    assert servers.asked == ["a"]


def test_a_server_that_cannot_be_reached_costs_one_try_and_is_named() -> None:
    found = find_plan(Servers(b=6), "c1s3", [offer("a", 7), offer("b", 6)], 3)
    assert found.plan == BoardPlan(6)
    assert found.problems == ("a: a cannot be reached",)
    assert found.silent == {"a"}


def test_a_claim_that_cannot_be_proved_sends_the_server_to_the_end() -> None:
    found = find_plan(Servers(liar=4, honest=6), "c1s3", [offer("liar", 99), offer("honest", 6)], 3)
    assert found.plan == BoardPlan(6)
    assert found.problems == ("liar: it claimed plan 99 and has 4",)
    assert not found.silent


def test_an_unproved_plan_is_better_than_none() -> None:
    assert find_plan(Servers(a=4, b=5), "c1s3", [offer("a", 99), offer("b", 98)], 3).plan == BoardPlan(5)


def test_an_older_plan_than_the_boards_is_refused() -> None:
    found = find_plan(Servers(a=2), "c1s3", [offer("a", 2)], 3)
    assert found.plan is None
    assert found.problems == ("a: its plan 2 is older than 3, which this board has",)
