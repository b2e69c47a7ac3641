"""What a demo leaves behind in words and, for programs, in a file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from boardwright.cli import output
from boardwright.cli.demo.software import GROUP
from boardwright.errors import FailedError
from boardwright.model.api import BoardList, BoardStatus, ServerStatus
from boardwright.model.location import Tier
from boardwright.model.report import GroupReport
from boardwright.model.upgrade import UpgradeStatus


class Upgraded(msgspec.Struct, frozen=True):
    """`least` servers offered at the worst of `looks` moments; `deployments` went to all boards meanwhile.

    `refetched` are bytes of verified pieces that came again.
    """

    status: UpgradeStatus
    seconds: float
    least: int
    looks: int
    deployments: int
    refetched: int


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """`boards` and `servers` are those of the commands of that name; `killed` is a server's id.

    `received` are the bytes that boards fetched in both deployments, by tier; `failovers` how often one changed
    servers in the middle.
    """

    boards: tuple[BoardStatus, ...]
    servers: tuple[ServerStatus, ...]
    seconds: float
    killed: str | None
    version: str
    multicast: bool
    received: dict[Tier, int]
    failovers: int
    upgrade: Upgraded | None = None


def received(boards: BoardList, before: Mapping[Tier, int] | None = None) -> dict[Tier, int]:
    """Bytes by tier of the boards' current deployments, on top of those `before`."""
    total = {tier: (before or {}).get(tier, 0) for tier in Tier}
    for group in groups(boards):
        for tier, count in group.bytes.items():
            total[tier] += count
    return total


def groups(boards: BoardList) -> list[GroupReport]:
    """The demo's group on every board that reports it."""
    return [board.groups[GROUP] for board in boards.boards if GROUP in board.groups]


def write(report: Report, path: Path) -> None:
    """Write the report as JSON; raises FailedError if the file cannot be written."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise FailedError(f"the report could not be written to {path}") from error


def summary(report: Report) -> Iterator[str]:
    """The end of the story, line by line."""
    boards = output.count(len(report.boards), "board")
    yield f"Confirmed on {boards}, which is all: {GROUP} {report.version}, after {report.seconds:.0f} s."
    yield "Served to boards and to other servers:"
    for server in report.servers:
        killed = ", until it was killed" if server.id == report.killed else ""
        place = f"chassis {server.chassis}, slot {server.slot}"
        yield f"  {server.id} ({place}): {output.size(server.bytes_served)}{killed}"
    if report.upgrade is not None:
        yield from _upgrade(report.upgrade, report.failovers, len(report.servers))
        return
    yield f"Boards received: {output.tiers(report.received) or 'nothing'}"
    if report.killed is None:
        yield "No server was killed: " + (
            "no download from another than the active was caught in its middle"
            if len(report.servers) > 1
            else "there is only one"
        )
    else:
        yield f"The server on {report.killed} was killed in mid-download; failovers: {report.failovers}."


def _upgrade(told: Upgraded, failovers: int, servers: int) -> Iterator[str]:
    yield f"{output.count(servers, 'server')} upgraded to {told.status.version} in {told.seconds:.0f} s, one at a time."
    yield f"At any of {told.looks} looks at least {told.least} of them served."
    meanwhile = output.count(told.deployments, "deployment")
    yield f"Meanwhile {meanwhile} went to all boards, and none failed."
    yield f"Failovers: {failovers}; bytes of verified pieces that came again: {told.refetched}."
