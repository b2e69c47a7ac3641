"""A cluster of three servers that is well."""

from typing import Any

import msgspec

from boardwright.cli.doctor.cluster_facts import ClusterFacts, ServerSeen
from boardwright.model.api import BoardStatus
from boardwright.model.diagnosis import (
    CertificateFacts,
    Diagnosis,
    DiskFacts,
    EngineFacts,
    KnownServer,
    NetworkFacts,
    StoreFacts,
)
from boardwright.model.location import Location
from boardwright.model.report import DeploymentState, GroupReport
from tests.unit.cli_doctor.facts import GB, GROUP, NOW

DAY = 86_400.0
PLACES = {"c1s1": Location("1", "1"), "c1s2": Location("1", "2"), "c2s1": Location("2", "1")}
ROLES = {"root": 3650, "targets": 365, "plans": 90, "snapshot": 90, "timestamp": 90}


def api(server: str) -> str:
    return f"https://{server}.lab:6688"


def diagnosis(server: str, **fields: Any) -> Diagnosis:
    place = PLACES[server]
    well = Diagnosis(
        server=server,
        cluster="lab",
        release="0.1.0",
        location=place,
        clock=NOW,
        role="active" if server == "c1s1" else "standby",
        active="c1s1",
        epoch=3,
        generation=7,
        revision=1000,
        health="healthy",
        engine=EngineFacts(kind="sqlite", file="/state.db", journal="wal"),
        disk=DiskFacts(path="/data", free=50 * GB, reserve=GB),
        store=StoreFacts(used=GB, scrubbed=NOW - DAY, period=7 * DAY),
        certificate=CertificateFacts(
            id=server, role="server", location=place, key=f"key of {server}", authority="a", said=place
        ),
        network=NetworkFacts(group=GROUP, heard=dict.fromkeys(PLACES, 0.002)),
        servers=tuple(KnownServer(id=one, location=PLACES[one], api=api(one)) for one in PLACES),
        listed=PLACES,
        versions=("platform 1.0 *",),
        expires={role: NOW + days * DAY for role, days in ROLES.items()},
    )
    return msgspec.structs.replace(well, **fields)


def seen(server: str, ahead: float = 0.0, **fields: Any) -> ServerSeen:
    return ServerSeen(id=server, api=api(server), diagnosis=diagnosis(server, **fields), ahead=ahead)


def board(name: str = "c1s3", **fields: Any) -> BoardStatus:
    well = BoardStatus(name, "1", "3", "lc", 7, 1.0, {"platform": GroupReport("1.0", "1.0", DeploymentState.CONFIRMED)})
    return msgspec.structs.replace(well, **fields)


def cluster(*changed: ServerSeen, **fields: Any) -> ClusterFacts:
    """All three are well but for those that are given."""
    servers = {one: seen(one) for one in PLACES} | {one.id: one for one in changed}
    well = ClusterFacts(cluster="lab", now=NOW, servers=tuple(servers.values()), boards=(board(),), joiners=0)
    return msgspec.structs.replace(well, **fields)
