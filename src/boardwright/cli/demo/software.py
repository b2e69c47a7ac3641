"""What the demo deploys: real software, in two versions that differ by 32 MiB.

Rules:

* By default it is Boardwright itself: every package that it needs at run time, as installed, below ``lib/``, and
  ``bin/boardwright``, which sees nothing but ``lib/`` and Python's standard library. So the health check
  ``bin/boardwright --version`` proves that the deployed tree is whole.
* Byte code comes along for what that command imports, as unchecked hash-based files (PEP 552): they stay valid
  wherever the tree lies, and twelve boards need not compile at the same moment.
* Version 2.0 is version 1.0 and a file of random bytes; an image gets the bytes at its end.
"""

import importlib.metadata
import importlib.util
import json
import marshal
import os
import re
import shutil
import sys
from pathlib import Path

import msgspec

import boardwright
from boardwright.errors import FailedError
from boardwright.model.software import Manifest, check_manifest
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import Packed, pack

GROUP = "platform"
FIRST, SECOND = "1.0", "2.0"
ADDED = "boardwright-demo-2.0.bin"
ADDED_SIZE = 32 * 1024 * 1024  # bytes; some seconds at the default rate, so that there is a middle to kill a server in
UNPACKED = 4  # a compressed archive unpacks to about four times its size
BLOCK = 1024 * 1024
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_HASH_BASED_UNCHECKED = 1  # the flags of a .pyc, PEP 552

_LAUNCHER = """\
#!/bin/sh
# Runs Boardwright out of this tree alone: -I and -S leave everything else that is installed out.
here=$(cd "$(dirname "$0")/.." && pwd -P)
exec {python} -I -S -B -c 'import sys
sys.path.insert(0, sys.argv.pop(1))
from boardwright.cli.program import main
main()' "$here/lib" "$@"
"""
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
        return sum(file.size or 0 for distribution in _closure("boardwright") for file in distribution.files or ())
    if path.is_dir():
        return sum(file.lstat().st_size for file in path.rglob("*"))
    return UNPACKED * path.stat().st_size


def own_packages(destination: Path) -> None:
    """Lay Boardwright and everything that it needs at run time out as a version's directory; raises FailedError."""
    library = destination / "lib"
    library.mkdir(parents=True)
    for distribution in _closure("boardwright"):
        for file in distribution.files or ():
            source = Path(str(file.locate()))
            if ".." in file.parts or "__pycache__" in file.parts or file.suffix == ".pth" or not source.is_file():
                continue
            place = library / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    package = Path(boardwright.__file__).parent  # an editable installation lists no files of the package
    shutil.copytree(package, library / "boardwright", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    _add_byte_code(library)
    launcher = destination / "bin" / "boardwright"
    launcher.parent.mkdir()
    launcher.write_text(_LAUNCHER.format(python=json.dumps(sys.executable)), encoding="utf-8")
    launcher.chmod(0o755)
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


def _closure(name: str) -> list[importlib.metadata.Distribution]:
    """The installed distribution `name` and all that it requires, extras left out."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        wanted = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if wanted in found:
            continue
        try:
            distribution = importlib.metadata.distribution(wanted)
        except importlib.metadata.PackageNotFoundError:
            if not found:
                raise FailedError(
                    f"{name} runs from its sources and is not installed, so its packages are not known",
                    hint="install it, or name other software by --software PATH",
                ) from None
            continue  # required on other platforms or Pythons only
        found[wanted] = distribution
        for requirement in distribution.requires or ():
            match = _REQUIREMENT.match(requirement)
            if match is not None and "extra ==" not in requirement.partition(";")[2]:
                waiting.append(match[1])
    return list(found.values())


def _add_byte_code(library: Path) -> None:
    """Byte code of every module of the library that this very process runs, because the health check runs the same."""
    for name, module in tuple(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        get_code = getattr(getattr(spec, "loader", None), "get_code", None)
        if spec is None or get_code is None or not str(spec.origin).endswith(".py"):
            continue
        inside = Path(*name.split("."))
        source = library / (inside / "__init__.py" if spec.submodule_search_locations is not None else f"{inside}.py")
        if not source.is_file():
            continue
        code = get_code(name)
        header = importlib.util.MAGIC_NUMBER + _HASH_BASED_UNCHECKED.to_bytes(4, "little")
        compiled = Path(importlib.util.cache_from_source(source))
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(header + importlib.util.source_hash(source.read_bytes()) + marshal.dumps(code))
