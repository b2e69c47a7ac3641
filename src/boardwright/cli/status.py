"""``boardwright status``: in a few lines how the cluster is, with an active server and without one."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
import typer

from boardwright.cli import output
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect
from boardwright.errors import FailedError, UnreachableError
from boardwright.model.api import Alarm, BoardList, BoardStatus, Health
from boardwright.model.report import SILENT_AFTER, DeploymentState
from boardwright.net.api_client import ApiClient

NAMED_BOARDS = 5  # boards that `status` names of each trouble


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The stable JSON of `status` (docs/json.md); `boards` is None if nobody knows, because nobody is active."""

    cluster: str
    generation: int
    engine: str
    active: str | None = None
    servers: int
    unhealthy: dict[str, str]
    boards: int | None = None
    states: dict[str, int] = {}
    rollouts_running: tuple[str, ...] = ()
    trouble: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    works: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()


def status(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show in a few lines how the cluster is; exit 1 if it takes no changes now."""
    with connect(context, operator) as client:
        health = client.health()
        everybody = (health,) if health.active else client.healths() or (health,)
        found = _without_active(everybody)
        if any(one.active for one in everybody):
            try:
                found = _of_active(client, health)
            except UnreachableError:
                # The active went while it was asked: what the servers say for themselves is true all the same.
                found = _without_active(client.healths() or everybody)
    if form is Format.JSON:
        output.show_json(found)
    else:
        _show(found, health.release)
    if found.active is None or found.engine:
        raise FailedError(f"changes are not taken now: {found.engine or 'no server is active'}")


def _of_active(client: ApiClient, health: Health) -> Status:
    servers, boards, rollouts = client.servers().servers, client.boards(), client.rollouts().rollouts
    states: dict[str, int] = {}
    for board in boards.boards:
        for group in board.groups.values():
            states[group.state.value] = states.get(group.state.value, 0) + 1
    sick = {server.id: server.health for server in servers if server.health != "healthy"}
    return Status(
        cluster=health.cluster,
        generation=health.generation,
        engine=health.engine,
        active=next((server.id for server in servers if server.role == "active"), None),
        servers=len(servers),
        unhealthy=sick,
        boards=len(boards.boards),
        states=states,
        rollouts_running=tuple(rollout.id for rollout in rollouts if rollout.state == "running"),
        trouble=(*_sick(sick), *_trouble(boards)),
        alarms=client.alarms().alarms,
        works=health.works,
        waits=health.waits,
    )


def _without_active(answers: Iterable[Health]) -> Status:
    """What the servers that answer say for themselves; the newest plan among them speaks for all."""
    servers = {one.server: one for one in answers}
    newest = max(servers.values(), key=lambda one: one.generation)
    sick = {one.server: f"serves, but takes no changes: {one.engine}" for one in servers.values() if one.engine}
    return Status(
        cluster=newest.cluster,
        generation=newest.generation,
        engine=newest.engine,
        servers=len(servers),
        unhealthy=sick,
        works=tuple(dict.fromkeys(sentence for one in servers.values() for sentence in one.works)),
        waits=tuple(dict.fromkeys(sentence for one in servers.values() for sentence in one.waits)),
    )


def _show(found: Status, release: str) -> None:
    output.say(f"cluster {found.cluster}, plan generation {found.generation}, release {release}")
    if found.boards is None:
        output.say(f"servers: {found.servers} answer, none is active")
    else:
        output.say(f"servers: {found.servers}, active {found.active or 'none'}")
        counts = ", ".join(f"{count} {state}" for state, count in sorted(found.states.items())) or "nothing deployed"
        output.say(f"boards: {found.boards}; groups on them: {counts}")
        output.say(f"rollouts running: {', '.join(found.rollouts_running) or 'none'}")
    if found.waits:
        for sentence in found.works:
            output.say(f"works: {sentence}")
    for sentence in found.waits:
        output.say(f"waits: {sentence}")
    for sentence in found.trouble:
        output.say(f"trouble: {sentence}")
    for alarm in found.alarms:
        output.say(f"alarm {alarm.kind} ({alarm.server}, {output.ago(alarm.seconds)}): {alarm.sentence}")


def _sick(servers: Mapping[str, str]) -> Iterator[str]:
    for server, health in sorted(servers.items()):
        yield f"server {server}: {health}" if " " in health else f"server {server} is {health}"


def _trouble(boards: BoardList) -> Iterator[str]:
    """A sentence for each kind of thing that somebody should look at."""
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
