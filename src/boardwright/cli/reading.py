"""The commands that only look: servers, boards, software, explain (``status`` is in ``status.py``)."""

from collections.abc import Sequence
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.model.api import BoardList, ServerList, SoftwareList
from boardwright.model.report import Explanation, GroupReport
from boardwright.model.upgrade import Outcome

COLUMNS = ("epoch", "generation", "versions", "served")
NAMED_VERSIONS = 3  # versions that the table of servers names; `-o json` names all

BoardArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help="One board only.", show_default=False)]


def servers(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show every server: its place, role, health and what it has served."""
    with connect(context, operator) as client:
        found = client.servers()
    if form is Format.JSON:
        output.show_json(found)
    else:
        show_servers(found)


def boards(
    context: typer.Context,
    board: BoardArgument = None,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show every board: what it runs, what it should run, from where it gets it."""
    with connect(context, operator) as client:
        found = client.boards(board)
    if form is Format.JSON:
        output.show_json(found)
        return
    show_boards(found)
    if board is not None:
        for name, group in sorted((name, group) for one in found.boards for name, group in one.groups.items()):
            if group.log:
                wanted = f" {group.wanted}" if group.wanted else ""
                output.say(f"\n{name}{wanted}, its way and what hooks and health check printed last:")
                output.say(group.log.rstrip())


def software(
    context: typer.Context,
    group: Annotated[str | None, typer.Argument(metavar="[GROUP]", help="One group only.", show_default=False)] = None,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the published versions."""
    with connect(context, operator) as client:
        found = client.software(group)
    if form is Format.JSON:
        output.show_json(found)
    else:
        show_software(found)


def explain(
    context: typer.Context,
    board: Annotated[str, typer.Argument(metavar="BOARD")],
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show the offers that a board heard, how it ranked them, why it chose as it did, and who sent what."""
    with connect(context, operator) as client:
        found = client.explanations(board)
        groups = client.boards(board).boards[0].groups
    if form is Format.JSON:
        received = {
            group: {"bytes": sum(one.bytes.values()), "relayed": one.relayed, "givers": one.givers}
            for group, one in groups.items()
        }
        output.show_json({"board": board, "explanations": found, "received": received})
        return
    if not found:
        output.note(f"{board} has not chosen a server since its agent and this server started")
    for explanation in found:
        show_explanation(board, explanation)
        if explanation.group in groups:
            show_givers(groups[explanation.group])


def show_servers(found: ServerList) -> None:
    """`servers` as a table."""
    releases = any(server.release for server in found.servers)
    output.show_table(
        ("server", "chassis", "slot", "role", "health", *("release",) * releases, *COLUMNS),
        (
            (
                server.id,
                server.chassis,
                server.slot,
                server.role,
                server.health,
                *(server.release or "-",) * releases,
                server.epoch,
                server.generation,
                _versions(server.versions),
                output.size(server.bytes_served),
            )
            for server in found.servers
        ),
        "no server has announced itself yet",
    )
    if found.upgrade is not None and found.upgrade.state != Outcome.DONE.value:
        one = found.upgrade
        why = one.reason or one.waits
        output.say(f"upgrade {one.id} to {one.version}: {one.state}{f'; {why}' if why else ''}")


def _versions(versions: Sequence[str]) -> str:
    """The versions that a server holds, or how many if a line cannot name them."""
    if len(versions) > NAMED_VERSIONS:
        return f"{len(versions)} versions"
    return ", ".join(versions) or "-"


def show_boards(found: BoardList) -> None:
    """`boards` as a table, one line for each board and group."""
    rows: list[tuple[object, ...]] = []
    for board in found.boards:
        place = (board.id, board.chassis, board.slot, board.type)
        if not board.groups:
            rows.append((*place, "-", "-", "-", "-", "-", "-", output.ago(board.seen), board.conflict))
        for name, group in sorted(board.groups.items()):
            source = f"{group.server.id} ({group.server.tier.value})" if group.server else "-"
            rows.append(
                (
                    *place,
                    name,
                    group.version or "-",
                    group.wanted or "-",
                    group.state.value,
                    output.percent(group) or "-",
                    source,
                    output.ago(board.seen),
                    group.reason or board.conflict,
                )
            )
    columns = (
        "board",
        "chassis",
        "slot",
        "type",
        "group",
        "version",
        "wanted",
        "state",
        "got",
        "from",
        "seen",
        "reason",
    )
    output.show_table(columns, rows, "the cluster knows no boards yet")


def show_software(found: SoftwareList) -> None:
    """`software` as a table."""
    output.show_table(
        ("group", "version", "variant", "size", "manifest"),
        (
            (
                entry.group,
                entry.version,
                entry.variant,
                "retired" if entry.retired else output.size(entry.size),
                entry.manifest[:12],
            )
            for entry in found.software
        ),
        "nothing has been published yet",
    )


def show_givers(group: GroupReport) -> None:
    """Who sent the files of a group, the most first."""
    if not group.givers:
        return
    order = sorted(group.givers.items(), key=lambda giver: (-giver[1], giver[0]))
    output.say(
        f"received {output.size(sum(group.bytes.values()))}, {output.size(group.relayed)} of it from relays: "
        + ", ".join(f"{name} {output.size(count)}" for name, count in order)
    )


def show_explanation(board: str, explanation: Explanation) -> None:
    """One group's choice: the reason, then every offer in the order of its rank."""
    ranked = sorted(explanation.offers, key=lambda offer: (offer.rank is None, offer.rank or 0, offer.source.id))
    output.say(
        f"{board}, {explanation.group} (manifest {explanation.manifest[:12]}): {explanation.reason}"
        f" [{explanation.milliseconds:.0f} ms, {len(ranked)} offers]"
    )
    output.show_table(
        ("rank", "server", "chassis", "slot", "tier", "load", "generation", "holding", "reason"),
        (
            (
                offer.rank if offer.rank is not None else "-",
                offer.source.id,
                offer.source.chassis,
                offer.source.slot,
                offer.source.tier.value,
                f"{100 * offer.load:.0f} %",
                offer.generation,
                offer.holding,
                offer.reason,
            )
            for offer in ranked
        ),
        "no offer was heard",
    )
    if explanation.ignored:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(explanation.ignored.items()))
        output.say(f"not believed since the agent started: {counts}")
