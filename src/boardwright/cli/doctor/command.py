"""The command `doctor`: gathers, judges, prints; exit 1 if anything is an error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.doctor.examine_node import examine_node
from boardwright.cli.doctor.finding import Finding, Level
from boardwright.cli.doctor.judge_node import judge_node
from boardwright.cli.output import Format, FormatOption
from boardwright.errors import UsageError

FILES = ("agent.toml", "server.toml")  # what a board's folder has
_ORDER = (Level.ERROR, Level.WARNING)

ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Examine this node: its agent.toml, server.toml or the folder that has them. May be repeated.",
        show_default=False,
    ),
]


def doctor(config: ConfigOption = None, form: FormatOption = Format.TABLE) -> None:
    """Say what is wrong with a node and what to do; exit 1 if anything is an error."""
    if not config:
        raise UsageError("doctor examines a node", hint="name its configuration by --config FILE")
    findings = [finding for path in _files(config) for finding in judge_node(examine_node(path))]
    show(findings, form)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def show(findings: Sequence[Finding], form: Format) -> None:
    """Errors first, then warnings, then how many checks are fine; as JSON everything."""
    if form is Format.JSON:
        output.show_json({"findings": findings})
        return
    wrong = [finding for level in _ORDER for finding in findings if finding.level is level]
    for finding in wrong:
        output.say(f"{finding.level.value} {finding.check.value} ({finding.subject}): {finding.what}")
        if finding.do:
            output.say(f"  do: {finding.do}")
    troubled = {finding.check for finding in wrong}
    sound = len({finding.check for finding in findings} - troubled)
    output.say(f"{output.count(sound, 'check')} {'is' if sound == 1 else 'are'} fine")


def _files(named: Sequence[Path]) -> list[Path]:
    """The configurations that are meant, those of a folder one by one."""
    found = []
    for path in named:
        if not path.is_dir():
            found.append(path)
            continue
        there = [path / name for name in FILES if (path / name).exists()]
        if not there:
            raise UsageError(f"{path} has neither {' nor '.join(FILES)}", hint="name a configuration or its folder")
        found += there
    return found
