"""Which part of the server answers which call: the API's wiring, and what is counted."""

from collections.abc import Callable

import msgspec
from litestar import Litestar

from boardwright.net.multicast import ControlSocket
from boardwright.server.api import (
    boards,
    checks,
    deployments,
    health,
    metrics,
    plan,
    reports,
    retries,
    rollouts,
    servers,
    software,
    uploads,
)
from boardwright.server.api.app import make_app
from boardwright.server.api.gate import active_only, own_cluster_only
from boardwright.server.api.metrics import Counted
from boardwright.server.board_reports import BoardReports
from boardwright.server.claims import Claims
from boardwright.server.damage import Damage
from boardwright.server.deployments import Deployments
from boardwright.server.held import HeldVersions
from boardwright.server.mirror import Mirror
from boardwright.server.own_status import OwnStatus
from boardwright.server.peers import Peers
from boardwright.server.publishing import Publishing
from boardwright.server.responder import Responder
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.server.scrubber import Scrubber, Verifier
from boardwright.server.standing import ServerStanding
from boardwright.transfer.serve import BlobService


class ApiParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls work on; each topic is handed what it needs of it and no more."""

    server: str
    cluster: str
    blobs_url: str
    blobs: BlobService
    mirror: Mirror
    standing: ServerStanding
    board_reports: BoardReports
    claims: Claims
    responder: Responder
    network: Callable[[], ControlSocket | None]
    status: OwnStatus
    peers: Peers
    publishing: Publishing
    deployments: Deployments
    watch: RolloutWatch
    intake: uploads.Intake
    held: HeldVersions
    damage: Damage
    scrubber: Scrubber
    verifier: Verifier


def api(parts: ApiParts) -> Litestar:
    """The whole API; see the table in ``model/api.py`` for who answers what."""
    return make_app(
        everywhere=[
            *health.routes(parts.server, parts.cluster, parts.blobs_url, parts.mirror, parts.standing),
            *plan.routes(parts.mirror),
            *reports.routes(parts.board_reports, parts.claims, parts.mirror),
            *servers.status_routes(parts.peers),
            *checks.routes(parts.verifier),
            *metrics.routes(_counted(parts)),
        ],
        on_the_active=[
            *boards.routes(parts.mirror, parts.board_reports),
            *retries.routes(parts.held),
            *servers.routes(parts.peers),
            *software.routes(parts.mirror),
            *uploads.routes(parts.intake, parts.publishing),
            *deployments.routes(parts.deployments),
            *rollouts.routes(parts.watch),
        ],
        guard=own_cluster_only(parts.cluster),
        gate=active_only(parts.standing, parts.server),
    )


def _counted(parts: ApiParts) -> list[Counted]:
    responder, blobs, mirror = parts.responder, parts.blobs, parts.mirror
    return [
        Counted("active", "1 on the active server", lambda: float(parts.standing.is_active)),
        Counted("plan_generation", "Generation of the newest plan here", lambda: mirror.state.plan.generation),
        Counted("boards", "Boards of the inventory", lambda: len(mirror.state.boards)),
        Counted("versions_held", "Versions held completely", lambda: len(parts.status().versions)),
        Counted("versions_published", "Versions of the catalog", lambda: len(mirror.state.catalog)),
        Counted("load_ratio", "Used share of the admission bound", lambda: blobs.load / 1000),
        Counted("blob_bytes", "Bytes of granted ranges", lambda: blobs.bytes_served, grows=True),
        Counted("blob_far_bytes", "Those that left the chassis", lambda: blobs.bytes_far, grows=True),
        Counted("blob_refusals", "Ranges refused", lambda: dict(blobs.refused), label="reason", grows=True),
        Counted("blob_waits", "Ranges that waited for a cap", lambda: blobs.waited, grows=True),
        Counted("blob_waiting", "Ranges that wait for a cap now", lambda: blobs.waiting),
        Counted("datagrams", "Datagrams taken", lambda: dict(responder.received), label="kind", grows=True),
        Counted("datagrams_dropped", "Datagrams dropped", lambda: dict(responder.dropped), label="reason", grows=True),
        Counted(
            "datagrams_overflowed",
            "Datagrams that the kernel had no room for",
            lambda: 0 if (network := parts.network()) is None else network.overflowed(),
            grows=True,
        ),
        Counted(
            "boards_crowded_out",
            "Words of boards that nobody knows, beyond the rate at which they are taken in",
            lambda: parts.board_reports.crowded_out,
            grows=True,
        ),
        Counted("offers_sent", "Requests answered", lambda: responder.offers_sent, grows=True),
        Counted("scrubbed_bytes", "Bytes read to find damage", lambda: parts.scrubber.bytes_read, grows=True),
        Counted("scrub_rounds", "Times that the whole store was read", lambda: parts.scrubber.rounds, grows=True),
        Counted("blobs_checked", "Blobs checked on request", lambda: parts.verifier.checks, grows=True),
        Counted("blobs_damaged", "Blobs found damaged", lambda: parts.damage.found, grows=True),
        Counted("blobs_repaired", "Damaged blobs that are whole again", lambda: parts.damage.repaired, grows=True),
        Counted(
            "collected_bytes", "Bytes of dropped blobs", lambda: parts.intake.collector.bytes_collected, grows=True
        ),
        Counted("alarms", "Alarms by kind", parts.status.alarms.counts, label="kind"),
        Counted(
            "reports_late",
            "Reports dropped because a later one came before",
            lambda: parts.board_reports.late,
            grows=True,
        ),
    ]
