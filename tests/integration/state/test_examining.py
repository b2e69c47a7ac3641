"""What engines say of themselves to the doctor: real members of etcd, some of them down, and files of sqlite."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.examine import examine_engine
from boardwright.state.sqlite_kv import SqliteKV
from tests.etcd_members import EtcdMembers, members, until

PLAIN = EtcdAccess()


class TestEtcd:
    @pytest.fixture(scope="class")
    @classmethod
    def two(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
        with members(tmp_path_factory.mktemp("etcd"), 2) as made:
            yield made

    def test_members_that_are_well_then_one_hangs_and_the_other_has_no_leader(self, two: EtcdMembers) -> None:
        found = examine_engine(two.engine, PLAIN).endpoints
        assert [(one.trouble, one.voters, one.has_leader, one.errors) for one in found] == [("", 2, True, ())] * 2
        assert all(one.release.startswith("3.") and one.database > 0 for one in found)
        assert len({one.member for one in found}) == 2
        left, hanging = two.hosts
        two.halt(hanging)
        try:
            until("the leader is missed", lambda: not examine_engine(two.engine, PLAIN).endpoints[0].has_leader)
            began = time.monotonic()
            alone, silent = examine_engine(two.engine, PLAIN).endpoints
            assert time.monotonic() - began < 3.0
            assert (alone.endpoint, alone.trouble) == (f"{left}:2379", "")
            assert "gives no answer in time" in silent.trouble
        finally:
            two.go_on(hanging)

    def test_nobody_listens(self) -> None:
        (found,) = examine_engine("etcd://127.0.0.1:1", PLAIN).endpoints
        assert "cannot be reached" in found.trouble


class TestSqlite:
    def test_a_file_in_use(self, tmp_path: Path) -> None:
        with closing(SqliteKV(tmp_path / "state.db")):
            before = sorted(tmp_path.iterdir())
            found = examine_engine(f"sqlite:{tmp_path}/state.db", PLAIN)
            assert (found.kind, found.trouble, found.journal) == ("sqlite", "", "wal")
            assert sorted(tmp_path.iterdir()) == before

    def test_a_journal_of_another_mode(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "state.db")) as made:
            made.execute("CREATE TABLE one (two)")
        assert examine_engine(f"sqlite:{tmp_path}/state.db", PLAIN).journal == "rollback"

    @pytest.mark.parametrize(
        ("content", "words"), [(b"", "no file of sqlite"), (os.urandom(4096), "no file of sqlite")]
    )
    def test_a_file_that_is_none(self, tmp_path: Path, content: bytes, words: str) -> None:
        (tmp_path / "state.db").write_bytes(content)
        assert words in examine_engine(f"sqlite:{tmp_path}/state.db", PLAIN).trouble

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        assert "No such file" in examine_engine(f"sqlite:{tmp_path}/state.db", PLAIN).trouble
