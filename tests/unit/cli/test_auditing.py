"""`boardwright audit`: what it shows, and what it notices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from boardwright.cli.audit_reading import HEAD_FILE
from boardwright.errors import RefusedError, UnreachableError
from boardwright.model.audit import Act, Action, Actor, AuditPage, Head, follow, line_of, read_line, record_after
from tests.unit.cli.conftest import Command, FakeCluster

A, B = "https://10.0.1.1:6688", "https://10.0.2.1:6688"
BEGIN = 1_767_225_600.0  # 2026-01-01


def chain(count: int, *, by: str = "ana", on: list[bytes] | None = None) -> list[bytes]:
    """So many records, every second one a deployment by ana, the others tokens by bob; `on`: after these."""
    lines, head = list(on or []), Head()
    for line in lines:
        head, _ = follow(head, line)
    for number in range(len(lines), len(lines) + count):
        who, action = (by, Action.DEPLOY) if number % 2 == 0 else ("bob", Action.TOKEN_CREATE)
        act = Act(Actor(who, "admin", "ab" * 32, "10.0.0.7"), action).on(f"subject {number + 1}", rollout=f"r{number}")
        line = line_of(record_after(head, act, BEGIN + 3600.0 * number, "c1s1"))
        head, _ = follow(head, line)
        lines.append(line)
    return lines


class Log:
    """The copies of two servers; `lost` are numbers that a copy lacks."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.copies: dict[str, list[bytes]] = {A: chain(6), B: chain(6)}
        self.silent: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.refused = False
        self.boast = Head()
        cluster.bases = (A, B)  # type: ignore[attr-defined]
        cluster.audit = self.page  # type: ignore[attr-defined]

    def page(self, base: str, after: int, limit: int) -> AuditPage:
        self.asked.append((base, after))
        if self.refused:
            raise RefusedError("screen is viewer and may not GET /v1/audit")
        if base in self.silent:
            raise UnreachableError(f"{base} did not answer")
        lines = self.copies[base]
        numbers = [read_line(line).number for line in lines]
        head = Head(numbers[-1], follow(None, lines[-1])[0].digest) if lines else Head()
        head = self.boast if base == B and self.boast.number else head
        found = [line.decode() for line, number in zip(lines, numbers, strict=True) if number > after]
        return AuditPage("c1s1" if base == A else "c2s1", numbers[0] if numbers else 0, head, tuple(found[:limit]))


@pytest.fixture
def log(cluster: FakeCluster) -> Log:
    return Log(cluster)


def seen(operator: Path) -> int:
    return msgspec.json.decode((operator / HEAD_FILE).read_bytes(), type=Head).number


class TestAWholeLog:
    def test_is_shown_the_oldest_first(self, log: Log, command: Command) -> None:
        done = command("audit")
        assert (done.code, done.err) == (0, "")
        header, first, *_, last = done.out.splitlines()
        assert header.split() == ["record", "time", "who", "role", "from", "action", "subject", "outcome", "details"]
        assert first.split() == [
            "1",
            "2026-01-01",
            "00:00:00Z",
            "ana",
            "admin",
            "10.0.0.7",
            "deploy",
            "subject",
            "1",
            "done",
            "rollout",
            "r0",
        ]
        assert last.startswith("6 ")

    def test_is_shown_as_json_with_what_was_followed(self, log: Log, command: Command) -> None:
        shown: Any = command("audit", "-o", "json").json
        assert [one["number"] for one in shown["records"]] == [1, 2, 3, 4, 5, 6]
        assert shown["records"][1]["before"] == shown["records"][0]["digest"]
        assert (shown["first"], shown["head"]["number"], shown["findings"]) == (1, 6, [])
        assert shown["servers"] == {"c1s1": 6, "c2s1": 6}

    @pytest.mark.parametrize(
        ("words", "numbers"),
        [
            (("--last", "2"), [5, 6]),
            (("--who", "bob"), [2, 4, 6]),
            (("--who", "a*", "--last", "1"), [5]),
            (("--action", "token-create"), [2, 4, 6]),
            (("--since", "2026-01-01T03:30"), [5, 6]),
            (("--since", "2026-01-02"), []),
            (("--since", "1h"), []),
        ],
    )
    def test_is_shown_in_part(self, log: Log, command: Command, words: tuple[str, ...], numbers: list[int]) -> None:
        shown: Any = command("audit", *words, "-o", "json").json
        assert [one["number"] for one in shown["records"]] == numbers

    def test_is_said_to_be_whole(self, log: Log, command: Command) -> None:
        done = command("audit", "--check")
        assert (done.code, done.out) == (0, "records 1 to 6 are whole; asked: 2 servers\n")

    def test_that_is_empty_is_whole(self, log: Log, command: Command) -> None:
        log.copies = {A: [], B: []}
        assert command("audit", "--check").out == "the audit log is empty\n"
        assert command("audit").code == 0

    def test_is_whole_though_one_copy_lacks_what_another_has_or_lags(self, log: Log, command: Command) -> None:
        whole = chain(8)
        log.copies = {A: [*whole[:2], *whole[4:]], B: whole[:6]}
        shown: Any = command("audit", "-o", "json").json
        assert [one["number"] for one in shown["records"]] == list(range(1, 9))
        assert shown["findings"] == []

    def test_is_whole_where_the_oldest_were_dropped(self, log: Log, command: Command) -> None:
        log.copies = {A: chain(9)[4:], B: chain(9)[6:]}
        assert command("audit", "--check").out == "records 5 to 9 are whole; asked: 2 servers\n"

    def test_is_read_in_part_if_nothing_asks_for_more(self, log: Log, command: Command) -> None:
        log.copies = {A: chain(700), B: chain(700)}
        command("audit", "--last", "5")
        log.asked.clear()
        assert len(command("audit", "--last", "5").out.splitlines()) == 6
        assert min(after for _, after in log.asked if after) >= 600

    def test_of_a_server_that_is_silent_is_not_compared_and_that_is_said(self, log: Log, command: Command) -> None:
        log.silent = {A}
        done = command("audit")
        assert (done.code, done.err) == (0, f"{A} did not answer: its copy was not compared\n")

    def test_of_nobody_is_exit_code_4(self, log: Log, command: Command) -> None:
        log.silent = {A, B}
        assert command("audit").code == 4

    def test_is_not_for_viewers(self, log: Log, command: Command) -> None:
        log.refused = True
        assert command("audit").code == 3


def _edit(lines: list[bytes]) -> list[bytes]:
    lines[2] = line_of(msgspec.structs.replace(read_line(lines[2]), who="nobody"))
    return lines


def _gap(lines: list[bytes]) -> list[bytes]:
    del lines[2]
    return lines


def _other_end(lines: list[bytes]) -> list[bytes]:
    lines[-1] = line_of(msgspec.structs.replace(read_line(lines[-1]), who="nobody"))
    return lines


class TestABrokenLog:
    @pytest.mark.parametrize(
        ("break_", "sentence"),
        [
            (_edit, "the audit log was changed: record 4 was written after another record 3"),
            (_gap, "the audit log has a gap: record 4 comes after record 2"),
        ],
    )
    def test_of_every_server_is_exit_code_1_with_one_sentence(
        self, log: Log, command: Command, break_: Callable[[list[bytes]], list[bytes]], sentence: str
    ) -> None:
        log.copies = {A: break_(chain(6)), B: break_(chain(6))}
        for words in ((), ("--check",), ("-o", "json")):
            done = command("audit", *words)
            assert done.code == 1
            assert done.err.startswith(f"boardwright: {sentence}"), done.err

    def test_of_one_server_shows_by_the_others(self, log: Log, command: Command) -> None:
        log.copies[B] = _other_end(chain(6))
        done = command("audit")
        assert done.code == 1
        assert "c2s1 has another record 6 than other servers" in done.err

    def test_of_one_server_shows_though_it_lags(self, log: Log, command: Command) -> None:
        log.copies = {A: chain(90), B: _other_end(chain(4))}
        done = command("audit", "--last", "3")
        assert "c2s1 has another record 4 than other servers" in done.err

    def test_of_a_server_that_boasts_is_a_gap_with_its_name(self, log: Log, command: Command) -> None:
        log.boast = Head(2**60, "ab" * 32)
        done = command("audit")
        assert done.code == 1
        assert f"c2s1 names record {2**60}, but no server that answered has those after record 6" in done.err

    def test_is_not_remembered_as_seen(self, log: Log, command: Command, operator: Path) -> None:
        log.copies = {A: _gap(chain(6)), B: _gap(chain(6))}
        command("audit")
        assert not (operator / HEAD_FILE).exists()


class TestHistoryThatWasWrittenAnewAtEveryServer:
    def test_shows_by_what_this_folder_has_seen(self, log: Log, command: Command, operator: Path) -> None:
        command("audit")
        assert seen(operator) == 6
        log.copies = {A: chain(9, by="mallory"), B: chain(9, by="mallory")}
        for words in ((), ("--check",), ("--last", "1")):
            done = command("audit", *words)
            assert done.code == 1
            assert "was written anew: record 6 is another than the one that was seen from here" in done.err
            assert "restored from a backup" in done.err
        assert seen(operator) == 6

    def test_shows_if_its_end_was_cut_off(self, log: Log, command: Command, operator: Path) -> None:
        command("audit")
        log.copies = {A: chain(4), B: chain(4)}
        done = command("audit")
        assert done.code == 1
        assert "was cut off: it ends with record 4, and record 6 was seen from here" in done.err
        (operator / HEAD_FILE).unlink()
        assert command("audit").code == 0

    def test_what_goes_on_from_what_was_seen_is_whole(self, log: Log, command: Command, operator: Path) -> None:
        command("audit")
        log.copies = {A: chain(80, on=chain(6)), B: chain(6)}
        assert command("audit", "--last", "1").code == 0
        assert seen(operator) == 86

    def test_what_was_seen_and_is_kept_no_more_cannot_be_compared_and_that_is_said(
        self, log: Log, command: Command, operator: Path
    ) -> None:
        command("audit")
        log.copies = {A: chain(30)[10:], B: chain(30)[10:]}
        done = command("audit")
        assert (done.code, done.err) == (
            0,
            "record 6, which was seen last from here, is kept no more: it was not compared\n",
        )

    def test_a_damaged_memory_is_an_error_and_not_taken_for_none(
        self, log: Log, command: Command, operator: Path
    ) -> None:
        (operator / HEAD_FILE).write_bytes(b"\xff")
        done = command("audit")
        assert (done.code, "audit-head cannot be read" in done.err) == (2, True)


def test_a_server_that_lies_does_not_steer_the_terminal(log: Log, command: Command) -> None:
    line = line_of(msgspec.structs.replace(read_line(chain(1)[0]), who="\x1b[2J", details={"why": "\x1b[2J"}))
    log.copies = {A: [line], B: [line]}
    done = command("audit")
    assert (done.code, "\x1b" in done.out, "?[2J" in done.out) == (0, False, True)


@pytest.mark.parametrize(
    "words", [("--action", "dance"), ("--since", "yesterday"), ("--since", ""), ("--last", "0"), ("extra",)]
)
def test_wrong_words_are_exit_code_2(log: Log, command: Command, words: tuple[str, ...]) -> None:
    assert command("audit", *words).code == 2
    assert log.asked == []
