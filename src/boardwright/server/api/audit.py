"""GET /v1/audit: the copy of the audit log that this very server has.

Every server answers for itself, whether or not the engine does: who compares them sees what one of them has changed.
"""

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from boardwright.model.audit import AuditPage
from boardwright.server.audit_copy import MAX_PAGE, AuditCopy


def routes(copy: AuditCopy) -> list[HTTPRouteHandler]:
    @get("/v1/audit", sync_to_thread=True)
    def audit(after: FromQuery[int] = 0, limit: FromQuery[int] = MAX_PAGE) -> AuditPage:
        """At most `limit` records after the one with the number `after`; 0 asks for the ends of the log alone."""
        return copy.page(max(0, after), min(max(0, limit), MAX_PAGE))

    return [audit]
