"""What a person sees of the demo: a live table on a terminal, a line per change in a pipe."""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from boardwright.cli import output
from boardwright.cli.demo.software import GROUP
from boardwright.model.api import BoardList, BoardStatus
from boardwright.model.report import DeploymentState, GroupReport

REFRESHES = 4  # per second; more is flicker, less does not look alive
BAR_WIDTH = 20  # columns; the table fits into 100
_STYLES = {
    DeploymentState.DOWNLOADING: "cyan",
    DeploymentState.CONFIRMED: "green",
    DeploymentState.FAILED: "bold red",
    DeploymentState.ROLLING_BACK: "red",
}


class View(Protocol):
    """Where the story is told."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, text: str) -> None:
        """One thing that happened."""
        ...

    def show(self, boards: BoardList) -> None:
        """How the boards are now."""
        ...


def view() -> View:
    """The view that fits stdout."""
    console = output.standard()
    return LiveView(console) if console.is_terminal else PlainView()


class LiveView:
    """A table that changes in place; what happened scrolls above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=REFRESHES, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(text)

    def show(self, boards: BoardList) -> None:
        self._live.update(Group("", _table(boards.boards)))


class PlainView:
    """A line whenever a board's state, version or source changes."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        output.say(text)

    def show(self, boards: BoardList) -> None:
        for board in boards.boards:
            group = board.groups.get(GROUP, GroupReport())
            if group.wanted is None:
                continue
            source = f" from {source_of(group)}" if group.server else ""
            line = f"{board.id}: {versions(group)} {group.state.value}{source}"
            if self._seen.get(board.id) != line:
                self._seen[board.id] = line
                output.say(f"  {line}")


def versions(group: GroupReport) -> str:
    """What runs, and what shall run."""
    if group.wanted in (None, group.version):
        return group.version or "-"
    return f"{group.version or 'nothing'} -> {group.wanted}"


def source_of(group: GroupReport) -> str:
    """The server and its tier."""
    return f"{group.server.id} ({group.server.tier.value})" if group.server else ""


def progress(group: GroupReport) -> float:
    """The fetched share of what a deployment needs to fetch, 0 to 1."""
    return min(1.0, sum(group.bytes.values()) / group.total) if group.total else 0.0


def _table(boards: Iterable[BoardStatus]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("board", "chassis/slot", "type", "version", "state", "progress", "from"):
        table.add_column(column, no_wrap=True)
    for board in boards:
        group = board.groups.get(GROUP, GroupReport())
        table.add_row(
            board.id,
            f"{board.chassis}/{board.slot}",
            board.type,
            versions(group),
            Text(group.state.value, style=_STYLES.get(group.state, "")),
            ProgressBar(100, 100 * progress(group), width=BAR_WIDTH) if group.total else "",
            source_of(group),
        )
    return table
