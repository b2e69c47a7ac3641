"""What this server counts, for /metrics: read when it is asked for, from what the parts know anyway.

Every server answers for itself. What boards say is complete on the active only, to which the others pass it on.
"""

from collections import Counter

from boardwright.model.report import DeploymentState
from boardwright.server.api.metrics import Counted
from boardwright.server.board_reports import BoardReports
from boardwright.server.routes import ApiParts


def counted(parts: ApiParts) -> list[Counted]:
    """Everything that ``docs/operate/metrics.md`` lists."""
    responder, blobs, mirror = parts.responder, parts.blobs, parts.mirror
    return [
        Counted("active", "1 on the active server", lambda: float(parts.standing.is_active)),
        Counted("plan_generation", "Generation of the newest plan here", lambda: mirror.state.plan.generation),
        Counted("lease_epoch", "Epoch of the newest lease seen here", lambda: parts.standing.epoch),
        Counted("engine_up", "1 if changes are taken", lambda: float(not parts.standing.engine)),
        Counted("revocations", "Number of the list of revoked keys here", lambda: parts.members.revoked.number),
        Counted("boards", "Boards of the inventory", lambda: len(mirror.state.boards)),
        Counted("groups", "Groups on boards by state", lambda: _by_state(parts.board_reports), label="state"),
        Counted("groups_held", "Groups on boards that wait for a retry", lambda: len(mirror.state.held)),
        Counted("versions_held", "Versions held completely", lambda: len(parts.status().versions)),
        Counted("versions_published", "Versions of the catalog", lambda: len(mirror.state.catalog)),
        Counted("versions_incomplete", "Versions still to be copied here", lambda: len(parts.holdings.incomplete())),
        Counted("store_bytes", "Bytes of complete blobs", lambda: sum(parts.store.sizes().values())),
        Counted("disk_free_bytes", "Bytes free where the blobs lie", lambda: parts.store.space.free),
        Counted("load_ratio", "Used share of the admission bound", lambda: blobs.load / 1000),
        Counted("blob_bytes", "Bytes of granted ranges", lambda: blobs.bytes_served, grows=True),
        Counted("blob_far_bytes", "Those that left the chassis", lambda: blobs.bytes_far, grows=True),
        Counted("blob_refusals", "Ranges refused", lambda: dict(blobs.refused), label="reason", grows=True),
        Counted("blob_waits", "Ranges that waited for a cap", lambda: blobs.waited, grows=True),
        Counted("blob_waiting", "Ranges that wait for a cap now", lambda: blobs.waiting),
        Counted("datagrams", "Datagrams taken", lambda: dict(responder.received), label="kind", grows=True),
        Counted("datagrams_dropped", "Datagrams dropped", lambda: dict(responder.ignored), label="reason", grows=True),
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
        Counted("blobs_checked", "Blobs checked on request", lambda: parts.checker.checks, grows=True),
        Counted("blobs_damaged", "Blobs found damaged", lambda: parts.damage.found, grows=True),
        Counted("blobs_repaired", "Damaged blobs that are whole again", lambda: parts.damage.repaired, grows=True),
        Counted(
            "collected_bytes", "Bytes of dropped blobs", lambda: parts.intake.collector.bytes_collected, grows=True
        ),
        Counted(
            "calls_refused", "Calls refused, by why", lambda: dict(parts.audit.refusals.counts), label="why", grows=True
        ),
        Counted("audit_records", "Records of the audit log copied here", lambda: parts.audit.copy.head.number),
        Counted("alarms", "Alarms by kind", parts.status.alarms.counts, label="kind"),
        Counted(
            "reports_late",
            "Reports dropped because a later one came before",
            lambda: parts.board_reports.late,
            grows=True,
        ),
    ]


def _by_state(board_reports: BoardReports) -> dict[str, float]:
    """How many groups are in each state, those with none included."""
    counts = Counter(group.state for view in board_reports.views().values() for group in view.groups.values())
    return {state.value: float(counts[state]) for state in DeploymentState}
