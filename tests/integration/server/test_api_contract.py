"""The API keeps to its own document, whatever is sent: no 5xx, and nothing is reached without the right role."""

import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from requests.adapters import HTTPAdapter
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from boardwright.server.api.callers import ACCESS, ANYBODY
from boardwright.server.routes import api
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Role
from boardwright.trust.lines import client_context
from tests.integration.server.processes import ServerCluster, ServerProcess

EXAMPLES = 12  # of each call; `make soak` tries more of them
FEWER = {"POST /v1/reports": 3}  # of a call whose bodies take a second to invent; test_hostile_calls sends many more
SOAK = 400
PEOPLE = (Role.ADMIN, Role.OPERATOR, Role.VIEWER, Role.SERVER, Role.BOARD, None)  # None: a stranger
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


class OverTls(HTTPAdapter):
    """To a server of the cluster and to nobody else."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, assert_hostname=False, **options)


class Door:
    """One server, and a way to it for everybody."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        identities = server.identities
        self.people: dict[Role | None, Credentials | None] = {
            None: None,
            Role.BOARD: identities.board("c1s9"),
            Role.SERVER: identities.server("c2s1", "2"),
            Role.VIEWER: identities.person(Role.VIEWER),
            Role.OPERATOR: identities.person(Role.OPERATOR),
            Role.ADMIN: identities.person(Role.ADMIN),
        }
        self.session = requests.Session()
        self.session.mount("https://", OverTls(client_context(identities.authority)))
        self._headers: dict[Role | None, dict[str, str]] = {None: {}}

    def headers(self, role: Role | None) -> dict[str, str]:
        if role not in self._headers:
            lines = self.server.identities.lines(self.people[role])
            lines.manager(retries=False).request("GET", f"{self.server.api}/v1/health")
            self._headers[role] = {"Authorization": f"Bearer {lines.token(self.server.id)}"}
        return self._headers[role]

    def call(self, case: Case, role: Role | None) -> Any:
        return case.call(base_url=self.server.api, session=self.session, headers=self.headers(role), timeout=10)


def document() -> dict[str, Any]:
    """What /v1/openapi.json says; the same for every server."""
    with TestClient(api(MagicMock(server="c1s1", cluster="test", blobs_url="https://b"), [])) as client:
        found: dict[str, Any] = client.get("/v1/openapi.json").json()
    return found


SCHEMA = schemathesis.openapi.from_dict(document())
CALLS = {f"{one.method.upper()} {one.path}": one for one in (found.ok() for found in SCHEMA.get_all_operations())}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    cluster = ServerCluster(tmp_path_factory.mktemp("cluster"))
    try:
        server = cluster.add(1, 1)
        cluster.active()
        yield Door(server)
    finally:
        cluster.stop()


def cases(name: str) -> st.SearchStrategy[Case]:
    """Calls that keep to the document, and calls that do not."""
    return st.one_of(
        CALLS[name].as_strategy(generation_mode=GenerationMode.POSITIVE),
        CALLS[name].as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )


def some(count: int) -> settings:
    phases = (Phase.explicit, Phase.generate)  # the first that fails tells enough; to shrink it takes minutes
    return settings(
        max_examples=count, deadline=None, phases=phases, suppress_health_check=list(HealthCheck), database=None
    )


def entry(name: str) -> frozenset[Role]:
    method, path = name.split(" ")
    return ACCESS[method, path]


def keeps_to_the_document(door: Door, name: str, count: int) -> None:
    role = None if entry(name) == ANYBODY else next(role for role in PEOPLE if role in entry(name))

    @some(count)
    @given(cases(name))
    def call(case: Case) -> None:
        case.validate_response(door.call(case, role), checks=CHECKS)

    call()


@pytest.mark.parametrize("name", CALLS)
def test_every_call_keeps_to_the_document_and_none_fails(door: Door, name: str) -> None:
    keeps_to_the_document(door, name, FEWER.get(name, EXAMPLES))


@pytest.mark.soak
@pytest.mark.timeout(600)  # a call with a large body takes two minutes to invent 400 of them
@pytest.mark.parametrize("name", CALLS)
def test_every_call_keeps_to_the_document_for_long(door: Door, name: str) -> None:
    keeps_to_the_document(door, name, SOAK)


@pytest.mark.parametrize("name", [name for name in CALLS if entry(name) != ANYBODY])
def test_nothing_is_reached_without_the_right_role(door: Door, name: str) -> None:
    shut_out = [role for role in PEOPLE if role not in entry(name)]

    @some(FEWER.get(name, EXAMPLES))
    @given(st.sampled_from(shut_out), cases(name))
    def call(role: Role | None, case: Case) -> None:
        answer = door.call(case, role)
        refused = {401 if role is None else 403}
        if any("/" in str(value) for value in (case.path_parameters or {}).values()):
            refused |= {404, 405}  # the path of no call, or of another one
        assert answer.status_code in refused, (role, case.as_curl_command(), answer.status_code, answer.text[:300])

    call()
