"""Whom the doctor asks, and what it makes of the answers."""

import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from boardwright.cli.doctor import examine_cluster as examining
from boardwright.cli.doctor.cluster_facts import ClusterFacts
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.admission import JoinerList
from boardwright.model.api import BoardList
from boardwright.model.diagnosis import Diagnosis
from boardwright.net.diagnosing import Diagnosing
from tests.unit.cli_doctor.clusters import PLACES, api, board, diagnosis
from tests.unit.cli_doctor.facts import NOW


class Servers:
    """Servers by address; who is not there does not answer."""

    def __init__(self, **servers: Diagnosis) -> None:
        self.servers = {api(server): one for server, one in servers.items()}
        self.asked: list[str] = []
        self.hanging: set[str] = set()
        self.end = threading.Event()
        self.boards: BoardList | None = BoardList((board(),))

    def get(self, base: str, path: str, kind: type) -> Any:
        if path == "/v1/diagnosis":
            self.asked.append(base)
            if base in self.hanging:
                self.end.wait(30)
            if base not in self.servers:
                raise UnreachableError(f"{base} does not answer")
            return self.servers[base]
        if self.boards is None:
            raise FailedError("is the active no more")
        return self.boards if kind is BoardList else JoinerList(())

    def examined(self, *bases: str, wall: float = NOW) -> ClusterFacts:
        return examining.examine_cluster(cast(Diagnosing, self), bases, "lab", lambda: wall)


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers(**{one: diagnosis(one) for one in PLACES})
    yield made
    made.end.set()


def test_one_that_answers_leads_to_all_others_and_each_is_asked_once(servers: Servers) -> None:
    facts = servers.examined(api("c1s2"))
    assert [one.id for one in facts.servers] == ["c1s1", "c1s2", "c2s1"]
    assert sorted(servers.asked) == sorted(map(api, PLACES))
    assert facts.boards == (board(),)
    assert facts.joiners == 0


def test_a_dead_one_that_others_name_has_its_id(servers: Servers) -> None:
    del servers.servers[api("c2s1")]
    facts = servers.examined(api("c1s1"))
    (dead,) = [one for one in facts.servers if one.diagnosis is None]
    assert (dead.id, dead.api) == ("c2s1", api("c2s1"))


def test_two_addresses_of_one_server_are_one_server(servers: Servers) -> None:
    servers.servers["https://192.0.2.1:6688"] = servers.servers[api("c1s1")]
    facts = servers.examined("https://192.0.2.1:6688", "https://192.0.2.9:6688", api("c1s1"))
    assert [one.id for one in facts.servers] == ["c1s1", "c1s2", "c2s1", "https://192.0.2.9:6688"]


def test_one_that_hangs_costs_a_bounded_time_and_is_said_to_hang(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "PATIENCE", 0.2)
    servers.hanging.add(api("c2s1"))
    (hanging,) = [one for one in servers.examined(api("c1s1")).servers if one.diagnosis is None]
    assert hanging.id == "c2s1"
    assert hanging.trouble is examining.LATE


def test_clocks_are_taken_against_this_computer_s(servers: Servers) -> None:
    facts = servers.examined(api("c1s1"), wall=NOW - 500.0)
    assert {one.ahead for one in facts.servers} == {500.0}


def test_an_active_that_gives_way_meanwhile_costs_what_only_it_knows(servers: Servers) -> None:
    servers.boards = None
    facts = servers.examined(api("c1s1"))
    assert (len(facts.answers), facts.boards, facts.joiners) == (3, None, None)
