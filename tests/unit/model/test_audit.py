"""The chain of the audit log: whoever follows it sees every edit, gap and change of order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.errors import BoardwrightError, MalformedError
from boardwright.model.audit import (
    MAX_LINE,
    MAX_TEXT,
    REFUSED,
    Act,
    Action,
    Actor,
    AuditRecord,
    ChainError,
    Head,
    follow,
    followed,
    line_of,
    read_line,
    record_after,
)

ANA = Actor("ana", "admin", "ab" * 32, "10.0.0.7")


def chain(count: int) -> list[bytes]:
    head, lines = Head(), []
    for number in range(count):
        line = line_of(record_after(head, Act(ANA, Action.DEPLOY).on(f"platform {number}"), 1000.0 + number, "c1s1"))
        lines.append(line)
        head, _ = follow(head, line)
    return lines


def heads(lines: list[bytes], head: Head | None = None) -> list[Head]:
    return [one for one, _ in followed(lines, head)]


def changed(record: AuditRecord, field: str) -> AuditRecord:
    value: Any = getattr(record, field)
    other = {"x": "y"} if isinstance(value, dict) else value + (1 if isinstance(value, int | float) else "x")
    return msgspec.structs.replace(record, **{field: other})


class TestAWholeChain:
    def test_is_followed_from_its_beginning_and_from_any_head_that_is_known(self) -> None:
        lines = chain(5)
        known = heads(lines)
        assert [head.number for head in known] == [1, 2, 3, 4, 5]
        assert heads(lines[3:], known[2]) == known[3:]

    def test_is_followed_from_where_a_trimmed_log_begins(self) -> None:
        lines = chain(5)
        assert heads(lines[2:]) == heads(lines)[2:]

    def test_says_who_did_what_when_and_from_where(self) -> None:
        record = read_line(chain(2)[1])
        said = (record.who, record.role, record.address, record.action, record.subject, record.at, record.server)
        assert said == ("ana", "admin", "10.0.0.7", "deploy", "platform 1", 1001.0, "c1s1")

    def test_is_followed_by_a_release_that_does_not_know_a_field_of_a_newer_one(self) -> None:
        first, second = chain(2)
        newer = first[:-1] + b',"zone":"a"}'
        head, record = follow(Head(), newer)
        after = line_of(msgspec.structs.replace(read_line(second), before=head.digest))
        assert record.who == "ana"
        assert heads([newer, after])[-1].number == 2


class TestABrokenChain:
    @given(st.integers(1, 7), st.data())
    @settings(max_examples=60, deadline=None)
    def test_any_edit_of_any_record_shows(self, length: int, data: st.DataObject) -> None:
        lines = chain(length)
        end = heads(lines)[-1]
        at = data.draw(st.integers(0, length - 1))
        field = data.draw(st.sampled_from(AuditRecord.__struct_fields__))
        lines[at] = line_of(changed(read_line(lines[at]), field))
        assert not _whole(lines, end)

    @given(st.lists(st.integers(0, 5), max_size=8))
    @settings(max_examples=80, deadline=None)
    def test_any_gap_order_repetition_or_cut_end_shows(self, order: list[int]) -> None:
        lines = chain(6)
        end = heads(lines)[-1]
        assert _whole([lines[one] for one in order], end) == (order == list(range(6)))

    def test_a_gap_and_an_edit_are_said_in_one_sentence_each(self) -> None:
        lines = chain(4)
        with pytest.raises(ChainError, match=r"^the audit log has a gap: record 4 comes after record 2$"):
            heads([*lines[:2], lines[3]])
        lines[1] = line_of(changed(read_line(lines[1]), "who"))
        with pytest.raises(ChainError, match=r"^the audit log was changed: record 3 "):
            heads(lines)

    def test_a_first_record_with_one_before_it_is_none(self) -> None:
        with pytest.raises(ChainError, match="record 1"):
            follow(None, line_of(changed(read_line(chain(1)[0]), "before")))

    @pytest.mark.parametrize("line", [b"", b"{}", b"[1]", b"\xff", b'{"number": "x"}', b"x" * (MAX_LINE + 1)])
    def test_what_is_no_record_is_malformed(self, line: bytes) -> None:
        with pytest.raises(MalformedError):
            follow(Head(), line)


class TestARecord:
    @given(st.text(), st.dictionaries(st.text(), st.text(), max_size=20))
    @settings(max_examples=50, deadline=None)
    def test_is_bounded_and_printable_whatever_was_sent(self, text: str, details: dict[str, str]) -> None:
        act = Act(Actor(text * 50, text, text, text), Action.JOIN, text * 50, details)
        line = line_of(record_after(Head(), act, 1.0, "c1s1", REFUSED, 3))
        record = read_line(line)
        assert len(line) <= MAX_LINE
        assert len(record.subject) <= MAX_TEXT
        assert all(one.isprintable() for one in (record.who, record.subject, *record.details.values()))
        assert (record.outcome, record.count) == ("refused", 3)

    def test_leaves_out_details_that_say_nothing(self) -> None:
        assert Act(ANA, Action.JOIN).on("x", slot="", token="t", uses=0).details == {"token": "t"}


def _whole(lines: list[bytes], end: Head) -> bool:
    """Whether a reader who knows the end of the log finds it whole from its beginning."""
    try:
        return heads(lines, Head())[-1:] == [end]
    except BoardwrightError:
        return False
