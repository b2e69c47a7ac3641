"""Versions reach every control board by themselves, and cross the link between two chassis once."""

import re
import time

from boardwright.model.api import ServerList
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until

PAYLOAD = 12_000_000  # bytes of files
ONCE = 1.05 * PAYLOAD
CAP = 8_000_000  # bytes a second of each server


def crossed(*servers: ServerProcess) -> int:
    """Bytes that these servers have sent out of their chassis, as they count them."""
    total = 0
    for server in servers:
        said = server.call("GET", "/metrics").data.decode()
        found = re.search(r"^boardwright_blob_far_bytes_total (\S+)$", said, re.MULTILINE)
        assert found is not None
        total += int(float(found[1]))
    return total


def limited(server: ServerProcess, limits: str) -> None:
    """Write these limits into a drop-in, for the next start."""
    dropins = server.folder / "server.toml.d"
    dropins.mkdir(exist_ok=True)
    (dropins / "limits.toml").write_text(f"[limits]\n{limits}\n")


def two_chassis(cluster: ServerCluster, inter_chassis: str = "0") -> list[ServerProcess]:
    servers = [cluster.add(chassis, slot, start=False) for chassis in (1, 2) for slot in (1, 2)]
    for server in servers:
        limited(server, f'inter_chassis = "{inter_chassis}"')
        server.start()
    for server in servers:
        until(server.health, f"{server.id} answers")
    active = cluster.active()
    until(lambda: len(active.get("/v1/servers", ServerList).servers) == len(servers), "all have registered")
    return servers


def in_chassis(servers: list[ServerProcess], chassis: str) -> list[ServerProcess]:
    return [server for server in servers if server.id.startswith(f"c{chassis}")]


def test_a_published_version_crosses_the_link_between_two_chassis_once(cluster: ServerCluster) -> None:
    servers = two_chassis(cluster)
    software = Software("platform", "1.0", (PAYLOAD // 3,) * 3)
    assert software.publish(cluster.active()).status == 201
    cluster.everywhere(software)
    assert PAYLOAD <= crossed(*servers) <= ONCE


def test_when_the_carrier_dies_the_other_one_takes_over_and_the_cap_between_chassis_holds(
    cluster: ServerCluster,
) -> None:
    servers = two_chassis(cluster, f"{CAP}B/s")
    active = cluster.active()
    here, there = (in_chassis(servers, chassis) for chassis in (("1", "2") if active.id[1] == "1" else ("2", "1")))
    software = Software("platform", "1.0", (PAYLOAD // 3,) * 3)
    assert software.publish(active).status == 201
    until(lambda: crossed(*here) > PAYLOAD / 4, "a quarter is over the link")
    (carrier,) = [server for server in there if list((server.folder / "data" / "store" / "partial").glob("*"))]
    carrier.kill()
    begun = time.monotonic()
    (other,) = [server for server in there if server is not carrier]
    # What the dead one had asked for is granted and counted all the same: its three open ranges of a quarter second.
    most = crossed(*here) + 3 * CAP // 4 + ONCE
    until(lambda: "platform 1.0 *" in versions(active, other), "the other one has it", 60)
    assert time.monotonic() - begun >= 0.9 * PAYLOAD / CAP
    carrier.start()
    cluster.everywhere(software)
    assert crossed(*here) <= most
    assert crossed(other) == 0


def versions(active: ServerProcess, server: ServerProcess) -> tuple[str, ...]:
    """What the active says that the server holds."""
    found = active.get("/v1/servers", ServerList)
    assert isinstance(found, ServerList)
    return next((one.versions for one in found.servers if one.id == server.id), ())
