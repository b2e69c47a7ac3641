"""Releases of Boardwright: its programs with all that they need, as directories that are published like any version.

Rules:

* A release needs nothing of its board but the Python interpreter of the minor version that it was made with: every
  package lies below ``lib/``, and the launchers in ``bin/`` see nothing but that and Python's standard library. One
  that finds no such interpreter, or another machine than its compiled code is for, says so; a hook asks that before
  anything changes.
* The servers' release has all programs; the agents' one leaves out what no agent imports.
* Byte code comes along for what this process has imported, as unchecked hash-based files (PEP 552): they stay valid
  wherever the tree lies, and many boards need not compile at the same moment.

``make release-bundle [VERSION=V]`` makes both below ``dist/``.
"""

import argparse
import compileall
import importlib
import importlib.metadata
import importlib.util
import json
import marshal
import platform
import py_compile
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import boardwright
from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.errors import BoardwrightError, FailedError, explain

PROGRAMS = {
    "boardwright": "boardwright.cli.program",
    "boardwright-server": "boardwright.server.program",
    "boardwright-agent": "boardwright.agent.program",
    "health": "boardwright.cli.release_health",
}
OF_AGENTS = ("urllib3", "tuf", "securesystemslib", "cryptography", "msgspec", "structlog")  # what an agent imports
TAKES_OVER_FROM = ">= 0.1"  # the oldest release whose state and ledgers this one reads (state/records.py: SCHEMA)
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_HASH_BASED_UNCHECKED = 1  # the flags of a .pyc, PEP 552

_LAUNCHER = """\
#!/bin/sh
# {name} of this release, and of this tree alone: -I and -S leave everything else that is installed out.
here=$(cd "$(dirname "$0")/.." && pwd -P)
python={python}
for one in python{minor} "$python"; do command -v "$one" >/dev/null 2>&1 && python=$one && break; done
if ! command -v "$python" >/dev/null 2>&1; then
    echo "{name}: this release needs python{minor}, which is not on PATH of this board; install it" >&2
    exit 127
elif [ "$(uname -m)" != {machine} ]; then
    echo "{name}: this release is for {machine}, this board is $(uname -m); publish one that was made there" >&2
    exit 126
fi
exec "$python" -I -S -B -c 'import sys
sys.path.insert(0, sys.argv.pop(1))
from {module} import main
main()' "$here/lib" "$@"
"""
_FITS = """\
#!/bin/sh
# Whether this board can run the release; nothing was changed yet.
exec "${{0%/*}}/{program}" --version
"""
_SERVERS = """\
[software]
group = "{group}"
version = "{version}"
requires = {{ boardwright = "{needs}" }}
[install]
before = ["bin/fits"]
[health]
command = ["bin/health"]
timeout = 30
"""
_AGENTS = """\
[software]
group = "{group}"
version = "{version}"
[install]
before = ["bin/fits"]
"""


def server_release(destination: Path, version: str) -> None:
    """Lay a release of the servers out at `destination`; FailedError if the packages are not known."""
    copy_packages(destination / "lib", closure(["boardwright"]))
    _add_programs(destination, PROGRAMS, fits="boardwright-server")
    text = _SERVERS.format(group=SERVER_GROUP, version=version, needs=TAKES_OVER_FROM)
    (destination / "boardwright.toml").write_text(text, encoding="utf-8")


def agent_release(destination: Path, version: str) -> None:
    """The same of the agents."""
    copy_packages(destination / "lib", closure(OF_AGENTS))
    _add_programs(destination, {"boardwright-agent": PROGRAMS["boardwright-agent"]}, fits="boardwright-agent")
    text = _AGENTS.format(group=AGENT_GROUP, version=version)
    (destination / "boardwright.toml").write_text(text, encoding="utf-8")


def copy_packages(
    library: Path, distributions: Iterable[importlib.metadata.Distribution], package: Path | None = None
) -> None:
    """Copy Boardwright and these packages, as they are installed, into `library`; `package`: another Boardwright."""
    library.mkdir(parents=True)
    for distribution in distributions:
        for file in distribution.files or ():
            source = Path(str(file.locate()))
            if ".." in file.parts or "__pycache__" in file.parts or file.suffix == ".pth" or not source.is_file():
                continue
            place = library / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
    own = Path(boardwright.__file__).parent  # an editable installation lists no files of the package
    shutil.copytree(
        package or own, library / "boardwright", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    if package is not None:
        compileall.compile_dir(
            library / "boardwright", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    _add_byte_code(library)


def add_launcher(directory: Path, name: str, module: str) -> None:
    """A program of the tree around `directory` that runs ``main`` of `module`."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = json.dumps(str(Path(sys.executable).resolve()))
    text = _LAUNCHER.format(name=name, module=module, minor=minor, python=python, machine=platform.machine())
    _write_program(directory / name, text)


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The installed distributions `names` and all that they require, extras left out."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        wanted = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if wanted in found:
            continue
        try:
            distribution = importlib.metadata.distribution(wanted)
        except importlib.metadata.PackageNotFoundError:
            if not found:
                raise FailedError(
                    f"{wanted} runs from its sources and is not installed, so its packages are not known",
                    hint="install it, or name other software by --software PATH",
                ) from None
            continue  # required on other platforms or Pythons only
        found[wanted] = distribution
        for requirement in distribution.requires or ():
            match = _REQUIREMENT.match(requirement)
            if match is not None and "extra ==" not in requirement.partition(";")[2]:
                waiting.append(match[1])
    return list(found.values())


def main(words: list[str] | None = None) -> int:
    """Make both releases; what was made is named on stdout."""
    parser = argparse.ArgumentParser(prog="python -m boardwright.cli.bundling")
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--version", default=boardwright.__version__)
    options = parser.parse_args(words)
    try:
        for group, make in ((SERVER_GROUP, server_release), (AGENT_GROUP, agent_release)):
            destination = options.out / f"{group}-{options.version}"
            if destination.exists():
                shutil.rmtree(destination)
            make(destination, options.version)
            sys.stdout.write(f"{destination}: `boardwright publish {destination}`\n")
    except BoardwrightError as error:
        sys.stderr.writelines(f"{line}\n" for line in explain("release-bundle", error))
        return error.exit_code
    return 0


def _add_programs(destination: Path, programs: dict[str, str], fits: str) -> None:
    directory = destination / "bin"
    directory.mkdir()
    for name, module in programs.items():
        add_launcher(directory, name, module)
    _write_program(directory / "fits", _FITS.format(program=fits))


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _add_byte_code(library: Path) -> None:
    """Byte code of every module that the programs import, as this very process has them."""
    for program in PROGRAMS.values():
        importlib.import_module(program)
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
        if code is None:
            continue
        header = importlib.util.MAGIC_NUMBER + _HASH_BASED_UNCHECKED.to_bytes(4, "little")
        compiled = Path(importlib.util.cache_from_source(source))
        if compiled.exists():
            continue  # it is another Boardwright's
        compiled.parent.mkdir(exist_ok=True)
        compiled.write_bytes(header + importlib.util.source_hash(source.read_bytes()) + marshal.dumps(code))


if __name__ == "__main__":
    sys.exit(main())
