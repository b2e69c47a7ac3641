"""`boardwright publish`: a directory, an archive or an image becomes a version that boards can run."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from boardwright.cli import output
from boardwright.cli.publishing import Shipment, pack_for, refuse_other_content, send, shipment_of
from boardwright.cli.session import OperatorOption, connect, operator_folder, secret_of
from boardwright.cli.signing import signed_already, signing
from boardwright.errors import UsageError
from boardwright.model.software import digest_of
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.package import Package, check_blobs, is_package, read_package

TypesOption = Annotated[
    list[str] | None, typer.Option("--board-type", metavar="T", help="A glob of board types; repeat for more.")
]
GroupOption = Annotated[str | None, typer.Option("--group", metavar="G", help="The software group.")]
VersionOption = Annotated[str | None, typer.Option("--version", metavar="V", help="The new version's name.")]
CaseOption = Annotated[bool, typer.Option("--case-sensitive", help="Names that differ only in case are meant.")]


def publish(  # noqa: PLR0913 - every argument is one word of the command line
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH|FILE", help="A directory, a tar archive, an image or a package.")
    ],
    group: GroupOption = None,
    version: VersionOption = None,
    board_type: TypesOption = None,
    case_sensitive: CaseOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    operator: OperatorOption = None,
) -> None:
    """Make a version of a software group known to the cluster; its own boardwright.toml may name it."""
    if not os.path.lexists(path):  # unlike Path.exists, it takes every name
        raise UsageError(f"there is nothing at {path}", hint="name a directory, a tar archive or an image")
    options = options_of(group, version, board_type, case_sensitive)
    package = _package(path, options)
    folder = operator_folder(context, operator)
    sign = signing(folder, secret_of(context), time.time)
    if package is not None and package.role:
        sign = signed_already(folder, package.role)
    with connect(context, operator) as client, tempfile.TemporaryDirectory(prefix="boardwright-publish-") as workdir:
        if package is None:
            shipment = pack_for(client, path, options, Path(workdir))
        else:
            shipment = shipment_of(client, package)
            if package.role:  # what this cluster will not take is said before the bytes travel
                sign(client.signed_metadata(), shipment.target, len(shipment.manifest), False)
        if dry_run:
            there = refuse_other_content(client, shipment)
            output.say(
                f"{shipment.name} {'is published already' if there else 'would be published'}: {_told(shipment)}"
            )
            return
        refuse_other_content(client, shipment)  # before the bytes travel; the active decides again at the end
        output.note(f"{shipment.name}: {_told(shipment)}")
        with _progress(shipment) as on_bytes:
            published = send(client, shipment, sign, on_bytes)
    verb = "published" if published.created else "was published already"
    output.say(f"{shipment.name} {verb}, manifest {published.version.manifest}")


def options_of(
    group: str | None, version: str | None, board_type: list[str] | None, case_sensitive: bool
) -> SoftwareOptions:
    """What the command line says of a version."""
    return SoftwareOptions(
        group=group,
        version=version,
        board_types=tuple(board_type) if board_type else None,
        case_sensitive=case_sensitive or None,
    )


def _package(path: Path, options: SoftwareOptions) -> Package | None:
    """The package at `path`, all of it read, or None if something else is there; raises UsageError."""
    if not is_package(path):
        return None
    if options != SoftwareOptions():
        raise UsageError(
            f"{path} is a package, which names its group, version and board types itself",
            hint="leave --group, --version, --board-type and --case-sensitive out",
        )
    package = read_package(path)
    check_blobs(package)
    return package


def _told(shipment: Shipment) -> str:
    manifest = shipment.packed.manifest
    return (
        f"{output.count(len(manifest.files), 'file')}, {output.size(manifest.size)}, of which"
        f" {output.size(shipment.size)} in {output.count(len(shipment.missing), 'blob')} are to be sent;"
        f" manifest {digest_of(shipment.manifest)[:12]}"
    )


@contextmanager
def _progress(shipment: Shipment) -> Iterator[Callable[[int], None]]:
    console = output.aside()
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sending", total=shipment.size)
        yield lambda count: progress.advance(task, count)
