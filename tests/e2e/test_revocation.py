"""The operator revokes a control board and a line board while the engine is gone."""

from pathlib import Path

import pytest

from boardwright.agent.ledger import Ledger
from boardwright.config import load_agent
from boardwright.errors import RefusedError
from boardwright.trust.credentials import Credentials, load_credentials
from boardwright.trust.lines import lines_of
from boardwright.trust.revoked import FILE, RevokedKeys
from tests.e2e.cluster import Cluster

WITHIN = 15.0  # seconds; a heartbeat is five, and the machine has other things to do


def test_a_revocation_reaches_everybody_within_seconds_without_the_engine(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (2, 1, True), (1, 3, False), (1, 4, False), (1, 5, False)])
    cluster.start_servers("c1s1", "c2s1")
    cluster.start_agents("c1s3", "c1s4", "c1s5")
    for board in ("c1s3", "c1s4", "c1s5"):
        cluster.until(f"{board} knows both servers", lambda board=board: heard(cluster, board) == {"c1s1", "c2s1"})  # type: ignore[misc]

    end(cluster, "agent-c1s5")  # it is off while it happens
    lose_the_engine(cluster)
    stolen = credentials(cluster, "c1s3")
    api = f"https://{cluster.address(1, 1)}:6688"
    line = lines_of(stolen).manager(retries=False).connection_from_url(api)
    assert line.urlopen("POST", "/v1/reports", body=b"[]").status == 202

    for number, gone in enumerate(("c1s3", "c2s1"), 1):
        done = cluster.run("revoke", gone)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{gone} is revoked"), done.stdout
        cluster.until("the other board has the list", lambda number=number: known(cluster, "c1s4") == number, WITHIN)  # type: ignore[misc]
    with pytest.raises(RefusedError, match="the key of c1s3 is revoked"):
        line.urlopen("POST", "/v1/reports", body=b"[]")
    cluster.until("the control board ended", lambda: cluster.processes["server-c2s1"].poll() == 3, WITHIN)
    cluster.start_agents("c1s5")
    cluster.until("a board that was off has the list", lambda: known(cluster, "c1s5") == 2, WITHIN)
    assert known(cluster, "c1s3") <= 2  # nobody keeps it from hearing of it


def lose_the_engine(cluster: Cluster) -> None:
    """Take the state away from servers that know each other, and start them again."""
    servers = ("c1s1", "c2s1")
    for server in servers:
        end(cluster, f"server-{server}")
    for file in cluster.directory.glob("state.db*"):
        file.unlink()
    (cluster.directory / "state.db").mkdir()  # no engine can open this
    for server in servers:
        cluster.start("server", server)
    for server in servers:
        cluster.until_answers(server)


def end(cluster: Cluster, name: str) -> None:
    cluster.processes[name].kill()
    cluster.processes[name].wait()


def credentials(cluster: Cluster, board: str) -> Credentials:
    own = load_agent(cluster.directory / "out" / board / "agent.toml").cluster
    return load_credentials(own.certificate, own.key, own.trust, own.name, board)


def heard(cluster: Cluster, board: str) -> set[str]:
    """The servers that the board has heard."""
    return set(Ledger(state(cluster, board)).load().servers)


def known(cluster: Cluster, board: str) -> int:
    """The number of the list that the board has on its disk."""
    authority = credentials(cluster, board).authority
    return RevokedKeys(state(cluster, board) / FILE, authority, lambda *_: None).number


def state(cluster: Cluster, board: str) -> Path:
    return cluster.directory / "boards" / board / "state"
