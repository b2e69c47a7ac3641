"""A server's own copy of the audit log: it is added to, never changed, and contradicts who writes history anew."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from boardwright.errors import BoardwrightError
from boardwright.model.audit import Head, followed, line_of, read_line
from boardwright.server import audit_copy
from boardwright.server.alarms import Alarms
from boardwright.server.audit_copy import SET_ASIDE, AuditCopy
from boardwright.server.audit_log import AuditLog
from boardwright.state.follow import Follower, Several
from boardwright.state.kv import Transaction
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import AUDIT, AUDIT_HEAD, AuditHead, audit_key, encode_record
from tests.unit.server.builders import act


class Place:
    """A state, and a server that follows it; `kept` is what the state keeps of the log."""

    def __init__(self, folder: Path, kept: int = 1000) -> None:
        self.folder = folder / "audit"
        self.kv = MemoryKV()
        self.log = AuditLog(self.kv, self.kv.commit, "c1s1", lambda: 1000.0, kept)
        self.alarms = Alarms("c2s1", lambda: 0.0)
        self.restart()

    def restart(self) -> None:
        self.copy = AuditCopy(self.folder, "c2s1", self.alarms)
        self.follower = Follower(self.kv, "", Several(self.copy))
        self.follow()

    def follow(self) -> None:
        for _ in range(3):
            self.follower.step(0)

    def acts(self, count: int, *, seen: bool = True) -> None:
        for _ in range(count):
            self.log.commit(Transaction({}, {}), act())
            if seen:
                self.follow()

    def numbers(self, after: int = 0, limit: int = 10_000) -> list[int]:
        return [read_line(line.encode()).number for line in self.copy.page(after, limit).records]

    def write(self, key: str, value: bytes | None) -> None:
        """What a thief writes into the state."""
        entry = self.kv.get(key)
        self.kv.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))

    def alarm_kinds(self) -> list[str]:
        return [alarm.kind for alarm in self.alarms.listing()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_copy, "SEGMENT", 4)
    monkeypatch.setattr(audit_copy, "SEGMENTS", 5)


class TestACopy:
    def test_has_every_record_as_it_was_written(self, place: Place) -> None:
        place.acts(10)
        lines = [line.encode() for line in place.copy.page(0, 100).records]
        assert lines == [entry.value for entry in place.kv.range(AUDIT).entries if entry.key != AUDIT_HEAD]
        assert [head for head, _ in followed(lines, Head())][-1] == place.copy.head

    def test_is_answered_in_pages(self, place: Place) -> None:
        place.acts(10)
        assert (place.numbers(0, 3), place.numbers(3, 3), place.numbers(9, 3)) == ([1, 2, 3], [4, 5, 6], [10])
        page = place.copy.page(10, 3)
        assert (page.server, page.oldest, page.head.number, page.records) == ("c2s1", 1, 10, ())
        assert place.numbers(0, 0) == []

    def test_keeps_what_the_state_has_trimmed(self, tmp_path: Path) -> None:
        place = Place(tmp_path, kept=3)
        place.acts(12)
        assert place.numbers() == list(range(1, 13))

    def test_of_who_was_away_has_all_that_the_state_still_had(self, place: Place) -> None:
        place.acts(2)
        place.acts(7, seen=False)
        place.restart()
        assert place.numbers() == list(range(1, 10))
        assert place.copy.page(0, 0).head.number == 9

    def test_goes_on_after_a_gap_if_the_state_had_trimmed_more(self, tmp_path: Path) -> None:
        place = Place(tmp_path, kept=3)
        place.acts(2)
        place.acts(7, seen=False)
        place.restart()
        assert place.numbers() == [1, 2, 7, 8, 9]
        assert place.numbers(3) == [7, 8, 9]
        assert place.alarm_kinds() == []

    def test_is_bounded_on_the_disk(self, place: Place) -> None:
        place.acts(30)
        assert len(list(place.folder.iterdir())) == 5
        assert place.numbers() == list(range(13, 31))
        assert place.copy.page(0, 0).oldest == 13

    @pytest.mark.parametrize("torn", [b'{"number": 6', b"\0" * 40, b'{"number":99}\n', b"\n"])
    def test_that_was_torn_by_a_power_cut_is_whole_again(self, place: Place, torn: bytes) -> None:
        place.acts(6)
        last = max(place.folder.iterdir())
        last.write_bytes(last.read_bytes() + torn)
        place.restart()
        place.acts(3)
        assert place.numbers() == list(range(1, 10))
        assert place.alarm_kinds() == []

    def test_whose_last_records_did_not_reach_the_disk_gets_them_again(self, place: Place) -> None:
        place.acts(7)
        last = max(place.folder.iterdir())
        last.write_bytes(last.read_bytes()[:-400])
        place.restart()
        assert place.numbers() == list(range(1, 8))


class TestADiskThatIsFull:
    def test_costs_the_copy_for_a_while_and_says_so(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        place.acts(2)
        with monkeypatch.context() as full:
            full.setattr(audit_copy.os, "fsync", _full)
            place.acts(3)
            assert place.alarm_kinds() == ["disk"]
            assert place.copy.head.number == 2
        place.acts(1)
        assert place.numbers() == [1, 2, 3, 4, 5, 6]
        assert place.alarm_kinds() == []

    def test_leaves_no_half_line_in_the_way(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        place.acts(1)
        with monkeypatch.context() as full:
            full.setattr(audit_copy.os, "fsync", _full)
            place.acts(1)
        last = max(place.folder.iterdir())
        last.write_bytes(last.read_bytes()[:-7] + b"x\n" * 9000)
        place.acts(1)
        assert place.numbers() == [1, 2, 3]


def _edits(place: Place) -> None:
    line = place.kv.get(audit_key(3))
    assert line is not None
    place.write(audit_key(3), line_of(msgspec.structs.replace(read_line(line.value), who="nobody")))


def _writes_all_anew(place: Place) -> None:
    for entry in place.kv.range(AUDIT).entries:
        place.write(entry.key, None)
    AuditLog(place.kv, place.kv.commit, "c1s1", lambda: 2000.0).commit(Transaction({}, {}), act())


def _cuts_the_end_off(place: Place) -> None:
    line = place.kv.get(audit_key(4))
    assert line is not None
    place.write(audit_key(5), None)
    place.write(AUDIT_HEAD, encode_record(AuditHead(4, _digest(line.value))))


def _goes_on_from_another_end(place: Place) -> None:
    head = encode_record(AuditHead(5, "ab" * 32))
    place.write(AUDIT_HEAD, head)
    AuditLog(place.kv, place.kv.commit, "c1s1", lambda: 2000.0).commit(Transaction({}, {}), act())


@pytest.mark.parametrize("thief", [_edits, _writes_all_anew, _cuts_the_end_off, _goes_on_from_another_end])
@pytest.mark.parametrize("away", [False, True])
class TestAnActiveThatWritesHistoryAnew:
    def test_is_contradicted_by_the_copies_of_all_others(
        self, place: Place, thief: Callable[[Place], None], away: bool
    ) -> None:
        place.acts(5)
        honest = place.copy.page(0, 100).records
        thief(place)
        if away:
            place.restart()
        place.follow()
        assert place.alarm_kinds() == ["audit"]
        (aside,) = place.folder.parent.glob("audit-until-*")
        kept = [line.decode() for path in sorted(aside.iterdir()) for line in path.read_bytes().splitlines()]
        assert tuple(kept) == honest
        state = [entry.value.decode() for entry in place.kv.range(AUDIT).entries if entry.key != AUDIT_HEAD]
        assert list(place.copy.page(0, 100).records) == state
        place.restart()
        assert place.alarm_kinds() == ["audit"]
        aside.rename(place.folder.parent / "looked-at")
        place.copy.look()
        assert place.alarm_kinds() == []


def test_who_does_it_again_and_again_fills_no_disk_and_hides_no_first_copy(place: Place) -> None:
    place.acts(5)
    for number in range(SET_ASIDE + 3):
        _writes_all_anew(place)
        place.acts(2 + number)
    aside = sorted(place.folder.parent.glob("audit-until-*"))
    assert len(aside) == SET_ASIDE
    assert any(path.stat().st_size for one in aside for path in one.glob("000000000005.jsonl"))


def test_a_record_that_is_none_is_left_out(place: Place) -> None:
    place.acts(2)
    place.write(audit_key(3), b"\xff")
    place.acts(0)
    place.follow()
    assert place.numbers() == [1, 2]


def test_a_sink_that_fails_keeps_nothing_from_being_read_anew() -> None:
    heard: list[str] = []

    class Deaf:
        def reset(self, snapshot: object) -> None:
            heard.append("reset")

        def apply(self, changes: object) -> None:
            raise BoardwrightError("read anew")

    class Last(Deaf):
        def apply(self, changes: object) -> None:
            heard.append("applied")

    kv = MemoryKV()
    follower = Follower(kv, "", Several(Deaf(), Last()))
    follower.step(0)
    kv.commit(Transaction({"plan": 0}, {"plan": b"{}"}))
    follower.step(0)
    follower.step(0)
    assert heard == ["reset", "reset"] * 2


def _digest(line: bytes) -> str:
    return next(head.digest for head, _ in followed([line]))


def _full(_fd: int) -> None:
    raise OSError(28, "No space left on device")
