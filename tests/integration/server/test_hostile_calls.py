"""Anything that is sent to the API is taken or answered with 4xx: never 5xx, and the server lives on."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boardwright.model.api import Problem
from tests.integration.server.processes import ServerCluster, ServerProcess

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)),
    max_leaves=10,
)
POSTS = [
    "/v1/reports",
    "/v1/servers/status",
    "/v1/blobs/missing",
    "/v1/versions",
    "/v1/deployments",
    "/v1/joins",
    "/v1/tokens",
]
GETS = ["/v1/boards/", "/v1/software/", "/v1/rollouts/", "/v1/plan/boards/", "/v1/blobs/", "/v1/joins/", "/"]
# Good bodies by path, of which one value is exchanged: they get past the first check.
LOCATION = {"chassis": "1", "slot": "3"}
BOARD = {"id": "c1s3", "location": LOCATION, "type": "lc", "groups": ["platform"]}
GROUP = {"version": "1", "wanted": "2", "state": "failed", "reason": "r", "bytes": {}, "total": 1, "seconds": 1.0}
GOOD: dict[str, object] = {
    "/v1/reports": [{"board": BOARD, "generation": 1, "sequence": 1, "groups": {"platform": GROUP}}],
    "/v1/deployments": {"group": "platform", "version": "1", "selectors": ["chassis=1"], "dry_run": True},
}
ODD = st.one_of(VALUES, st.sampled_from(["", "\0", "x" * 100_000, -1, 2**63 - 1, 2**64, 1e308, "\x1b[2J", "../x", []]))


@pytest.fixture
def server(cluster: ServerCluster) -> ServerProcess:
    server = cluster.add(1, 1)
    cluster.active()
    return server


def taken_or_refused(server: ServerProcess, method: str, path: str, body: bytes | None) -> None:
    who = server.identities.board("c1s3", "1", "3") if path == "/v1/reports" else None
    answer = server.call(method, path, body, who=who)
    assert answer.status < 500, (method, path, body, answer.data[:300])
    if answer.status >= 400:
        said = msgspec.json.decode(answer.data, type=Problem)
        assert said.error
        assert len(said.error) < 2000, said.error[:300]


@st.composite
def changed(draw: st.DrawFn, good: object) -> object:
    """`good` with one value somewhere in it exchanged."""
    if isinstance(good, dict | list) and good and draw(st.integers(0, 4)):
        keys = list(good) if isinstance(good, dict) else list(range(len(good)))
        at = draw(st.sampled_from(keys))
        copy = dict(good) if isinstance(good, dict) else list(good)
        copy[at] = draw(changed(good[at]))
        return copy
    return draw(ODD)


def encoded(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return b"[1e999, 18446744073709551616]"


def test_arbitrary_bodies(server: ServerProcess) -> None:
    @FEW
    @given(st.sampled_from(POSTS), st.one_of(st.binary(max_size=200), VALUES.map(encoded)))
    def send(path: str, body: bytes) -> None:
        taken_or_refused(server, "POST", path, body)

    send()
    assert server.call("GET", "/v1/health").status == 200


@pytest.mark.parametrize("path", GOOD)
def test_good_bodies_with_a_value_exchanged(server: ServerProcess, path: str) -> None:
    @settings(FEW, max_examples=60)
    @given(changed(GOOD[path]))
    def send(value: object) -> None:
        taken_or_refused(server, "POST", path, encoded(value))

    send()
    for one in ("/v1/boards", "/v1/servers", "/v1/rollouts", "/v1/alarms", "/v1/software", "/metrics"):
        assert server.call("GET", one).status == 200, one


def test_arbitrary_paths(server: ServerProcess) -> None:
    words = st.sampled_from(["%00", "%ff", "..", "%2f", "/", "a", "\u00e9", "%0a", "?x=%ff", "*", "c1s1", "verify"])
    odd = st.lists(words, max_size=6).map("".join)

    @FEW
    @given(st.sampled_from(GETS), odd, st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]))
    def ask(path: str, rest: str, method: str) -> None:
        answer = server.call(method, path + rest, b"" if method in ("PUT", "POST") else None)
        assert answer.status < 500, (method, path + rest, answer.data[:300])

    ask()


def test_a_body_beyond_the_bound_is_refused_and_not_kept(server: ServerProcess) -> None:
    """Server peak <= 112 MiB, as with honest uploads."""
    body = b'"' + b"x" * (70 * 1024 * 1024) + b'"'
    for path in POSTS:
        answer = server.call("POST", path, body)
        assert answer.status == 413, (path, answer.data[:300])
    assert server.resident < 112 * 1024 * 1024
