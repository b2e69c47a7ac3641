"""How commands print: tables for people, documented JSON for programs, never a traceback for a closed pipe.

Rules:

* What was asked for goes to stdout, everything else to stderr.
* A table is as wide as the terminal, and a column of sentences takes what the others leave. Nothing is ever cut off:
  what does not fit at all is left to the terminal to wrap. In a pipe nothing is wrapped. No line ends with blanks.
* JSON is one document with a newline at its end (``docs/json.md``).
* A reader that goes away (``| head``) ends the command quietly with the exit code that a shell gives to SIGPIPE.
"""

import enum
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from boardwright.errors import FailedError
from boardwright.model.location import Tier
from boardwright.model.report import GroupReport

READER_GONE = 141  # 128 + SIGPIPE, what a shell reports of any program that writes to a closed pipe
PIPE_WIDTH = 10_000  # columns; tables in a pipe are never wrapped
SENTENCES = ("reason", "versions", "details")  # columns that may be wrapped
SENTENCE_WIDTH = 24  # columns of the terminal that such a column has at least, else a word stands in each line
GAP = 2  # blanks between columns


class Format(enum.StrEnum):
    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--output", "-o", help="A table for people or JSON for programs.")]


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        leave_quietly()


def leave_quietly() -> NoReturn:
    """End the command because nobody reads its output any more."""
    _silence()
    raise typer.Exit(READER_GONE)


def _silence() -> None:
    """Let standard output lead nowhere: the flush at the end of the interpreter must not fail, too."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.close(silence)


def ensure_streams() -> None:
    """Give the program a stdout and a stderr that lead nowhere if it was started with closed ones (``>&-``)."""
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    # Names need not fit the terminal's encoding; half a character is better than no word.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def standard() -> Console:
    """A console on stdout as it is now."""
    return _console(sys.stdout.isatty(), stderr=False)


def aside() -> Console:
    """A console on stderr as it is now."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(terminal: bool, *, stderr: bool) -> Console:
    width = None if terminal else PIPE_WIDTH
    return _Console(stderr=stderr, width=width, highlight=False, soft_wrap=not terminal, markup=False, emoji=False)


def say(text: str) -> None:
    """One line on stdout."""
    try:
        print(text, flush=True)  # noqa: T201 - the one door to stdout for plain lines
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:
        _silence()
        raise FailedError(
            "what was asked for could not be written to standard output", hint="what was to be done is done"
        ) from error


def note(text: str) -> None:
    """One line on stderr; nobody need read it."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one door to stderr for plain lines
    except OSError:
        pass


def show_json(document: object) -> None:
    """The document as indented JSON on stdout."""
    say(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table on stdout; `empty` is said on stderr when there are no rows."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    console = standard()
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    rest = 0
    for number, column in enumerate(columns):
        widest = max(len(column), *(cell_len(row[number]) for row in cells))
        wrapped = column in SENTENCES and console.is_terminal
        table.add_column(column, no_wrap=not wrapped, min_width=min(widest, SENTENCE_WIDTH) if wrapped else widest)
        rest += (min(widest, SENTENCE_WIDTH) if wrapped else widest) + GAP
    for row in cells:
        table.add_row(*map(Text, row))
    console.width = max(console.width, rest)
    with console.capture() as captured:
        console.print(table)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def size(amount: float) -> str:
    """Bytes for people: three significant digits, decimal units as in the configuration."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count(number: int, noun: str) -> str:
    """A number of things, in words that fit one thing, too."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def ago(seconds: float | None) -> str:
    """An age for people."""
    if seconds is None:
        return "never"
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit} ago"
    return f"{seconds / 86400:.0f} d ago"


def percent(group: GroupReport) -> str:
    """Progress of a download, empty if there is nothing to fetch."""
    if not group.total:
        return ""
    return f"{100 * min(1.0, sum(group.bytes.values()) / group.total):.0f} %"


def tiers(counts: Mapping[Tier, int]) -> str:
    """Bytes by tier, nearest first, as one cell."""
    return ", ".join(f"{tier.value} {size(counts[tier])}" for tier in Tier if counts.get(tier))
