"""What a start meets: locks, an engine that is down, its own record in the state."""

import os
import threading
from pathlib import Path

import pytest

from boardwright.errors import RefusedError, UsageError
from boardwright.server.data_lock import LOCK_NAME, DataLock
from boardwright.server.patient_kv import PatientKV
from boardwright.server.program import run
from boardwright.server.registration import keep_registered, register
from boardwright.state.kv import KV, EngineError, Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import SERVERS, ServerRecord
from tests.integration.server.processes import until

RECORD = ServerRecord("c1s1", "1", "1", "https://a", "https://b", "0.1.0")


class TestLock:
    def test_a_second_server_on_the_directory_is_refused_by_the_process_of_the_first(self, tmp_path: Path) -> None:
        first = DataLock(tmp_path / "data")
        with pytest.raises(RefusedError, match=str(os.getpid())):
            DataLock(tmp_path / "data")
        first.release()
        DataLock(tmp_path / "data").release()

    def test_a_file_left_behind_is_no_obstacle(self, tmp_path: Path) -> None:
        (tmp_path / LOCK_NAME).write_text("4711\n")
        DataLock(tmp_path).release()

    def test_a_directory_that_cannot_be_made_is_a_matter_of_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="data directory"):
            DataLock(tmp_path / "file" / "data")


class TestPatience:
    def test_an_engine_that_is_down_at_the_start_is_opened_when_it_is_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("boardwright.server.patient_kv.RETRY", 0.0)
        up: list[KV] = []

        def opens() -> KV:
            if not up:
                raise EngineError("the engine is down")
            return up[0]

        kv = PatientKV(opens)
        assert kv.health() == "the engine is down"
        with pytest.raises(EngineError):
            kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        up.append(MemoryKV())
        assert kv.health() == ""
        kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert [entry.key for entry in kv.range("").entries] == ["a"]
        assert kv.watch("", 0, 0)
        kv.close()

    def test_it_is_not_tried_more_often_than_it_says(self) -> None:
        tries: list[int] = []

        def opens() -> KV:
            tries.append(1)
            raise EngineError("down")

        kv = PatientKV(opens)
        for _ in range(5):
            with pytest.raises(EngineError, match="down"):
                kv.get("a")
        assert len(tries) == 1

    def test_a_refusal_is_not_waited_out(self) -> None:
        def opens() -> KV:
            raise RefusedError("another host")

        with pytest.raises(RefusedError):
            PatientKV(opens)


class TestRegistration:
    def test_it_is_written_once_and_again_when_it_changed(self) -> None:
        kv = MemoryKV()
        assert register(kv, RECORD)
        assert not register(kv, RECORD)
        moved = ServerRecord("c1s1", "1", "1", "https://c", "https://b", "0.1.0")
        assert register(kv, moved)

    def test_a_record_of_another_release_is_replaced(self) -> None:
        kv = MemoryKV()
        kv.commit(Transaction({f"{SERVERS}c1s1": 0}, {f"{SERVERS}c1s1": b'{"who": "knows"}'}))
        assert register(kv, RECORD)

    def test_it_waits_for_the_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("boardwright.server.registration.RETRY", 0.01)
        kv = MemoryKV()
        down = [True, True]

        class Flaky(MemoryKV):
            def get(self, key: str):  # type: ignore[no-untyped-def]
                if down:
                    down.pop()
                    raise EngineError("down")
                return kv.get(key)

            def commit(self, transaction: Transaction) -> int:
                return kv.commit(transaction)

        stop = threading.Event()
        thread = threading.Thread(target=keep_registered, args=(Flaky(), RECORD, stop))
        thread.start()
        until(lambda: kv.get(f"{SERVERS}c1s1"), "it is registered")
        stop.set()
        thread.join()


def test_the_program_says_what_is_wrong_with_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--config", str(tmp_path / "missing.toml")]) == 2
    said = capsys.readouterr().err
    assert "missing.toml" in said
    assert "Traceback" not in said


def test_an_inventory_that_is_missing_is_said_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        '[cluster]\nname = "x"\ninterface = "lo"\ninventory = "none.toml"\n'
        '[board]\nid = "a"\nchassis = "1"\nslot = "1"\n'
        '[server]\nlisten = "127.0.0.1:0"\ndata_dir = "data"\n'
    )
    assert run(["--config", str(config)]) == 2
    assert str(tmp_path / "none.toml") in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


OTHER_SERVER = (
    '[[board]]\nid = "c"\nchassis = "2"\nslot = "1"\ntype = "rp"\naddress = "10.0.0.2"\nroot = "/c"\n'
    'state_dir = "/d"\nserver = true\n'
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('id = "a"', 'id = "b"'), "does not list 'a', the id of this server"),
        (('slot = "1"', 'slot = "9"'), "says that a sits in 1/9, its own configuration 1/1"),
        (("server = true\n", OTHER_SERVER), "does not say of a that it is a server"),
        (('name = "x"', 'name = "y"'), "is of the cluster 'y', this server of 'x'"),
    ],
)
def test_a_list_that_says_something_else_of_this_server_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], sentence: str
) -> None:
    listed = (
        '[cluster]\nname = "x"\ninterface = "lo"\n'
        '[[board]]\nid = "a"\nchassis = "1"\nslot = "1"\ntype = "rp"\naddress = "127.0.0.1"\nserver = true\n'
    )
    (tmp_path / "cluster.toml").write_text(listed.replace(*change))
    config = tmp_path / "server.toml"
    config.write_text(
        '[cluster]\nname = "x"\ninterface = "lo"\ninventory = "cluster.toml"\n'
        '[board]\nid = "a"\nchassis = "1"\nslot = "1"\n'
        '[server]\nlisten = "127.0.0.1:0"\ndata_dir = "data"\n'
    )
    assert run(["--config", str(config)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
