"""The command `doctor`: gathers, judges, prints; exit 1 if anything is an error, 4 if no server answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.doctor.cluster_facts import ClusterFacts
from boardwright.cli.doctor.examine_cluster import examine_cluster
from boardwright.cli.doctor.examine_node import examine_node
from boardwright.cli.doctor.finding import Finding, Level
from boardwright.cli.doctor.judge_cluster import judge_cluster
from boardwright.cli.doctor.judge_node import judge_node
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, operator_folder, operator_lines
from boardwright.config import load_operator
from boardwright.errors import UnreachableError, UsageError
from boardwright.net.diagnosing import Diagnosing

FILES = ("agent.toml", "server.toml")  # what a board's folder has
_ORDER = (Level.ERROR, Level.WARNING)

ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Examine this node instead: its agent.toml, server.toml or the folder of both. May be repeated.",
        show_default=False,
    ),
]


def doctor(
    context: typer.Context,
    config: ConfigOption = None,
    operator: OperatorOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Say what is wrong with the cluster, or with this node, and what to do; exit 1 if anything is an error."""
    if config:
        findings = [finding for path in _files(config) for finding in judge_node(examine_node(path))]
        answered = True
    else:
        facts = _cluster(operator_folder(context, operator))
        findings, answered = list(judge_cluster(facts)), bool(facts.answers)
    show(findings, form)
    if not answered:
        raise typer.Exit(UnreachableError.exit_code)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _cluster(folder: Path) -> ClusterFacts:
    settings = load_operator(folder)
    client = Diagnosing(operator_lines(folder, settings.cluster), settings.cluster)
    try:
        return examine_cluster(client, settings.servers, settings.cluster)
    finally:
        client.close()


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
