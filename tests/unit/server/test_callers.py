"""Who may call what: every route has an entry in the table, and nobody gets past it."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import msgspec
import pytest
from litestar import Litestar, Request, route
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from boardwright.model.api import ServerWord
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport
from boardwright.model.sessions import SESSION_PATH, Proof
from boardwright.protocol.budget import BURST
from boardwright.server.api import plan, reports, servers, sessions
from boardwright.server.api.app import make_app
from boardwright.server.api.callers import ACCESS, ANYBODY, caller_of, members_only
from boardwright.server.callers import Callers
from boardwright.server.routes import api
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role
from boardwright.trust.sessions import TOKEN_LIFE, proof
from tests.tls import LAB
from tests.unit.server.builders import UNHEARD

SERVER = LAB.server("c1s1")
ROLES = {
    Role.BOARD: LAB.board("c1s9"),
    Role.SERVER: LAB.server("c2s1", "2"),
    Role.VIEWER: LAB.person(Role.VIEWER),
    Role.OPERATOR: LAB.person(Role.OPERATOR),
    Role.ADMIN: LAB.person(Role.ADMIN),
}
# By hand, so that a slip in the table is seen: a call that is for the least of those who may.
LEAST = {
    Role.VIEWER: [("GET", "/v1/boards"), ("GET", "/v1/servers"), ("GET", "/v1/rollouts"), ("GET", "/v1/joins")],
    Role.OPERATOR: [("POST", "/v1/versions"), ("POST", "/v1/deployments"), ("PUT", "/v1/blobs/{sha256}")],
    Role.ADMIN: [("POST", "/v1/tokens"), ("POST", "/v1/joins/{key}/approval"), ("DELETE", "/v1/joins/{key}")],
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def token(callers: Callers, who: Credentials, host: str = "c1s1") -> dict[str, str]:
    nonce = callers.nonce().nonce
    return {"Authorization": f"Bearer {callers.open(Proof(who.chain, nonce, proof(host, nonce, who.key)), '').token}"}


def every_route() -> set[tuple[str, str]]:
    app = api(MagicMock(server="c1s1", cluster="lab", blobs_url="https://b"), [])
    return {
        (method, one.path_format)
        for one in app.routes
        if isinstance(one, HTTPRoute) and not one.path.startswith("/v1/openapi.json")
        for method in one.methods - {"OPTIONS"}
    }


def test_every_route_says_who_may_call_it_and_no_entry_is_for_nothing() -> None:
    assert every_route() == set(ACCESS)


class TestTheTable:
    @pytest.fixture(scope="class")
    @classmethod
    def callers(cls) -> Callers:
        return Callers(SERVER)

    @pytest.fixture(scope="class")
    @classmethod
    def client(cls, callers: Callers) -> Iterator[TestClient[Litestar]]:
        def handler(method: str, path: str) -> Any:
            typed = path.replace("}", ":str}")

            @route(typed, http_method=[method], sync_to_thread=False, status_code=200)  # type: ignore[list-item]
            def answered(request: Request[Any, Any, Any]) -> str:
                return caller_of(request).id

            return answered

        calls = [handler(*call) for call, roles in ACCESS.items() if roles != ANYBODY]
        app = make_app(
            [*calls, handler("GET", "/v1/forgotten")],
            [],
            guards=[members_only(callers, UNHEARD)],
            gate=lambda _: None,
            refused=UNHEARD,
        )
        with TestClient(app) as client:
            yield client

    @pytest.mark.parametrize("call", [call for call, roles in ACCESS.items() if roles != ANYBODY], ids=" ".join)
    def test_lets_in_whom_it_names_and_nobody_else(
        self, client: TestClient[Litestar], callers: Callers, call: tuple[str, str]
    ) -> None:
        path = call[1].replace("{", "").replace("}", "")
        assert client.request(call[0], path).status_code == 401
        for role, who in ROLES.items():
            answer = client.request(call[0], path, headers=token(callers, who))
            if role in ACCESS[call]:
                assert (answer.status_code, answer.text) == (200, who.identity.id)
            else:
                assert answer.status_code == 403
                assert answer.json()["exit_code"] == 3
                assert role.value in answer.json()["error"]

    @pytest.mark.parametrize("least", LEAST)
    def test_each_person_may_do_what_the_one_before_may(self, least: Role) -> None:
        people = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
        for call in LEAST[least]:
            assert ACCESS[call] == frozenset(people[people.index(least) :]), call

    def test_a_route_that_was_forgotten_is_nobodys(self, client: TestClient[Litestar], callers: Callers) -> None:
        for who in ROLES.values():
            assert client.get("/v1/forgotten", headers=token(callers, who)).status_code == 403


class TestForItself:
    """What a role alone does not say: boards and servers speak for themselves."""

    @pytest.fixture
    def callers(self) -> Callers:
        return Callers(SERVER)

    @pytest.fixture
    def client(self, callers: Callers) -> Iterator[TestClient[Litestar]]:
        mirror = MagicMock()
        mirror.state.board_plan.return_value = {}
        mirror.state.plan.generation, mirror.state.retry_of.return_value = 1, 0
        routes = [
            *plan.routes(mirror, MagicMock()),
            *reports.routes(MagicMock(), MagicMock(), mirror, lambda: 0),
            *servers.status_routes(MagicMock()),
            *sessions.routes(callers),
        ]
        with TestClient(
            make_app(routes, [], guards=[members_only(callers, UNHEARD)], gate=lambda _: None, refused=UNHEARD)
        ) as client:
            yield client

    def status(self, client: TestClient[Litestar], method: str, path: str, body: object, who: dict[str, str]) -> int:
        return client.request(method, path, json=body, headers=who).status_code

    def test_a_board_asks_for_its_own_plan(self, client: TestClient[Litestar], callers: Callers) -> None:
        board, admin = token(callers, ROLES[Role.BOARD]), token(callers, ROLES[Role.ADMIN])
        assert client.get("/v1/plan/boards/c1s9", headers=board).status_code == 200
        assert client.get("/v1/plan/boards/c1s8", headers=board).status_code == 403
        assert client.get("/v1/plan/boards/c1s8", headers=admin).status_code == 200

    def test_a_board_reports_for_itself_and_passes_nothing_on(
        self, client: TestClient[Litestar], callers: Callers
    ) -> None:
        def report(board: str) -> list[Any]:
            return [as_json(BoardReport(Board(board, Location("1", "9"), "lc"), 1, 1))]

        board, server = token(callers, ROLES[Role.BOARD]), token(callers, ROLES[Role.SERVER])
        for who, of, query, status in [
            (board, "c1s9", "", 202),
            (board, "c1s8", "", 403),
            (board, "c1s9", "?passed-on=true", 403),
            (server, "c2s1", "", 202),
            (server, "c1s9", "", 403),
            (server, "c1s9", "?passed-on=true", 202),
        ]:
            assert client.post(f"/v1/reports{query}", json=report(of), headers=who).status_code == status

    def test_a_server_says_how_it_is_and_no_other(self, client: TestClient[Litestar], callers: Callers) -> None:
        for server, status in (("c2s1", 202), ("c1s1", 403)):
            word = as_json(ServerWord(server, "2", "1", "standby", "healthy", 1, 1, (), 0))
            answer = client.post("/v1/servers/status", json=word, headers=token(callers, ROLES[Role.SERVER]))
            assert answer.status_code == status


class TestSessions:
    def test_end_by_themselves(self) -> None:
        clock = Clock()
        callers = Callers(SERVER, clock=clock)
        header = token(callers, ROLES[Role.VIEWER])["Authorization"]
        assert callers.caller(header).id == "somebody"
        clock.now += TOKEN_LIFE + 1
        with pytest.raises(Exception, match="is over"):
            callers.caller(header)

    def test_end_at_once_when_their_key_is_revoked(self) -> None:
        revoked: set[str] = set()
        callers = Callers(SERVER, lambda: frozenset(revoked))
        header = token(callers, ROLES[Role.OPERATOR])["Authorization"]
        revoked.add(ROLES[Role.OPERATOR].identity.key)
        with pytest.raises(Exception, match="is revoked"):
            callers.caller(header)
        with pytest.raises(Exception, match="is revoked"):
            token(callers, ROLES[Role.OPERATOR])

    def test_end_at_once_when_the_enroller_that_let_its_bearer_in_is_revoked(self) -> None:
        revoked: set[str] = set()
        callers = Callers(SERVER, lambda: frozenset(revoked))
        board = LAB.enrolled("c1s8")
        header = token(callers, board)["Authorization"]
        assert callers.client(header).id == "c1s8"
        revoked.add(board.identity.enroller)
        for refused in (callers.caller, callers.client):
            with pytest.raises(Exception, match="the key that enrolled c1s8 is revoked"):
                refused(header)
        with pytest.raises(Exception, match="the key that enrolled c1s8 is revoked"):
            token(callers, board)

    def test_are_not_for_who_signs_certificates(self) -> None:
        with pytest.raises(Exception, match="has nothing to ask here"):
            token(Callers(SERVER), LAB.person(Role.ENROLLER))

    def test_are_not_to_be_had_by_a_proof_for_another_host(self) -> None:
        with pytest.raises(Exception, match="not by the key"):
            token(Callers(SERVER), ROLES[Role.ADMIN], host="c2s1")


class TestWhoFloodsAServerWithProofs:
    def test_is_told_to_come_later_and_the_others_are_let_in(self) -> None:
        clock = Clock()
        callers = Callers(SERVER, clock=clock)
        garbage = msgspec.json.encode(Proof([b"none"], b"", b""))
        said = [callers.answer("POST", SESSION_PATH, garbage, "10.0.0.66") for _ in range(int(BURST) + 100)]
        assert {answer[0] for answer in said if answer} == {401, 429}
        assert said[-1] is not None
        assert said[-1][0] == 429
        assert b"too often" in said[-1][1]
        assert token(callers, ROLES[Role.BOARD])
        clock.now += 1.0
        again = callers.answer("POST", SESSION_PATH, garbage, "10.0.0.66")
        assert again is not None
        assert again[0] == 401

    def test_is_told_so_by_the_api_too(self) -> None:
        callers = Callers(SERVER)
        with TestClient(
            make_app(sessions.routes(callers), [], guards=[], gate=lambda _: None, refused=UNHEARD)
        ) as client:
            callers._budget.admits = lambda source, now: False  # type: ignore[method-assign]
            answer = client.post(SESSION_PATH, json=as_json(Proof([b"none"], b"", b"")))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "too often" in answer.json()["error"]


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
