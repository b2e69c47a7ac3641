"""The state in SQLite after power cuts and kills: whatever was acknowledged is there, and nothing is there by halves.

A copy of the database and its -wal is taken after every acknowledged commit: SQLite synced it then (synchronous=FULL).
What was written from there to the next acknowledgement may have reached the disk in any part and any order; a
checkpoint may be half done while the -wal still is whole. Every such state is opened by a new server.
"""

import contextlib
import random
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from boardwright.state.kv import Transaction
from boardwright.state.sqlite_kv import SqliteKV
from tests.integration.state.test_sqlite_processes import children, count_in_a_process, path

__all__ = ["children", "path"]  # fixtures
COMMITS = 24
HISTORY = 6  # so that commits remove what is old, too
CHECKPOINT = 60  # pages; several of these commits, so that the -wal begins anew again and again
SECTOR = 512
Entries = dict[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Acknowledged:
    """The files, and what they hold, when commit `revision` had returned."""

    revision: int
    database: bytes
    wal: bytes
    entries: Entries


@pytest.fixture
def chance() -> random.Random:
    return random.Random(7)


@pytest.fixture
def commits(tmp_path: Path, chance: random.Random) -> list[Acknowledged]:
    made = tmp_path / "made"
    kv = SqliteKV(made / "state.db", boot_id="boot-1", history=HISTORY)
    kv._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
    assert kv._writer.execute("PRAGMA synchronous").fetchone() == (2,), "a commit must be synced when it returns"
    found = [_acknowledged(kv, made)]
    for number in range(1, COMMITS + 1):
        here = {entry.key: entry.revision for entry in kv.range("").entries}
        puts: dict[str, bytes | None] = {"counter": b"%d" % number, "twin": b"%d" % number * 700}
        puts[f"board/{chance.randrange(4)}"] = chance.randbytes(chance.choice((10, 5000, 40_000)))
        if number % 5 == 0:
            puts[f"board/{chance.randrange(4)}"] = None
        assert kv.commit(Transaction({"counter": here.get("counter", 0)}, puts)) == number
        found.append(_acknowledged(kv, made))
    kv.close()
    return found


def test_every_acknowledged_commit_survives_a_torn_write_of_the_next(
    commits: list[Acknowledged], chance: random.Random, tmp_path: Path
) -> None:
    states, complete, begun_anew = 0, 0, 0
    for before, after in pairwise(commits):
        begun_anew += not after.wal.startswith(before.wal)
        for wal in _torn(before.wal, after.wal, chance, wild=True):
            found = _opened(tmp_path / "cut", before.database, wal, chance)
            assert found in ((before.revision, before.entries), (after.revision, after.entries)), (
                f"revision {found[0]} or a part of it, {before.revision} was acknowledged"
            )
            complete += found[0] == after.revision
            states += 1
    assert begun_anew > 2
    assert 0 < complete < states / 2
    assert states > 300


def test_a_checkpoint_cut_anywhere_loses_nothing(
    commits: list[Acknowledged], chance: random.Random, tmp_path: Path
) -> None:
    states = 0
    for before, after in pairwise(commits):
        if before.database != after.database:  # the commit was in the -wal by then, synced
            for database in _torn(before.database, after.database, chance):
                found = _opened(tmp_path / "cut", database, after.wal, chance)
                assert found == (after.revision, after.entries)
                states += 1
    assert states > 40


def test_ten_kills_in_a_loop_of_commits_lose_none(
    path: Path, chance: random.Random, children: list[subprocess.Popen[str]]
) -> None:
    acknowledged = 0
    for _ in range(10):
        child = count_in_a_process(path, 100_000, children)
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 60)):
            acknowledged = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        acknowledged = [acknowledged, *map(int, child.stdout.read().splitlines())][-1]
        child.wait()
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kv = SqliteKV(path)
        counter, twin = (entry for entry in kv.range("").entries)
        kv.close()
        assert acknowledged <= int(counter.value) <= acknowledged + 1
        assert twin.value == counter.value * 5000
        assert counter.revision == twin.revision == int(counter.value)


def _acknowledged(kv: SqliteKV, directory: Path) -> Acknowledged:
    snapshot = kv.range("")
    entries = {entry.key: (entry.value, entry.revision) for entry in snapshot.entries}
    wal = directory / "state.db-wal"
    return Acknowledged(snapshot.revision, (directory / "state.db").read_bytes(), wal.read_bytes(), entries)


def _torn(old: bytes, new: bytes, chance: random.Random, *, wild: bool = False) -> Iterator[bytes]:
    """What a file may be while `old` becomes `new` by writes in place and behind the end, synced only at the end.

    `wild`: what was not written entirely may also be zeros or garbage. SQLite's checksums find that in the -wal; of a
    database page that is overwritten it expects that each byte is the old or the new one.
    """
    ends = [at for at in range(max(len(old), len(new))) if old[at : at + 1] != new[at : at + 1]]
    first, last = ends[0], ends[-1] + 1
    cuts = {first, first + 1, last - 1, *(chance.randrange(first, last) for _ in range(4))}
    for cut in sorted(cuts):
        rest = last - cut
        yield new[:cut] + old[cut:]
        if wild:
            yield new[:cut] + bytes(rest) + old[last:]
            yield new[:cut] + chance.randbytes(rest) + old[last:]
    for _ in range(4):  # any sectors of it, in any order
        mixed = bytearray(new)
        for at in range(first // SECTOR * SECTOR, last, SECTOR):
            if chance.random() < 0.3:
                there = slice(at, min(at + SECTOR, len(new)))
                mixed[there] = old[there].ljust(len(mixed[there]), b"\0")
        yield bytes(mixed)
    yield new  # and all of it


def _opened(directory: Path, database: bytes, wal: bytes, chance: random.Random) -> tuple[int, Entries]:
    """What a server finds after the cut; and it can go on from there."""
    directory.mkdir(exist_ok=True)
    (directory / "state.db").write_bytes(database)
    (directory / "state.db-wal").write_bytes(wal)
    (directory / "state.db-shm").write_bytes(chance.randbytes(32768))  # never synced: anything
    kv = SqliteKV(directory / "state.db", boot_id="boot-2", history=HISTORY)
    try:
        snapshot = kv.range("")
        assert kv._reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        last = kv.watch("", snapshot.revision - 1, 0) if snapshot.revision else ()
        assert all(change.revision == snapshot.revision for change in last)
        assert kv.commit(Transaction({"after": 0}, {"after": b"the cut"})) == snapshot.revision + 1
    finally:
        kv.close()
    return snapshot.revision, {entry.key: (entry.value, entry.revision) for entry in snapshot.entries}
