"""What the installer ``command`` writes to in these tests: a partition outside, and the programs that write it.

Rules:

* The programs keep docs/hooks.md and nothing more: they write in place, so that a cut in the middle leaves a mixture,
  sync what they wrote, and may be run again. What they write goes through the shim as everything else does.
* ``good`` is what `confirm` and `roll_back` write beside the files: the version that was found healthy.
"""

import os
from pathlib import Path

from boardwright.model.software import CommandSpec, InstallSpec
from tests.faults.versions import PIECE, Made

PARTITION = "partition"
GOOD = "good"
_NAMES = ("bin/big", "etc/name")  # in the partition without their directories


def flashed(name: str, *, asked: bool = False) -> Made:
    """A version for the partition; `asked`: its program `running` says what is there."""
    programs = CommandSpec(
        activate=("bin/big",),
        stage=("bin/big",),
        confirm=("bin/big",),
        roll_back=("bin/big",),
        running=("bin/big",) if asked else (),
    )
    spec = InstallSpec(installer="command", command=programs)
    return Made(name, {"bin/big": name.encode() * PIECE}, {"etc/name": name.encode() * 20}, install=spec)


def run(partition: Path, env: dict[str, str]) -> str:
    """The program of `env`'s step; what it prints."""
    step, version = env["BOARDWRIGHT_STEP"], env["BOARDWRIGHT_VERSION"]
    if step == "running":
        return f"looking\n{_told(partition)}\n"
    if step == "remove":
        for path in sorted(partition.iterdir()) if partition.is_dir() else ():
            path.unlink()
    if step in ("activate", "roll-back"):
        partition.mkdir(exist_ok=True)
        (partition / GOOD).unlink(missing_ok=True)
        for name in _NAMES:
            _write(partition / name.rpartition("/")[2], (Path(env["BOARDWRIGHT_TREE"]) / name).read_bytes())
    if step in ("confirm", "roll-back"):
        _write(partition / GOOD, version.encode())
    if step in ("activate", "confirm", "roll-back", "remove") and partition.is_dir():
        for directory in (partition, partition.parent):
            fd = os.open(directory, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
    return ""


def check_partition(directory: Path, allowed: tuple[Made | None, ...], *, settled: bool = True) -> None:
    """The partition holds exactly one of `allowed`; `settled`: which was found healthy."""
    partition = directory / PARTITION
    found = {path.name: path.read_bytes() for path in partition.iterdir()} if partition.is_dir() else {}
    good = found.pop(GOOD, b"").decode()
    names = [made.version if made else "" for made in allowed if found == _files(made)]
    assert names, f"third state: the partition holds { ({name: data[:4] for name, data in found.items()}) }"
    assert not settled or good == names[0], f"the partition holds {names[0] or 'nothing'}, and {good or 'none'} is good"


def _files(made: Made | None) -> dict[str, bytes]:
    return {name.rpartition("/")[2]: made.tree[name][2] for name in _NAMES} if made else {}


def _told(partition: Path) -> str:
    """As a card that is asked: the version, if it is there and all of it is of one version."""
    try:
        name, big = (partition / "name").read_bytes(), (partition / "big").read_bytes()
    except OSError:
        return ""
    version = name[: len(name) // 20]
    return version.decode() if version and name == version * 20 and big == version * PIECE else ""


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.ftruncate(fd, len(data))
    os.pwrite(fd, data, 0)
    os.fsync(fd)
    os.close(fd)
