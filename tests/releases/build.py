"""The release before this one, as programs that run beside this one's."""

import tarfile
from pathlib import Path

from boardwright.cli.bundling import PROGRAMS, add_launcher, closure, copy_packages

ARCHIVE = Path(__file__).with_name("previous.tar.xz")


def build(destination: Path) -> Path:
    """Unpack and lay it out with the packages that are installed; the folder of its programs."""
    sources = destination / "sources"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(sources, filter="data")
    copy_packages(destination / "lib", closure(["boardwright"]), sources / "src" / "boardwright")
    programs = destination / "bin"
    programs.mkdir()
    for name in ("boardwright", "boardwright-server", "boardwright-agent"):
        add_launcher(programs, name, PROGRAMS[name])
    return programs
