"""`boardwright demo`: the words and the frame around the story."""

import contextlib
import os
import shlex
import shutil
import signal
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.demo import report, software, space
from boardwright.cli.demo.cluster import DemoCluster
from boardwright.cli.demo.place import Place, Shape
from boardwright.cli.demo.report import Report
from boardwright.cli.demo.story import Story
from boardwright.cli.demo.table import view
from boardwright.cli.demo.upgrade import UpgradeStory
from boardwright.cli.programs import program
from boardwright.cli.session import operator_lines
from boardwright.config import load_operator, parse_rate
from boardwright.errors import BoardwrightError, FailedError, UsageError
from boardwright.net.api_client import ApiClient

RATE = "8MB/s"  # slow enough to watch, fast enough for half a minute in all


def demo(  # noqa: PLR0913 - every argument is one word of the command line
    chassis: Annotated[int, typer.Option("--chassis", help="How many chassis.")] = 2,
    control_boards: Annotated[int, typer.Option("--control-boards", help="Servers in each chassis.")] = 2,
    boards: Annotated[int, typer.Option("--boards", help="Line boards in each chassis.")] = 4,
    path: Annotated[
        Path | None,
        typer.Option("--software", metavar="PATH", help="What to deploy; by default Boardwright's own packages."),
    ] = None,
    rate: Annotated[str, typer.Option("--rate", metavar="R", help="Cap of each board's download, 0 for none.")] = RATE,
    file: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the outcome as JSON.")] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Upgrade all servers while boards download.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster up, to look around.")] = False,
) -> None:
    """Run a whole cluster on this machine: deploy, kill a server in mid-download, end with every board updated."""
    shape = Shape(chassis, control_boards, boards)
    shape.check()
    capped = parse_rate(rate)
    if path is not None and not path.exists():
        raise UsageError(f"--software {path}: there is nothing")
    if file is not None and not file.absolute().parent.is_dir():
        raise UsageError(f"--report {file}: there is no directory {file.absolute().parent}")
    # A shell script starts it in the background with SIGINT ignored; sixteen processes must end by it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if upgrade and path is not None:
        raise UsageError("--upgrade goes with no --software: the servers get a release of this installation")
    place = Place(shape)
    try:
        folder = space.folder_for(_needed(place, software.size_of(path)), os.environ)
        with contextlib.closing(DemoCluster(place, folder, rate)) as cluster:
            try:
                told = _upgrade(cluster, capped) if upgrade else _run(cluster, path, capped)
            except UsageError:
                raise  # wrong words or bad software; no log says more
            except BoardwrightError as error:
                raise FailedError(f"the demo failed{_where_logs_are(cluster)}", hint=error.hint) from error
            for line in report.summary(told):
                output.say(line)
            if file is not None:
                report.write(told, file)
            if keep:
                cluster.keep()
                _tell_how_to_look_around(cluster)
    finally:
        place.leave()


def _run(cluster: DemoCluster, path: Path | None, rate: int) -> Report:
    workdir = cluster.directory / "software"
    if path is None:
        path = workdir / "own"
        software.own_packages(path)
    first = software.first_version(path, workdir)
    space.check(cluster.directory, _needed(cluster.place, first.manifest.size))
    cluster.prepare()
    operator = load_operator(cluster.operator)
    lines = operator_lines(cluster.operator, operator.cluster)
    with ApiClient.of(operator.servers, lines, operator.cluster) as client, view() as seen:
        told = Story(cluster, client, seen, rate).tell(first, workdir)
    shutil.rmtree(workdir)
    return told


def _upgrade(cluster: DemoCluster, rate: int) -> Report:
    workdir = cluster.directory / "software"
    cluster.prepare()
    operator = load_operator(cluster.operator)
    lines = operator_lines(cluster.operator, operator.cluster)
    with ApiClient.of(operator.servers, lines, operator.cluster) as client, view() as seen:
        told = UpgradeStory(cluster, client, seen, rate).tell_upgrade(workdir)
    shutil.rmtree(workdir)
    return told


def _needed(place: Place, size: int) -> int:
    return space.needed(size, software.ADDED_SIZE, len(place.boards), len(place.servers))


def _where_logs_are(cluster: DemoCluster) -> str:
    return f"; the logs of all programs are kept in {cluster.save_logs()}" if any(cluster.logs.iterdir()) else ""


def _tell_how_to_look_around(cluster: DemoCluster) -> None:
    command = "boardwright" if shutil.which("boardwright") == program("boardwright") else program("boardwright")
    operator = f"{shlex.quote(command)} --operator {shlex.quote(str(cluster.operator))}"
    board = cluster.place.boards[-1].id
    output.say("")
    output.say("The cluster stays up. Look around:")
    for words in ("status", "servers", "boards", f"explain {board}"):
        output.say(f"  {operator} {words}")
    output.say(f"Logs: {cluster.logs}")
    output.say("Stop it and remove everything:")
    output.say(f"  kill {cluster.guard_process}")
