"""Which part of the server answers which call: the API's wiring."""

from collections.abc import Callable, Iterable

import msgspec
from litestar import Litestar

from boardwright.net.multicast import ControlSocket
from boardwright.server.api import (
    audit,
    backups,
    boards,
    checks,
    deployments,
    diagnosis,
    health,
    joins,
    metadata,
    metrics,
    plan,
    reports,
    retries,
    revocations,
    rollouts,
    servers,
    sessions,
    software,
    switchover,
    upgrade,
    uploads,
)
from boardwright.server.api.acts import NotedRefusals
from boardwright.server.api.app import make_app
from boardwright.server.api.callers import members_only
from boardwright.server.api.gate import active_only, own_cluster_only, while_believed
from boardwright.server.api.metrics import Counted
from boardwright.server.audit import Audit
from boardwright.server.board_reports import BoardReports
from boardwright.server.catching_up import CatchingUp
from boardwright.server.claims import Claims
from boardwright.server.damage import Damage
from boardwright.server.door import Door
from boardwright.server.examiner import Examiner
from boardwright.server.held import HeldVersions
from boardwright.server.holdings import Holdings
from boardwright.server.leading import Leading
from boardwright.server.members import Members
from boardwright.server.metadata import MetadataFiles
from boardwright.server.mirror import Mirror
from boardwright.server.own_status import OwnStatus
from boardwright.server.responder import Responder
from boardwright.server.rollout_watch import RolloutWatch
from boardwright.server.scrubber import Checker, Scrubber
from boardwright.server.standing import ServerStanding
from boardwright.transfer.serve import BlobService
from boardwright.transfer.store import BlobStore


class ApiParts(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls work on; each topic is handed what it needs of it and no more."""

    server: str
    cluster: str
    blobs_url: str
    blobs: BlobService
    store: BlobStore
    holdings: Holdings
    mirror: Mirror
    standing: ServerStanding
    catching_up: CatchingUp
    board_reports: BoardReports
    claims: Claims
    responder: Responder
    network: Callable[[], ControlSocket | None]
    status: OwnStatus
    watch: RolloutWatch
    intake: uploads.Intake
    held: HeldVersions
    damage: Damage
    scrubber: Scrubber
    checker: Checker
    door: Door
    leading: Leading
    members: Members
    audit: Audit
    examiner: Examiner


def api(parts: ApiParts, counted: Iterable[Counted]) -> Litestar:
    """The whole API, `counted` for /metrics; see the table in ``model/api.py`` for who answers what."""
    members = parts.members
    refused = NotedRefusals(parts.audit.refusals)
    return make_app(
        everywhere=[
            *health.routes(
                parts.server,
                parts.cluster,
                parts.blobs_url,
                parts.mirror,
                parts.standing,
                parts.status,
                lambda: parts.catching_up.over,
            ),
            *plan.routes(parts.mirror, parts.catching_up),
            *metadata.board_routes(MetadataFiles(parts.mirror), parts.catching_up),
            *reports.routes(parts.board_reports, parts.claims, parts.mirror, lambda: members.revoked.number),
            *revocations.routes(members.revoked, members.gossip),
            *servers.status_routes(parts.leading.peers),
            *audit.routes(parts.audit.copy),
            *checks.routes(parts.checker),
            *diagnosis.routes(parts.examiner),
            *metrics.routes(counted),
            *sessions.routes(members.callers),
            *joins.authority_routes(parts.door.authority),
        ],
        on_the_active=[
            *boards.routes(parts.mirror, parts.board_reports),
            *retries.routes(parts.held),
            *servers.routes(parts.leading.peers),
            *switchover.routes(parts.leading.switching),
            *upgrade.routes(parts.leading.upgrades),
            *software.routes(parts.mirror),
            *uploads.routes(parts.intake, parts.leading.publishing),
            *deployments.routes(parts.leading.deployments),
            *metadata.routes(parts.mirror, parts.leading.trust_changes),
            *rollouts.routes(parts.watch),
            *backups.routes(parts.leading.restoring),
            *joins.routes(parts.door.admission, parts.door.tokens),
        ],
        guards=[own_cluster_only(parts.cluster), members_only(members.callers, refused)],
        refused=refused,
        gate=while_believed(active_only(parts.standing, parts.server), lambda: parts.mirror.doubt),
        after=revocations.numbered(members.revoked),
    )
