"""Damage on one server's disk: real servers find it, say so, and repair it from each other."""

import msgspec

from boardwright.model.api import AlarmList, ServerList
from tests.integration.server.processes import ServerCluster, ServerProcess, Software, until


def flip(server: ServerProcess, sha256: str, at: int) -> None:
    path = server.folder / "data" / "store" / "blobs" / sha256[:2] / sha256
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def alarms(server: ServerProcess) -> list[str]:
    listing = server.get("/v1/alarms", AlarmList)
    assert isinstance(listing, AlarmList)
    return [alarm.kind for alarm in listing.alarms]


def counted(server: ServerProcess, name: str) -> float:
    lines = server.call("GET", "/metrics").data.decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"boardwright_{name}_total ")).split()[1])


def test_a_server_that_is_told_of_wrong_bytes_looks_itself_and_repairs_from_a_peer(cluster: ServerCluster) -> None:
    cluster.add(1, 1)
    cluster.add(2, 1)
    active, standby = cluster.active(), cluster.standby()
    software = Software("platform", "1")
    software.publish(active)
    cluster.everywhere(software)
    big, small = (one.sha256 for one in software.manifest.blobs)
    assert standby.call("POST", f"/v1/blobs/{small}/verify").status == 202
    until(lambda: counted(standby, "blobs_checked") == 1, "the sound blob was checked")
    assert counted(standby, "blobs_damaged") == 0
    flip(standby, big, 1_500_000)
    assert standby.call("POST", f"/v1/blobs/{big}/verify").status == 202
    until(lambda: counted(standby, "blobs_repaired") == 1, "the blob was repaired")
    assert standby.blob(big).data == software.contents[0]
    assert "damaged blob repaired" in (log := (standby.folder / "log").read_text())
    assert f"source={active.id}" in log
    assert "kind=damaged-blob" in log
    until(lambda: alarms(active) == [], "the alarm is over")
    assert standby.call("POST", f"/v1/blobs/{'0' * 64}/verify").status == 404
    assert standby.call("POST", "/v1/blobs/nonsense/verify").status == 400


def test_what_no_peer_can_send_is_not_offered_and_repaired_by_publishing_it_again(cluster: ServerCluster) -> None:
    server = cluster.add(1, 1)
    cluster.active()
    software = Software("platform", "1")
    software.publish(server)
    big = software.manifest.blobs[0].sha256
    flip(server, big, 7)
    server.call("POST", f"/v1/blobs/{big}/verify")
    until(lambda: alarms(server) == ["damaged-blob"], "the alarm sounds")
    assert server.blob(big).status == 404

    def versions() -> tuple[str, ...]:
        listing = server.get("/v1/servers", ServerList)
        assert isinstance(listing, ServerList)
        return listing.servers[0].versions

    assert versions() == ()
    assert msgspec.json.decode(server.call("POST", "/v1/blobs/missing", [big]).data) == [big]
    assert software.publish(server).status == 200
    until(lambda: versions() == ("platform 1 *",), "the version is offered again")
    assert alarms(server) == []
    assert server.blob(big).data == software.contents[0]


def test_the_scrubber_finds_damage_that_nobody_complained_of(cluster: ServerCluster) -> None:
    servers = [cluster.add(chassis, 1, start=False) for chassis in (1, 2)]
    for server in servers:
        config = server.folder / "server.toml"
        config.write_text(config.read_text().replace("[server]", '[server]\nscrub = "1s"'))
        server.start()
        until(server.health, f"{server.id} answers")
    software = Software("platform", "1")
    software.publish(cluster.active())
    cluster.everywhere(software)
    standby = cluster.standby()
    flip(standby, software.manifest.blobs[0].sha256, 2_999_999)
    flip(standby, software.digest, 5)
    until(lambda: counted(standby, "blobs_repaired") == 2, "the scrubber found and repaired both")
    cluster.everywhere(software)
    assert standby.blob(software.digest).data == software.encoded
