"""A process of its own that packs a bomb within 512 MiB of addresses, and shows that it was refused by a sentence.

python bombs.py KIND COUNT DIRECTORY
"""

import gzip
import resource
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from boardwright.errors import UsageError
from boardwright.transfer import contents, decompress
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import pack

ADDRESSES = 512 * 1024 * 1024
MIB = 1024 * 1024


def header(name: str, kind: bytes, size: int = 0) -> bytes:
    one = tarfile.TarInfo(name)
    one.type, one.size = kind, size
    return one.tobuf(tarfile.GNU_FORMAT)


def zeros(_count: int) -> Iterator[bytes]:
    """Behind the end mark, where nobody looks."""
    yield header("f", tarfile.REGTYPE)
    for _ in range(300):
        yield bytes(MIB)


def directories(count: int) -> Iterator[bytes]:
    for number in range(count + 1):
        yield header(f"d{number}", tarfile.DIRTYPE)


def links(_count: int) -> Iterator[bytes]:
    """A kind of member whose data is skipped: terabytes that are not there."""
    yield header("f", tarfile.REGTYPE)
    yield header("odd", b"V", 1 << 40)
    for _ in range(300):
        yield bytes(MIB)


def pax(_count: int) -> Iterator[bytes]:
    yield header("f", tarfile.REGTYPE)
    yield header("n", tarfile.XHDTYPE, 600 * MIB)
    for _ in range(600):
        yield b"9" * MIB


def main() -> None:
    kind, count, place = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    bomb = place / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for block in {"zeros": zeros, "directories": directories, "links": links, "pax": pax}[kind](count):
            file.write(block)
    if count < contents.MAX_ENTRIES:
        contents.MAX_ENTRIES = count
    decompress.MAX_STREAM = 256 * MIB if kind != "directories" else decompress.MAX_STREAM
    (place / "work").mkdir()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    began = time.monotonic()
    try:
        pack(bomb, SoftwareOptions(group="g", version="1"), workdir=place / "work")
    except UsageError as error:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"{error} ({time.monotonic() - began:.1f} s, peak {peak} MiB)\n")
        sys.exit(0)
    sys.exit("the bomb was not refused")


if __name__ == "__main__":
    main()
