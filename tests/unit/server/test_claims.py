"""Two computers with one id, two boards in one slot, a board elsewhere than listed: what is an alarm, what is not."""

import msgspec
import pytest

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.alarms import LAPSE, AlarmKind, Alarms
from boardwright.server.claims import FORGET, MAX_SPEAKERS, Claims, Turns
from tests.unit.server.builders import board

HERE, THERE, ELSEWHERE = "10.0.1.3", "10.0.2.7", "10.0.3.9"


class Bench:
    def __init__(self) -> None:
        self.now = 100.0
        self.listed: dict[str, Location] = {}
        self.alarms = Alarms("c1s1", lambda: self.now)
        self.claims = Claims(lambda: self.now, self.alarms, self.listed.get)
        self._nonce = 0

    def asks(self, *hosts: str, facts: Board | None = None, after: float = 5.0) -> None:
        """One request, heard from each of `hosts`."""
        self.now += after
        self._nonce += 1
        for host in hosts:
            self.claims.request(facts or board(), host, self._nonce.to_bytes(16, "big"))

    def reports(self, host: str, facts: Board | None = None, after: float = 5.0) -> None:
        self.now += after
        self.claims.report(facts or board(), host)

    def raised(self) -> list[tuple[str, str]]:
        return [(alarm.kind, alarm.subject) for alarm in self.alarms.listing()]

    def sentence(self) -> str:
        (alarm,) = self.alarms.listing()
        return alarm.sentence


@pytest.fixture
def bench() -> Bench:
    return Bench()


def moved(chassis: str, slot: str, name: str = "c1s3") -> Board:
    return msgspec.structs.replace(board(name), location=Location(chassis, slot))


class TestOneIdTwice:
    @pytest.mark.parametrize("way", ["asks", "reports"])
    def test_two_that_speak_in_turn_are_an_alarm_that_names_both(self, bench: Bench, way: str) -> None:
        for host in (HERE, THERE, HERE):
            getattr(bench, way)(host)
            assert bench.raised() == []
            assert not bench.claims.contested("c1s3")
        getattr(bench, way)(THERE)
        assert bench.raised() == [("duplicate-id", "c1s3")]
        assert HERE in bench.sentence()
        assert THERE in bench.sentence()
        assert bench.claims.contested("c1s3")

    def test_two_that_say_different_places_are_one_even_if_other_servers_passed_it_on(self, bench: Bench) -> None:
        for facts in (moved("1", "3"), moved("2", "7"), moved("1", "3"), moved("2", "7")):
            bench.reports("", facts)
        assert bench.raised() == [("duplicate-id", "c1s3")]
        assert "1/3 and 2/7" in bench.sentence()

    def test_the_sentence_names_addresses_and_places(self, bench: Bench) -> None:
        for _ in range(2):
            bench.reports(HERE)
            bench.reports(THERE, moved("2", "7"))
        assert f"{HERE} (1/3) and {THERE} (2/7)" in bench.sentence()

    def test_a_board_that_gets_a_new_address_is_none(self, bench: Bench) -> None:
        for host in (HERE, HERE, THERE, THERE, THERE):
            bench.asks(host)
            bench.reports(host)
        assert bench.raised() == []

    def test_a_board_that_gets_its_old_address_again_is_none(self, bench: Bench) -> None:
        for host in (HERE, THERE, HERE, HERE):
            bench.asks(host)
        assert bench.raised() == []

    def test_addresses_that_change_seldom_are_none(self, bench: Bench) -> None:
        for _ in range(5):
            bench.asks(HERE, after=FORGET + 1)
            bench.asks(THERE, after=FORGET + 1)
        assert bench.raised() == []

    def test_a_board_with_two_interfaces_is_none_though_one_of_them_is_lost_at_times(self, bench: Bench) -> None:
        for hosts in [(HERE, THERE), (THERE, HERE), (HERE,), (THERE,), (HERE,), (THERE,), (THERE, HERE)] * 3:
            bench.asks(*hosts)
            for host in hosts:
                bench.reports(host)
        assert bench.raised() == []

    def test_a_replayed_request_is_none(self, bench: Bench) -> None:
        for _ in range(10):
            bench.asks(HERE, ELSEWHERE, HERE)
        assert bench.raised() == []

    def test_boards_that_share_one_host_are_none(self, bench: Bench) -> None:
        for _ in range(5):
            for name in ("c1s3", "c1s4"):
                bench.asks("127.5.1.1", facts=board(name))
                bench.reports("127.0.0.1", board(name))
                bench.reports("127.5.1.1", board(name))
        assert bench.raised() == []

    def test_it_ends_when_only_one_of_them_speaks(self, bench: Bench) -> None:
        for host in (HERE, THERE, HERE, THERE):
            bench.reports(host)
        for _ in range(int(FORGET // 60) + 1):
            bench.reports(HERE, after=60)
        assert not bench.claims.contested("c1s3")
        bench.now += LAPSE
        assert bench.raised() == []

    def test_the_alarm_stays_the_same_one_while_it_goes_on(self, bench: Bench) -> None:
        for _ in range(100):
            bench.reports(HERE)
            bench.reports(THERE)
        (alarm,) = bench.alarms.listing()
        assert alarm.count > 100


class TestOneSlotTwice:
    def test_two_boards_that_both_live_in_one_slot_are_an_alarm_that_names_both(self, bench: Bench) -> None:
        for name in ("c1s3", "b9", "c1s3", "b9"):
            bench.asks(HERE, facts=moved("1", "3", "c1s3") if name == "c1s3" else Board("b9", Location("1", "3"), "lc"))
        assert bench.raised() == [("slot-conflict", "1/3")]
        assert "c1s3 and b9" in bench.sentence()

    def test_a_card_that_takes_the_place_of_another_is_none(self, bench: Bench) -> None:
        for name in ("old", "old", "new", "new", "new"):
            bench.asks(HERE, facts=Board(name, Location("1", "3"), "lc"))
        assert bench.raised() == []


class TestASecondKey:
    def test_for_a_slot_is_an_alarm_at_once_in_the_words_of_who_knows_the_keys(self, bench: Bench) -> None:
        quarrel = "slot 1/3 is that of c1s4 (key aaaa), not of c1s3 (bbbb)"
        keys: list[str] = []

        def known(board: str, place: Location, key: str) -> str:
            keys.append(key)
            return quarrel if (board, place, key) == ("c1s3", Location("1", "3"), "b" * 64) else ""

        claims = Claims(lambda: bench.now, bench.alarms, bench.listed.get, known)
        claims.report(msgspec.structs.replace(board(), key="a" * 64), HERE)
        assert bench.raised() == []
        claims.report(msgspec.structs.replace(board(), key="b" * 64), "")
        assert bench.raised() == [("slot-conflict", "1/3")]
        assert bench.sentence() == f"{quarrel}; revoke the one that is gone"
        assert keys == ["a" * 64, "b" * 64]


class TestAnotherPlaceThanItsCertificateSays:
    WHY = "location-conflict: its configuration says 1/3, its certificate 1/4"

    def test_is_an_alarm_with_its_own_words_until_it_reports_without(self, bench: Bench) -> None:
        bench.claims.report(board(), HERE, self.WHY)
        assert bench.raised() == [("location-conflict", "c1s3")]
        assert self.WHY in bench.sentence()
        bench.claims.report(board(), HERE)
        assert bench.raised() == []


class TestAnotherPlaceThanListed:
    def test_is_an_alarm_at_once_with_both_places(self, bench: Bench) -> None:
        bench.listed["c1s3"] = Location("1", "3")
        bench.asks(THERE, facts=moved("2", "7"))
        assert bench.raised() == [("slot-conflict", "c1s3")]
        assert all(word in bench.sentence() for word in ("c1s3", THERE, "2/7", "1/3"))

    def test_a_board_in_its_place_and_one_that_is_not_listed_are_none(self, bench: Bench) -> None:
        bench.listed["c1s3"] = Location("1", "3")
        bench.asks(HERE)
        bench.asks(THERE, facts=board("c9s9"))
        assert bench.raised() == []


class TestBounds:
    def test_ids_and_speakers_without_end_need_bounded_memory(self) -> None:
        turns = Turns(max_keys=100)
        for number in range(10_000):
            turns.heard(f"b{number}", HERE, 1.0)
            turns.heard("b", f"10.{number}", 1.0)
            turns.heard("b", HERE, 1.0)
        assert len(turns) == 100
        assert len(turns.speakers("b", 1.0)) == MAX_SPEAKERS

    def test_alarms_of_many_liars_are_bounded_by_the_table_of_alarms(self, bench: Bench) -> None:
        for number in range(2000):
            for host in (HERE, THERE, HERE, THERE):
                bench.reports(host, Board(f"b{number}", Location("9", str(number)), "lc"), after=0.0)
        assert len(bench.alarms.subjects(AlarmKind.DUPLICATE_ID)) <= 256
