"""`boardwright pack` and `sign`: a version as one file, made and signed without a cluster.

Rules:

* `pack` knows no cluster and so no base: it packs as `publish` of a group's first version would.
* `sign` reads all of the package before it signs, and puts into it the signed role of its group: all versions that
  this key has signed so far, and this one. The role is kept beside the key (``software-GROUP.json``), because each
  signature builds on the one before.
* The role is written before the package: who is interrupted in between signs again, and gets the same.
* A kept role that this key has not signed is refused, unless its group is taken over from somebody else.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.publish import CaseOption, GroupOption, TypesOption, VersionOption, options_of
from boardwright.cli.session import secret_of
from boardwright.errors import FailedError, RefusedError, UsageError
from boardwright.model.software import Target
from boardwright.transfer.durable import write_durably
from boardwright.transfer.pack import pack
from boardwright.transfer.package import check_blobs, is_package, read_package, write_package, write_role
from boardwright.trust.keys import open_signer
from boardwright.trust.names import group_role
from boardwright.trust.offline import add_version, read_signed_file, signed_by

PublicOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key", metavar="FILE", help="The public half (PEM) of a key that is a URI.", show_default=False
    ),
]


def pack_command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A directory, a tar archive or an image.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The new package.")],
    group: GroupOption = None,
    version: VersionOption = None,
    board_type: TypesOption = None,
    case_sensitive: CaseOption = False,
) -> None:
    """Make a package of a version: one file to sign and to publish."""
    if not os.path.lexists(path):
        raise UsageError(f"there is nothing at {path}", hint="name a directory, a tar archive or an image")
    if os.path.lexists(out):
        raise RefusedError(f"{out} exists already, nothing was changed", hint="choose another name, or remove it")
    if is_package(path):
        raise UsageError(f"{path} is a package already", hint="sign it, or publish it")
    options = options_of(group, version, board_type, case_sensitive)
    with tempfile.TemporaryDirectory(prefix="boardwright-pack-") as workdir:
        write_package(out, pack(path, options, workdir=Path(workdir)))
    made = read_package(out)
    files = output.count(len(made.manifest.files), "file")
    output.say(f"{_name(made.target)}: {files}, manifest {made.target.manifest}")


def sign(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A package that `pack` made.")],
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="A private key: a file, or a URI like hsm:2.")],
    public_key: PublicOption = None,
    role: Annotated[
        Path | None,
        typer.Option(
            "--role",
            metavar="FILE",
            help="What the key has signed of the group so far [software-GROUP.json beside the key].",
            show_default=False,
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Go on from a role that another key has signed.")
    ] = False,
) -> None:
    """Sign a package with a key that its group was delegated to."""
    package = read_package(path)
    check_blobs(package)
    signer = open_signer(key, public_key, secret_of(context))
    kept = role or (Path() if public_key is not None else Path(key).parent) / f"{group_role(package.target.group)}.json"
    before = read_signed_file(kept)
    if before is not None and not take_over and not signed_by(before, signer.public_key):
        raise RefusedError(
            f"{kept} is not signed by this key",
            hint="name the right file by --role, or say --take-over if that is meant",
        )
    now = time.time()
    after = add_version(before, package.target, len(package.manifest_bytes), signer, now)
    if not signed_by(after, signer.public_key):  # taken over with nothing to add
        raise RefusedError(f"{kept} names this version already, signed by another key", hint="publish that one")
    try:
        write_durably(kept, after)
    except OSError as error:
        raise FailedError(f"{kept} cannot be written: {error.strerror or error}") from error
    write_role(package, after)
    target = package.target
    output.say(f"{_name(target)} is signed by {signer.public_key.keyid[:12]}, manifest {target.manifest}")


def _name(target: Target) -> str:
    return f"{target.group} {target.version}" + ("" if target.variant == "*" else f" for {target.variant}")
