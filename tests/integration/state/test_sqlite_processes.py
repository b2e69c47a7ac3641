"""One SQLite file, several real processes: nothing is lost, torn or missed, whoever dies."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boardwright.errors import ConflictError, RefusedError, UsageError
from boardwright.state.active import ActiveRole
from boardwright.state.kv import EngineError, Transaction
from boardwright.state.sqlite_kv import SqliteKV

COUNT = """
import sys
from pathlib import Path
from boardwright.errors import ConflictError
from boardwright.state.kv import Transaction
from boardwright.state.sqlite_kv import SqliteKV

kv = SqliteKV(Path(sys.argv[1]))
done = 0
while done < int(sys.argv[2]):
    entry = kv.get("counter")
    value = b"%d" % (int(entry.value if entry else b"0") + 1)
    try:
        kv.commit(Transaction({"counter": entry.revision if entry else 0}, {"counter": value, "twin": value * 5000}))
    except ConflictError:
        continue
    done += 1
    print(value.decode(), flush=True)
kv.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def count_in_a_process(path: Path, times: int, children: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-c", COUNT, str(path), str(times)], stdout=subprocess.PIPE, text=True, env=environment
    )
    children.append(child)
    return child


class TestSeveralProcesses:
    def test_no_update_is_lost_between_processes(self, path: Path, children: list[subprocess.Popen[str]]) -> None:
        for _ in range(3):
            count_in_a_process(path, 40, children)
        for child in children:
            assert child.wait(60) == 0
        kv = SqliteKV(path)
        counter = kv.get("counter")
        assert counter is not None
        assert (int(counter.value), counter.revision) == (120, 120)
        kv.close()

    def test_a_watch_sees_every_change_of_another_process_in_order(
        self, path: Path, children: list[subprocess.Popen[str]]
    ) -> None:
        kv = SqliteKV(path)
        count_in_a_process(path, 40, children)
        seen: list[int] = []
        revision = 0
        while len(seen) < 40:
            changes = kv.watch("counter", revision, 30)
            assert changes, f"nothing came after {seen[-1:]}"
            seen += [int(change.value or b"0") for change in changes]
            revision = changes[-1].revision
        assert seen == list(range(1, 41))
        kv.close()

    def test_several_processes_may_make_the_file_at_the_same_moment(
        self, path: Path, children: list[subprocess.Popen[str]]
    ) -> None:
        for _ in range(4):
            count_in_a_process(path, 1, children)
        assert [child.wait(60) for child in children] == [0, 0, 0, 0]


class TestCrashes:
    @pytest.mark.parametrize("commits", [1, 2, 7, 23])
    def test_what_was_committed_survives_kill_9_and_nothing_is_torn(
        self, path: Path, commits: int, children: list[subprocess.Popen[str]]
    ) -> None:
        child = count_in_a_process(path, 100_000, children)
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(commits)]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().splitlines() if line]
        child.wait()
        kv = SqliteKV(path)
        snapshot = kv.range("")
        counter, twin = snapshot.entries
        assert int(counter.value) >= told[-1]
        assert twin.value == counter.value * 5000
        assert counter.revision == twin.revision == snapshot.revision == int(counter.value)
        assert kv.commit(Transaction({"counter": counter.revision}, {"counter": b"0"})) == counter.revision + 1
        kv.close()

    def test_others_go_on_when_a_writer_is_killed(self, path: Path, children: list[subprocess.Popen[str]]) -> None:
        doomed = count_in_a_process(path, 100_000, children)
        assert doomed.stdout is not None
        doomed.stdout.readline()
        survivor = count_in_a_process(path, 20, children)
        doomed.kill()
        assert survivor.wait(60) == 0


class TestTheFile:
    def test_it_is_readable_by_its_owner_only(self, path: Path) -> None:
        SqliteKV(path).close()
        assert path.stat().st_mode & 0o077 == 0

    def test_a_file_that_is_no_database_is_wrong_usage(self, path: Path) -> None:
        path.write_bytes(b"this is a text and quite long enough to be no header of a database" * 50)
        with pytest.raises(UsageError, match="no SQLite database"):
            SqliteKV(path)

    def test_another_programs_database_is_wrong_usage_and_left_as_it_was(self, path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE t (x)")
        before = path.read_bytes()
        with pytest.raises(UsageError, match="another program"):
            SqliteKV(path)
        assert path.read_bytes() == before

    def test_a_folder_in_its_place_is_an_engine_error(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(EngineError, match="cannot be opened"):
            SqliteKV(path)

    def test_a_layout_of_a_later_release_is_refused(self, path: Path) -> None:
        SqliteKV(path).close()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as later:
            later.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
        with pytest.raises(RefusedError, match="schema 2"):
            SqliteKV(path)

    def test_a_file_removed_while_open_takes_no_changes_and_says_so(self, path: Path) -> None:
        kv = SqliteKV(path)
        path.unlink()
        with pytest.raises(EngineError, match="removed or replaced"):
            kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert "removed or replaced" in kv.health()
        kv.close()

    def test_a_writer_that_never_ends_is_an_engine_error_not_a_hang(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("boardwright.state.sqlite_kv.BUSY_SECONDS", 0.05)
        kv, other = SqliteKV(path), SqliteKV(path)
        with other._writing(), pytest.raises(EngineError, match="locked"):
            kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert "locked" in kv.health()
        kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert kv.health() == ""
        kv.close()
        other.close()

    def test_a_full_disk_is_an_engine_error_that_changes_nothing(self, path: Path) -> None:
        kv = SqliteKV(path)
        kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        (pages,) = kv._writer.execute("PRAGMA page_count").fetchone()
        kv._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(EngineError, match="full"):
            kv.commit(Transaction({"a": 1}, {"a": b"2", "b": b"x" * 1_000_000}))
        assert "full" in kv.health()
        assert [(entry.key, entry.value) for entry in kv.range("").entries] == [("a", b"1")]
        assert kv.range("").revision == 1
        kv._writer.execute("PRAGMA max_page_count = 1000000")
        assert kv.commit(Transaction({"a": 1}, {"a": b"2"})) == 2
        assert kv.health() == ""
        kv.close()

    def test_large_commits_do_not_fill_the_history_without_bound(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("boardwright.state.sqlite_kv.HISTORY_BYTES", 1_000_000)
        kv = SqliteKV(path)
        for revision in range(30):
            kv.commit(Transaction({"plan": revision}, {"plan": b"x" * 200_000}))
        assert [change.revision for change in kv.watch("", 26, 0)] == [27, 28, 29, 30]
        kv.close()
        assert path.stat().st_size < 4_000_000


class TestHosts:
    """The file belongs to one host; what counts is whether its lease lives, not what the file says."""

    @pytest.fixture(autouse=True)
    def look_shortly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("boardwright.state.host.LOOK_SECONDS", 0.6)
        monkeypatch.setattr("boardwright.state.host.LOOK_EVERY", 0.02)

    def test_a_live_lease_of_another_host_is_refused(self, path: Path) -> None:
        here = SqliteKV(path, boot_id="host 1")
        role = ActiveRole(here, "c1s1")
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(role.run, stop, lambda _: None)
            here.watch("lease/", 0, 30)
            with pytest.raises(RefusedError, match="another host"):
                SqliteKV(path, boot_id="host 2")
            stop.set()
            running.result(30)
        assert here.health() == ""
        here.close()

    def test_a_lease_left_over_from_before_a_reboot_is_not_live(self, path: Path) -> None:
        before = SqliteKV(path, boot_id="boot 1")
        ActiveRole(before, "c1s1").tick()
        before.close()
        after = SqliteKV(path, boot_id="boot 2")
        assert after.get("lease/active") is not None
        after.commit(Transaction({"a": 0}, {"a": b"1"}))
        after.close()

    def test_a_lease_that_was_handed_over_is_not_waited_for(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("boardwright.state.host.LOOK_SECONDS", 1e9)
        before = SqliteKV(path, boot_id="boot 1")
        role = ActiveRole(before, "c1s1")
        role.tick()
        role.release()
        before.close()
        SqliteKV(path, boot_id="boot 2").close()

    def test_whoever_lost_the_file_to_another_host_can_no_longer_write(self, path: Path) -> None:
        here = SqliteKV(path, boot_id="host 1")
        there = SqliteKV(path, boot_id="host 2")
        with pytest.raises(EngineError, match="taken by another host"):
            here.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert "taken by another host" in here.health()
        there.commit(Transaction({"a": 0}, {"a": b"2"}))
        here.close()
        there.close()


def test_the_active_role_passes_from_thread_to_thread_over_one_file(path: Path) -> None:
    kvs = [SqliteKV(path) for _ in range(3)]
    roles = [ActiveRole(kv, f"c{number}s1") for number, kv in enumerate(kvs)]
    stops = [threading.Event() for _ in roles]
    won: list[int] = []
    turned = threading.Condition()

    def changed(number: int) -> None:
        with turned:
            won.append(number)
            turned.notify_all()

    with ThreadPoolExecutor(3) as pool:
        running = [
            pool.submit(role.run, stop, lambda held, number=number: changed(number) if held else None)
            for number, (role, stop) in enumerate(zip(roles, stops, strict=True))
        ]
        for turn in range(3):
            with turned:
                assert turned.wait_for(lambda turns=turn: len(won) > turns, 30)
            holder = won[turn]
            held = roles[holder].held
            assert held is not None
            assert held.epoch == turn + 1
            roles[holder].commit(Transaction({f"turn{turn}": 0}, {f"turn{turn}": b"%d" % holder}))
            stops[holder].set()
        for one in running:
            one.result(30)
    assert sorted(won) == [0, 1, 2]
    with pytest.raises(ConflictError):
        roles[won[-1]].commit(Transaction({"late": 0}, {"late": b""}))
    for kv in kvs:
        kv.close()
