"""Hardware that decides itself who is active: real servers whose command reads what the test writes."""

from tests.integration.server.processes import ServerCluster, ServerProcess, until


def choose(server: ServerProcess, code: int) -> None:
    (server.folder / "verdict.new").write_text(str(code))
    (server.folder / "verdict.new").rename(server.folder / "verdict")


def add(cluster: ServerCluster, chassis: int, code: int) -> ServerProcess:
    server = cluster.add(chassis, 1, start=False)
    choose(server, code)
    folder = server.folder / "server.toml.d"
    folder.mkdir()
    command = ["/bin/sh", "-c", f'read code < {server.folder}/verdict; exit "$code"']
    (folder / "arbitration.toml").write_text(f"[server]\narbitration = {command}\n")
    server.start()
    until(server.health, f"{server.id} answers")
    return server


def test_the_active_is_the_board_that_the_hardware_chose_and_follows_its_change_of_mind(
    cluster: ServerCluster,
) -> None:
    first, second = add(cluster, 1, 1), add(cluster, 2, 0)
    assert cluster.active() is second
    choose(second, 1)
    until(lambda: (health := second.health()) and health.role == "standby", "the second hands over")
    choose(first, 0)
    until(lambda: (health := first.health()) and health.role == "active", "the first is active")
    choose(first, 7)  # no answer: what is, stays
    choose(second, 0)
    assert cluster.active() is first
