"""What operators want of the active, put together: publish, deploy, hand over, upgrade, restore."""

import time

import msgspec

from boardwright.config import ServerSettings
from boardwright.server.audit import Audit
from boardwright.server.board_reports import BoardReports
from boardwright.server.clocks import Clocks
from boardwright.server.deployments import Deployments
from boardwright.server.held import HeldVersions
from boardwright.server.holdings import Holdings
from boardwright.server.mirror import Mirror
from boardwright.server.own_status import OwnStatus
from boardwright.server.peers import Peers
from boardwright.server.publishing import PublishEvents, Publishing
from boardwright.server.restoring import Restoring, heard_from
from boardwright.server.signing import Signing
from boardwright.server.storage import Storage
from boardwright.server.switchover import Switching
from boardwright.server.trust_changes import TrustChanges
from boardwright.server.upgrades import Upgrades
from boardwright.server.upgrading import Upgrading
from boardwright.state.active import ActiveRole
from boardwright.state.kv import KV


class Leading(msgspec.Struct, frozen=True):
    """The parts; `upgrading` has its rounds with the executor's."""

    peers: Peers
    deployments: Deployments
    switching: Switching
    upgrading: Upgrading
    upgrades: Upgrades
    publishing: Publishing
    restoring: Restoring
    trust_changes: TrustChanges


def leading(  # noqa: PLR0913 - every part of the server that takes part in it
    settings: ServerSettings,
    kv: KV,
    role: ActiveRole,
    audit: Audit,
    mirror: Mirror,
    holdings: Holdings,
    storage: Storage,
    board_reports: BoardReports,
    status: OwnStatus,
    clocks: Clocks,
    held: HeldVersions,
    signing: Signing,
) -> Leading:
    """Of the server with these settings."""
    own = settings.id
    peers = Peers(mirror, status, time.monotonic, clocks)
    deployments = Deployments(kv, audit.commit, mirror, signing, time.time)
    switching = Switching(own, role, audit.recorded, peers.listing, time.monotonic, time.sleep)
    upgrading = Upgrading(
        own,
        kv,
        role.commit,
        mirror,
        board_reports,
        peers.listing,
        signing,
        switching,
        deployments,
        audit.own,
        time.monotonic,
    )
    upgrades = Upgrades(
        own, kv, audit.commit, mirror, held, upgrading.views, peers.listing, lambda: upgrading.waits, time.time
    )
    publishing = Publishing(
        kv,
        audit.commit,
        mirror,
        storage.blobs,
        storage.pieces,
        PublishEvents(storage.collector.touch, storage.published),
        signing,
        time.time,
    )
    restoring = Restoring(
        settings.cluster.name,
        kv,
        role.commit,
        audit.commit,
        mirror,
        holdings,
        signing,
        heard_from(peers, board_reports),
    )
    trust_changes = TrustChanges(kv, audit.commit, mirror, signing)
    return Leading(peers, deployments, switching, upgrading, upgrades, publishing, restoring, trust_changes)
