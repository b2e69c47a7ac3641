"""A server that starts first hears what has changed; what works and what waits is said in sentences."""

from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from boardwright.errors import UnreachableError
from boardwright.protocol.messages import Holding
from boardwright.protocol.offerer import Catalogued
from boardwright.server.api import metadata, plan, sessions
from boardwright.server.api.app import make_app
from boardwright.server.api.callers import members_only
from boardwright.server.callers import Callers
from boardwright.server.catching_up import PATIENCE, CatchingUp, preparing
from boardwright.server.metadata import MetadataFiles
from boardwright.server.working import Situation, waits, works
from boardwright.trust.identity import Role
from tests.unit.server.builders import UNHEARD
from tests.unit.server.test_callers import ROLES, SERVER, token


class Start:
    """A server's start: `now` in seconds, `read` when the state was read."""

    def __init__(self) -> None:
        self.now, self.read = 100.0, False
        self.catching_up = CatchingUp(lambda: self.read, lambda: self.now)


@pytest.fixture
def start() -> Start:
    return Start()


class TestTheStart:
    def test_is_over_when_the_state_was_read(self, start: Start) -> None:
        assert not start.catching_up.over
        start.read = True
        assert start.catching_up.over
        start.catching_up.check()

    def test_is_over_after_its_patience_read_or_not_for_serving_never_depends_on_the_engine(self, start: Start) -> None:
        start.now += PATIENCE - 0.01
        assert not start.catching_up.over
        start.now += 0.01
        assert start.catching_up.over

    def test_does_not_come_back(self, start: Start) -> None:
        start.now += PATIENCE
        assert start.catching_up.over
        start.now -= PATIENCE
        assert start.catching_up.over

    def test_says_what_to_do_meanwhile(self, start: Start) -> None:
        with pytest.raises(UnreachableError, match="just started") as raised:
            start.catching_up.check()
        assert "another server" in (raised.value.hint or "")

    def test_has_every_version_preparing_whatever_lies_on_the_disk(self) -> None:
        held = {bytes(32): Catalogued("1", Holding.ALL), bytes([1]) * 32: Catalogued("2", Holding.NONE)}
        assert {one.holding for one in preparing(held).values()} == {Holding.PREPARING}


class TestTheApi:
    @pytest.fixture
    def callers(self) -> Callers:
        return Callers(SERVER)

    @pytest.fixture
    def client(self, callers: Callers, start: Start) -> Iterator[TestClient[Litestar]]:
        mirror, files = MagicMock(), MagicMock(spec=MetadataFiles)
        mirror.state.board_plan.return_value = {}
        files.get.return_value = files.shard.return_value = b"{}"
        routes = [
            *plan.routes(mirror, start.catching_up),
            *metadata.board_routes(files, start.catching_up),
            *sessions.routes(callers),
        ]
        with TestClient(
            make_app(routes, [], guards=[members_only(callers, UNHEARD)], gate=lambda _: None, refused=UNHEARD)
        ) as client:
            yield client

    def test_gives_no_plan_and_no_metadata_before_it_is_over(
        self, client: TestClient[Litestar], callers: Callers, start: Start
    ) -> None:
        who = token(callers, ROLES[Role.BOARD])
        paths = ("/v1/plan/boards/c1s9", "/v1/metadata/timestamp.json", "/v1/metadata/targets/plans/1.json")
        assert [client.get(path, headers=who).status_code for path in paths] == [503, 503, 503]
        start.read = True
        assert [client.get(path, headers=who).status_code for path in paths] == [200, 200, 200]


class TestSentences:
    HEALTHY = Situation(generation=7, caught_up=True, engine="", active=True)

    def test_of_a_server_that_does_all_it_should(self) -> None:
        assert waits(self.HEALTHY) == ()
        assert works(self.HEALTHY)[0] == "boards get plan generation 7 and its versions"
        assert works(self.HEALTHY)[1].startswith("changes: publish, deploy")

    def test_without_the_engine_boards_are_served_and_changes_wait(self) -> None:
        now = Situation(generation=7, caught_up=True, engine="etcd does not answer", active=False)
        assert works(now) == ("boards get plan generation 7 and its versions",)
        assert waits(now) == (
            "changes: publish, deploy, retry, joins, tokens, trust; until the engine answers",
            "the lists of boards, servers, software and rollouts; until the engine answers",
        )

    def test_without_an_active_they_wait_for_seconds(self) -> None:
        now = Situation(generation=0, caught_up=True, engine="", active=False)
        assert works(now) == ("boards are answered; there is no plan yet",)
        assert all(sentence.endswith("until a server is active, within seconds") for sentence in waits(now))

    def test_versions_that_are_not_here_are_named_but_not_all_of_many(self) -> None:
        now = Situation(generation=7, caught_up=True, engine="", active=True, lacking=("a 1", "b 1", "c 1", "d 1"))
        assert "but for what is still being copied" in works(now)[0]
        assert waits(now) == ("offers of a 1, b 1, c 1 ...: still being copied to this server",)

    def test_of_a_server_that_has_just_started(self) -> None:
        now = Situation(generation=7, caught_up=False, engine="", active=True)
        assert works(now)[0].startswith("changes")
        assert "first hears what has changed" in waits(now)[0]
