"""The commands that only look: status, servers, boards, software, explain."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.errors import FailedError
from boardwright.model.api import BoardList, BoardStatus, ServerList, SoftwareList
from boardwright.model.report import SILENT_AFTER, DeploymentState, Explanation

NAMED_VERSIONS = 3  # versions that the table of servers names; `-o json` names all
NAMED_BOARDS = 5  # boards that `status` names of each trouble

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
    """Show the offers that a board heard, how it ranked them, and why it chose as it did."""
    with connect(context, operator) as client:
        found = client.explanations(board)
    if form is Format.JSON:
        output.show_json({"board": board, "explanations": found})
        return
    if not found:
        output.note(f"{board} has not chosen a server since its agent and this server started")
    for explanation in found:
        show_explanation(board, explanation)


def show_servers(found: ServerList) -> None:
    """`servers` as a table."""
    output.show_table(
        ("server", "chassis", "slot", "role", "health", "epoch", "generation", "versions", "served"),
        (
            (
                server.id,
                server.chassis,
                server.slot,
                server.role,
                server.health,
                server.epoch,
                server.generation,
                _versions(server.versions),
                output.size(server.bytes_served),
            )
            for server in found.servers
        ),
        "no server has announced itself yet",
    )


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


def status(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show in a few lines how the cluster is; exit 1 if it takes no changes now."""
    with connect(context, operator) as client:
        health, found_servers, found_boards, rollouts, alarms = (
            client.health(),
            client.servers(),
            client.boards(),
            client.rollouts(),
            client.alarms().alarms,
        )
    states: dict[str, int] = {}
    for board in found_boards.boards:
        for group in board.groups.values():
            states[group.state.value] = states.get(group.state.value, 0) + 1
    active = next((server.id for server in found_servers.servers if server.role == "active"), None)
    sick = {server.id: server.health for server in found_servers.servers if server.health != "healthy"}
    running = [rollout.id for rollout in rollouts.rollouts if rollout.state == "running"]
    trouble = tuple(_trouble(sick, found_boards))
    if form is Format.JSON:
        output.show_json(
            {
                "cluster": health.cluster,
                "generation": health.generation,
                "engine": health.engine,
                "active": active,
                "servers": len(found_servers.servers),
                "unhealthy": sick,
                "boards": len(found_boards.boards),
                "states": states,
                "rollouts_running": running,
                "trouble": trouble,
                "alarms": alarms,
            }
        )
    else:
        output.say(f"cluster {health.cluster}, plan generation {health.generation}, release {health.release}")
        output.say(f"servers: {len(found_servers.servers)}, active {active or 'none'}")
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "nothing deployed"
        output.say(f"boards: {len(found_boards.boards)}; groups on them: {counts}")
        output.say(f"rollouts running: {', '.join(running) or 'none'}")
        for sentence in trouble:
            output.say(f"trouble: {sentence}")
        for alarm in alarms:
            output.say(f"alarm {alarm.kind} ({alarm.server}, {output.ago(alarm.seconds)}): {alarm.sentence}")
    if health.engine or active is None:
        raise FailedError(f"changes are not taken now: {health.engine or 'no server is active'}")


def _trouble(sick: Mapping[str, str], boards: BoardList) -> Iterator[str]:
    """A sentence for each kind of thing that somebody should look at."""
    for server, health in sorted(sick.items()):
        yield f"server {server} is {health}"
    failed = [board.id for board in boards.boards if _has_failed(board)]
    silent = [board.id for board in boards.boards if board.seen is None or board.seen > SILENT_AFTER]
    misplaced = [board.id for board in boards.boards if board.conflict]
    for ids, what in (
        (failed, "failed a deployment"),
        (silent, f"not heard for {SILENT_AFTER:.0f} s"),
        (misplaced, "activate nothing, location-conflict"),
    ):
        if ids:
            named = ", ".join(ids[:NAMED_BOARDS]) + (" ..." if len(ids) > NAMED_BOARDS else "")
            yield f"{output.count(len(ids), 'board')} {what}: {named}"


def _has_failed(board: BoardStatus) -> bool:
    return any(group.state is DeploymentState.FAILED for group in board.groups.values())
