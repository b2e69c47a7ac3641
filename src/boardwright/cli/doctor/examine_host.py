"""Looks at this host for the doctor: interfaces, disks, locks and the files that programs keep. Reads only.

No lock is taken: a program that starts at this moment must not fail because the doctor looks. What another program has
written is bounded and may be broken.
"""

import os
import re
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from boardwright.cli.doctor.node_facts import InterfaceFacts, Trouble
from boardwright.errors import BoardwrightError, explain
from boardwright.model.diagnosis import DiskFacts
from boardwright.net.interfaces import missing, present, resolve
from boardwright.transfer.space import Space

MAX_WRITTEN = 64 * 1024 * 1024  # bytes of a file that a program keeps; a server's copy of 10,000 boards has some ten
SEARCH = 1.0  # seconds to add up a store; one of 100,000 blobs takes half of that
IFF_UP = 0x1  # linux/if.h
LOCKS = Path("/proc/locks")
INTERFACES = Path("/sys/class/net")
_POOLS = re.compile(r"\b\w+\(host='[^']*', port=\d+\): ")  # what urllib3 puts before its reasons
_Kept = TypeVar("_Kept")


def trouble_of(error: BaseException) -> Trouble:
    """What a program would say that ends because of `error`: its sentence and causes in one line, and its hint."""
    lines = [_POOLS.sub("", line.strip()) for line in explain("", error)]
    said = "; ".join(line.removeprefix(": ") for line in lines if not line.startswith("hint: "))
    return Trouble(said, getattr(error, "hint", None) or "")


def interface_facts(name: str, families: tuple[int, ...]) -> InterfaceFacts:
    """How the interface (a name or an address) is, for the first of these address families that it has."""
    there = present()
    found = next((place for family in families for place in [resolve(name, family, there)] if place), None)  # type: ignore[arg-type]
    if found is None:
        return InterfaceFacts(name, trouble=trouble_of(missing(name, families[0])))  # type: ignore[arg-type]
    folder = INTERFACES / found.name
    try:
        state, flags = (folder / "operstate").read_text().strip(), int((folder / "flags").read_text(), 16)
    except (OSError, ValueError):  # no sysfs here: that it has an address is all that can be said
        return InterfaceFacts(found.name, found.address)
    return InterfaceFacts(found.name, found.address, "" if state == "unknown" else state, bool(flags & IFF_UP))


def disk_facts(path: Path) -> DiskFacts:
    """The file system of a directory that a program writes to, or of the one in which it would make it."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.exists() and not place.is_dir():
        return DiskFacts(path=str(path), trouble=f"{place} is no directory")
    if not os.access(place, os.W_OK | os.X_OK):
        return DiskFacts(path=str(path), trouble=f"{place} may not be written by this user")
    space = Space(place)
    try:
        return DiskFacts(path=str(path), free=space.free, reserve=space.reserve)
    except OSError as error:
        return DiskFacts(path=str(path), trouble=f"{place} cannot be looked at: {error.strerror or error}")


def used_bytes(store: Path) -> int:
    """Bytes of the files below a store, as far as they can be added up in ``SEARCH`` seconds."""
    total, deadline, folders = 0, time.monotonic() + SEARCH, [store]
    while folders and time.monotonic() < deadline:
        try:
            for entry in os.scandir(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # dropped by its owner meanwhile
    return total


def is_locked(path: Path) -> bool | None:
    """Whether some process holds the file by flock(2), as the kernel lists it; None if that cannot be seen."""
    try:
        inode = path.stat().st_ino
        lines = LOCKS.read_text().splitlines()
    except FileNotFoundError:
        return False if LOCKS.exists() else None
    except OSError:
        return None
    return any(" FLOCK " in line and f":{inode} " in line for line in lines)


def read_kept(path: Path, kind: type[_Kept], empty: _Kept) -> tuple[_Kept, str]:
    """What a program keeps in `path` (JSON), `empty` if there is nothing; and what is wrong with the file, or ''."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_WRITTEN + 1)
        if len(data) > MAX_WRITTEN:
            return empty, f"{path} has more than {MAX_WRITTEN} bytes"
        return msgspec.json.decode(data, type=kind), ""
    except FileNotFoundError:
        return empty, ""
    except OSError as error:
        return empty, f"{path} cannot be read: {error.strerror or error}"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BoardwrightError, ValueError) as error:
        return empty, f"{path} is damaged, or a newer release has written it: {error}"
