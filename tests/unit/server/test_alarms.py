"""What a server warns of, until it is over."""

from boardwright.server.alarms import LAPSE, MAX_ALARMS, MAX_SENTENCE, AlarmKind, Alarms


class TestAlarms:
    def setup_method(self) -> None:
        self.now = 100.0
        self.alarms = Alarms("c1s1", lambda: self.now)

    def test_an_alarm_says_who_warns_of_what_and_since_when(self) -> None:
        self.alarms.sound(AlarmKind.DISK, "/data", "the disk is full")
        self.now += 5.0
        (alarm,) = self.alarms.listing()
        assert (alarm.server, alarm.kind, alarm.subject) == ("c1s1", "disk", "/data")
        assert (alarm.sentence, alarm.seconds, alarm.count) == ("the disk is full", 5.0, 1)

    def test_raised_again_it_is_the_same_alarm_with_the_newest_sentence(self) -> None:
        self.alarms.sound(AlarmKind.DISK, "/data", "90 % used")
        self.now += 5.0
        self.alarms.sound(AlarmKind.DISK, "/data", "95 % used")
        (alarm,) = self.alarms.listing()
        assert (alarm.sentence, alarm.seconds, alarm.count) == ("95 % used", 5.0, 2)

    def test_one_that_lasts_stays_until_it_is_cleared(self) -> None:
        self.alarms.sound(AlarmKind.DISK, "/data", "the disk is full")
        self.now += 100 * LAPSE
        assert self.alarms.subjects(AlarmKind.DISK) == {"/data"}
        self.alarms.clear(AlarmKind.DISK, "/data")
        assert self.alarms.listing() == ()

    def test_one_without_an_end_lapses(self) -> None:
        self.alarms.sound(AlarmKind.SLOT_CONFLICT, "1/3", "two boards sit there", lasting=False)
        self.now += LAPSE - 1.0
        assert self.alarms.counts()["slot-conflict"] == 1.0
        self.now += 2.0
        assert self.alarms.counts()["slot-conflict"] == 0.0

    def test_nobody_can_fill_the_table_nor_a_sentence(self) -> None:
        for number in range(2 * MAX_ALARMS):
            self.alarms.sound(AlarmKind.DUPLICATE_ID, f"b{number}", "x" * 10_000, lasting=False)
        listed = self.alarms.listing()
        assert len(listed) == MAX_ALARMS
        assert {alarm.subject for alarm in listed} == {f"b{number}" for number in range(MAX_ALARMS, 2 * MAX_ALARMS)}
        assert all(len(alarm.sentence) == MAX_SENTENCE for alarm in listed)

    def test_clearing_what_was_never_raised_is_nothing(self) -> None:
        self.alarms.clear(AlarmKind.QUOTA, "store")
        assert self.alarms.listing() == ()
