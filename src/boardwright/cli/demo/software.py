"""What the demo deploys: real software, in two versions that differ by 32 MiB.

Rules:

* By default it is Boardwright itself: every package that it needs at run time, as installed, below ``lib/``, and
  ``bin/boardwright``, which sees nothing but ``lib/`` and Python's standard library. So the health check
  ``bin/boardwright --version`` proves that the deployed tree is whole.
* Version 2.0 is version 1.0 and a file of random bytes; an image gets the bytes at its end.
"""

import os
import shutil
from pathlib import Path

import msgspec

from boardwright.cli.bundling import add_launcher, closure, copy_packages
from boardwright.model.software import Manifest, check_manifest
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import Packed, pack

GROUP = "platform"
FIRST, SECOND = "1.0", "2.0"
ADDED = "boardwright-demo-2.0.bin"
ADDED_SIZE = 32 * 1024 * 1024  # bytes; some seconds at the default rate, so that there is a middle to kill a server in
UNPACKED = 4  # a compressed archive unpacks to about four times its size
BLOCK = 1024 * 1024
_DESCRIPTION = """\
[software]
group = "platform"
[health]
command = ["bin/boardwright", "--version"]
timeout = 60
"""


def size_of(path: Path | None) -> int:
    """About how many bytes the software at `path` has, unpacked; None is Boardwright's own packages."""
    if path is None:
        return sum(file.size or 0 for distribution in closure(["boardwright"]) for file in distribution.files or ())
    if path.is_dir():
        return sum(file.lstat().st_size for file in path.rglob("*"))
    return UNPACKED * path.stat().st_size


def own_packages(destination: Path) -> None:
    """Lay Boardwright and everything that it needs at run time out as a version's directory; raises FailedError."""
    copy_packages(destination / "lib", closure(["boardwright"]))
    (destination / "bin").mkdir()
    add_launcher(destination / "bin", "boardwright", "boardwright.cli.program")
    (destination / "boardwright.toml").write_text(_DESCRIPTION, encoding="utf-8")


def first_version(software: Path, workdir: Path) -> Packed:
    """Version 1.0 of whatever lies at `software`; raises UsageError for what is wrong with it."""
    return pack(software, _options(FIRST), workdir=_fresh(workdir / "first"))


def second_version(first: Packed, workdir: Path) -> Packed:
    """Version 2.0: version 1.0 and 32 MiB of random bytes."""
    workdir = _fresh(workdir / "second")
    if first.manifest.kind == "image":
        return _changed_image(first, workdir)
    directory = workdir / "added"
    directory.mkdir()
    _write_random(directory / ADDED, "wb")
    added = pack(directory, _options(SECOND), workdir=_fresh(workdir / "packs"))
    manifest = _joined(first.manifest, added.manifest)
    check_manifest(manifest)
    return Packed(manifest, {**first.blobs, **added.blobs})


def _options(version: str) -> SoftwareOptions:
    return SoftwareOptions(group=GROUP, version=version, board_types=("*",))


def _joined(first: Manifest, added: Manifest) -> Manifest:
    """`first` under the version of `added`, with the one file that `added` has."""
    file = msgspec.structs.replace(added.files[0], blob=len(first.blobs))
    return msgspec.structs.replace(
        first,
        version=added.version,
        files=tuple(sorted((*first.files, file), key=lambda entry: entry.path)),
        blobs=(*first.blobs, *added.blobs),
    )


def _changed_image(first: Packed, workdir: Path) -> Packed:
    name = first.manifest.files[0].path
    image = workdir / name
    image.parent.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as target:
        for source in first.blobs.values():  # an image is one blob; an empty one has none
            with source.path.open("rb") as file:
                shutil.copyfileobj(file, target, BLOCK)
    _write_random(image, "ab")
    return pack(image, _options(SECOND), workdir=_fresh(workdir / "packs"))


def _write_random(path: Path, mode: str) -> None:
    with path.open(mode) as file:
        for _ in range(ADDED_SIZE // BLOCK):
            file.write(os.urandom(BLOCK))


def _fresh(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory
