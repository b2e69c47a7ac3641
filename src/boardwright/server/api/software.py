"""GET /v1/software: the versions of the catalog."""

from collections.abc import Iterable

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from boardwright.model.api import SoftwareList, VersionSummary
from boardwright.server.mirror import Mirror
from boardwright.state.records import CatalogRecord


def routes(mirror: Mirror) -> list[HTTPRouteHandler]:
    @get("/v1/software", sync_to_thread=False)
    def software() -> SoftwareList:
        return _listing(mirror.state.catalog.values())

    @get("/v1/software/{group:str}", sync_to_thread=False)
    def group_software(group: FromPath[str]) -> SoftwareList:
        records = [record for record in mirror.state.catalog.values() if record.group == group]
        if not records:
            known = ", ".join(sorted({record.group for record in mirror.state.catalog.values()})) or "none"
            raise NotFoundException(f"no version of a group {group!r} is published; groups: {known}")
        return _listing(records)

    return [software, group_software]


def summary(record: CatalogRecord) -> VersionSummary:
    return VersionSummary(
        group=record.group,
        version=record.version,
        variant=record.variant,
        manifest=record.manifest,
        size=record.size,
        published=record.published,
        retired=record.retired,
    )


def _listing(records: Iterable[CatalogRecord]) -> SoftwareList:
    ordered = sorted(records, key=lambda record: (record.group, record.published, record.version, record.variant))
    return SoftwareList(tuple(summary(record) for record in ordered))
