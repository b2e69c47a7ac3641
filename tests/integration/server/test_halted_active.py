"""An active that stands still (SIGSTOP, a frozen machine) and goes on: real servers, one engine."""

import signal
import threading

import urllib3

from boardwright.model.admission import NewToken, TokenList
from tests.integration.server.processes import ServerCluster, until


def test_writes_nothing_and_sends_changes_on_within_a_heartbeat(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    halted, other = cluster.active(), cluster.standby()
    assert halted.process is not None
    halted.process.send_signal(signal.SIGSTOP)
    answers: list[urllib3.BaseHTTPResponse] = []

    def ask() -> None:  # taken by the halted server's kernel, answered when it goes on
        answers.append(halted.call("POST", "/v1/tokens", NewToken("1" * 64, "board", 60.0, 1), redirect=False))

    waiting = threading.Thread(target=ask)
    waiting.start()
    until(lambda: (health := other.health()) and health.role == "active", "the other takes over")
    assert other.call("POST", "/v1/tokens", NewToken("2" * 64, "board", 60.0, 1)).status < 300
    halted.process.send_signal(signal.SIGCONT)

    waiting.join(20)
    (answer,) = answers
    assert answer.status in (307, 503), answer.data
    until(
        lambda: halted.call("POST", "/v1/tokens", NewToken("3" * 64, "board", 60.0, 1), redirect=False).status == 307,
        "it sends changes on",
    )
    health, of_other = halted.health(), other.health()
    assert health is not None
    assert of_other is not None
    assert (health.role, of_other.role) == ("standby", "active")
    tokens = other.get("/v1/tokens", TokenList)
    assert isinstance(tokens, TokenList)
    assert [token.digest for token in tokens.tokens] == ["2" * 64]


def test_nobody_is_sent_to_an_active_that_is_gone(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    gone, standby = cluster.active(), cluster.standby()
    assert standby.call("GET", "/v1/tokens", redirect=False).status == 307
    assert gone.process is not None
    gone.process.send_signal(signal.SIGSTOP)  # as a board without power: it takes connections and says nothing
    seen: list[int] = []

    def took_over() -> bool:
        seen.append(standby.call("GET", "/v1/tokens", redirect=False).status)
        return seen[-1] == 200

    until(took_over, "the standby takes over")
    after = [status for status in seen if status != 307]
    assert after[0] == 503
    assert 307 not in seen[seen.index(503) :]
