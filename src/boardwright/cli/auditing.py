"""`boardwright audit`: who changed what, when and from where, and whether the log is whole."""

import datetime as dt
import fnmatch
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from boardwright.cli import output
from boardwright.cli.audit_reading import HEAD_FILE, Copies, Reading, load_head, read
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect, operator_folder
from boardwright.config.quantities import parse_duration
from boardwright.errors import FailedError, UsageError
from boardwright.model.audit import Action, AuditRecord, Head
from boardwright.transfer.durable import write_durably

LAST = 50  # records; a screen, and what was done lately
MAX_LAST = 1_000_000  # more than servers keep
_HINT = (
    "compare with the folders of other operators, and with the copies that servers have set aside; if the state was "
    f"restored from a backup, remove {HEAD_FILE} from the operator's folder"
)


def audit(  # noqa: PLR0913 - the options of the command
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="2h, 7d, or 2026-11-23 or 2026-11-23T14:00 (UTC).")
    ] = None,
    who: Annotated[str | None, typer.Option("--who", metavar="ID", help="By whom; * and ? stand for any.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help=f"{', '.join(one.value for one in Action)}.")
    ] = None,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, max=MAX_LAST, help="At most so many.")] = LAST,
    check: Annotated[bool, typer.Option("--check", help="Follow all of it; show only if it is whole.")] = False,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Show who changed what, when and from where; exit 1 if the log has a gap or was changed."""
    wanted = _wanted(since, who, action)
    folder = operator_folder(context, operator)
    seen = load_head(folder)
    with connect(context, operator) as client:
        copies = Copies(client.audit, client.bases)
        reading = read(copies, seen, wanted, last, check or bool(since or who or action))
    if not reading.findings:
        _keep(folder, reading.head)
    if form is Format.JSON:
        _show_json(reading, copies, with_records=not check)
    elif not check:
        _show(reading)
    for base in copies.silent:
        output.note(f"{base} did not answer: its copy was not compared")
    if 0 < seen.number < reading.first:
        output.note(f"record {seen.number}, which was seen last from here, is kept no more: it was not compared")
    if reading.findings:
        for finding in reading.findings[1:]:
            output.note(finding)
        raise FailedError(reading.findings[0], hint=_HINT)
    if check and form is Format.TABLE:
        output.say(_whole(reading, copies))


def _wanted(since: str | None, who: str | None, action: str | None) -> Callable[[AuditRecord], bool]:
    begin = 0.0 if since is None else _begin(since)
    if action is not None and action not in {one.value for one in Action}:
        hint = f"one of {', '.join(one.value for one in Action)}"
        raise UsageError(f"{action[:80]!r} is no action of the audit log", hint=hint)

    def wanted(record: AuditRecord) -> bool:
        by = who is None or fnmatch.fnmatchcase(record.who, who)
        return record.at >= begin and by and action in (None, record.action)

    return wanted


def _begin(since: str) -> float:
    """Seconds since the epoch of a time, or of so long ago."""
    try:
        begin = dt.datetime.fromisoformat(since)
    except ValueError:
        try:
            return time.time() - parse_duration(since)
        except UsageError as error:
            raise UsageError(
                f"--since {since[:80]!r} is no time", hint="write e.g. 2h, 7d, 2026-11-23 or 2026-11-23T14:00"
            ) from error
    return (begin if begin.tzinfo else begin.replace(tzinfo=dt.UTC)).timestamp()


def _keep(folder: Path, head: Head) -> None:
    try:
        write_durably(folder / HEAD_FILE, msgspec.json.encode(head))
    except OSError as error:
        output.note(f"{folder / HEAD_FILE} cannot be written ({error.strerror}): the next reading compares less")


def _whole(reading: Reading, copies: Copies) -> str:
    if not reading.head.number:
        return "the audit log is empty"
    servers = output.count(len({page.server for page in copies.pages.values()}), "server")
    return f"records {reading.first} to {reading.head.number} are whole; asked: {servers}"


def _show(reading: Reading) -> None:
    output.show_table(
        ("record", "time", "who", "role", "from", "action", "subject", "outcome", "details"),
        (
            (
                one.record.number,
                _when(one.record.at),
                *map(_word, (one.record.who, one.record.role, one.record.address)),
                *map(_word, (one.record.action, one.record.subject)),
                _word(one.record.outcome) + (f" x{one.record.count}" if one.record.count > 1 else ""),
                _word(", ".join(f"{name} {value}" for name, value in sorted(one.record.details.items()))),
            )
            for one in reading.shown
        ),
        "no such record is in the audit log",
    )


def _show_json(reading: Reading, copies: Copies, *, with_records: bool) -> None:
    shown = reading.shown if with_records else ()
    output.show_json(
        {
            "records": [{**msgspec.to_builtins(one.record), "digest": one.digest} for one in shown],
            "first": reading.first,
            "head": reading.head,
            "servers": {page.server: page.head.number for page in copies.pages.values()},
            "silent": copies.silent,
            "findings": reading.findings,
        }
    )


def _word(text: str) -> str:
    """A server that lies must not steer the terminal."""
    return "".join(one if one.isprintable() else "?" for one in text) or "-"


def _when(at: float) -> str:
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"  # a thief's clock may say anything
