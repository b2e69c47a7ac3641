"""A board that rolled back from a version does not try it again, not even without its disk, until `retry` is said."""

import shutil

from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, software


def test_a_board_that_lost_its_disk_waits_for_the_operator(cluster: Cluster) -> None:
    cluster.init([(1, 1, True), (1, 3, False)])
    cluster.start_servers("c1s1")
    repaired, tries = cluster.directory / "repaired", cluster.directory / "tries"
    publish(cluster, software(cluster.directory, "one"), "1")
    health = f"echo tried >> {tries}; echo the card is broken; test -e {repaired}"
    publish(cluster, software(cluster.directory, "two", health=health), "2")
    assert cluster.run("deploy", "platform", "1", "--to", "c1s3").returncode == 0
    cluster.start_agents("c1s3")
    cluster.until_confirmed("1", "c1s3")

    assert cluster.run("retry", "c1s3").returncode == 1
    assert cluster.run("deploy", "platform", "2", "--to", "c1s3", "--watch").returncode == 1
    cluster.until("the version is held", lambda: "retry c1s3" in cluster.group("c1s3")["reason"])
    assert len(tries.read_text().splitlines()) == 1

    agent = cluster.processes["agent-c1s3"]
    agent.kill()
    agent.wait()
    shutil.rmtree(cluster.directory / "boards" / "c1s3" / "root")
    shutil.rmtree(cluster.directory / "boards" / "c1s3" / "state")
    cluster.start_agents("c1s3")
    cluster.until("the blank board reports", lambda: cluster.group("c1s3")["version"] is None)
    held = cluster.group("c1s3")
    assert (held["wanted"], held["state"]) == ("2", "failed")
    assert "the card is broken" in held["log"]
    assert "the card is broken" in cluster.run("boards", "c1s3").stdout
    assert "retry c1s3" in cluster.run("deploy", "platform", "2", "--to", "c1s3", "--dry-run").stdout
    assert len(tries.read_text().splitlines()) == 1

    repaired.touch()
    done = cluster.run("retry", "c1s3")
    assert done.returncode == 0, done.stderr
    assert "platform 2 again" in done.stdout
    cluster.until_confirmed("2", "c1s3")
    assert len(tries.read_text().splitlines()) == 2
    cluster.until(
        "the rollout is done", lambda: cluster.read("rollout", "show", "r2")["rollouts"][0]["state"] == "done"
    )
    assert cluster.run("retry", "c1s3").returncode == 1
