"""What operators want of the active, put together: deploy, hand over, upgrade."""

import time

import msgspec

from boardwright.server.audit import Audit
from boardwright.server.board_reports import BoardReports
from boardwright.server.clocks import Clocks
from boardwright.server.deployments import Deployments
from boardwright.server.held import HeldVersions
from boardwright.server.mirror import Mirror
from boardwright.server.own_status import OwnStatus
from boardwright.server.peers import Peers
from boardwright.server.signing import Signing
from boardwright.server.switchover import Switching
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


def leading(  # noqa: PLR0913 - every part of the server that takes part in it
    own: str,
    kv: KV,
    role: ActiveRole,
    audit: Audit,
    mirror: Mirror,
    board_reports: BoardReports,
    status: OwnStatus,
    clocks: Clocks,
    held: HeldVersions,
    signing: Signing,
) -> Leading:
    """Of the server `own`."""
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
    return Leading(peers, deployments, switching, upgrading, upgrades)
