"""The ranking of sources: everybody uses the best, failing ones go to the end."""

from boardwright.transfer.sources import FIRST_BACKOFF, MAX_SOURCES, RETURN, SourceError, SourceList
from tests.unit.transfer.blobs import Clock, MemorySource


def ranked(*ids: str) -> tuple[SourceList, list[MemorySource], Clock]:
    clock = Clock()
    sources = [MemorySource(one) for one in ids]
    return SourceList(sources, clock=clock), sources, clock


def test_everybody_gets_the_same_best_source() -> None:
    sources, (near, _), _ = ranked("near", "far")
    assert [sources.current() for _ in range(3)] == [near, near, near]


def test_a_failing_source_goes_to_the_end_with_its_reason() -> None:
    sources, (near, far), _ = ranked("near", "far")
    assert sources.leave(near, SourceError("it died"))
    assert sources.current() is far
    assert sources.ids() == ("far", "near")
    assert [(one.id, one.reason) for one in sources.left()] == [("near", "it died")]


def test_of_two_workers_that_saw_the_same_failure_only_the_first_leaves() -> None:
    sources, (near, far), _ = ranked("near", "far")
    assert sources.leave(near, SourceError("it died"))
    assert not sources.leave(near, SourceError("it died"))
    assert sources.current() is far


def test_a_source_may_be_asked_again_after_a_growing_back_off() -> None:
    sources, (only,), clock = ranked("only")
    waits = []
    for _ in range(6):
        sources.leave(only, SourceError("it died"))
        assert sources.current() is None
        waits.append(sources.next_ready() or 0.0)
        clock.sleep(waits[-1])
        assert sources.current() is only
    assert waits == [FIRST_BACKOFF, 1.0, 2.0, 4.0, 8.0, 8.0]


def test_a_source_that_worked_begins_its_back_off_anew() -> None:
    sources, (only,), clock = ranked("only")
    for _ in range(3):
        sources.leave(only, SourceError("it died"))
        clock.sleep(10)
    sources.worked(only)
    sources.leave(only, SourceError("it died"))
    assert sources.next_ready() == FIRST_BACKOFF


def test_a_busy_source_is_left_for_as_long_as_it_says() -> None:
    sources, (busy, free), _ = ranked("busy", "free")
    sources.leave(busy, SourceError("503", wait=3.0, busy=True))
    assert sources.current() is free
    sources.leave(free, SourceError("503", wait=5.0, busy=True))
    assert sources.next_ready() == 3.0


def test_a_liar_is_never_asked_again_not_even_when_it_is_heard_again() -> None:
    sources, (liar,), clock = ranked("liar")
    sources.leave(liar, SourceError("other bytes", wait=None))
    clock.sleep(1e6)
    assert sources.next_ready() is None
    assert not sources.add(MemorySource("liar"))
    assert sources.current() is None


def test_a_source_that_is_heard_again_lives() -> None:
    sources, (server,), _ = ranked("server")
    sources.leave(server, SourceError("it died"))
    assert not sources.add(MemorySource("server"))
    assert sources.current() is server


def test_a_source_that_joins_late_is_the_last_choice() -> None:
    sources, (near,), _ = ranked("near")
    late = MemorySource("late")
    assert sources.add(late)
    assert sources.current() is near
    sources.leave(near, SourceError("it died"))
    assert sources.current() is late


def test_the_list_is_bounded_and_closes_its_sources() -> None:
    sources, first, _ = ranked(*(f"s{number}" for number in range(MAX_SOURCES)))
    assert not sources.add(MemorySource("one more"))
    sources.close()
    assert all(source.closed for source in first)


def test_an_empty_list_has_nobody() -> None:
    sources, _, _ = ranked()
    assert sources.current() is None
    assert sources.next_ready() is None


def test_a_full_server_keeps_its_rank_and_being_full_again_is_no_second_failover() -> None:
    clock = Clock()
    near, far = MemorySource("near"), MemorySource("far")
    sources = SourceList([near, far], clock=clock)
    full = SourceError("full", wait=1.0, busy=True)
    assert sources.leave(near, full)
    assert sources.current() is far
    clock.sleep(1.0)
    assert sources.current() is near
    assert not sources.leave(near, full)
    assert sources.current() is far


def test_whether_somebody_else_could_be_asked() -> None:
    clock = Clock()
    one, other = MemorySource("one"), MemorySource("other")
    sources = SourceList([one, other], clock=clock)
    assert sources.others(one)
    sources.leave(other, SourceError("down", wait=5.0))
    assert not sources.others(one)
    clock.sleep(5.0)
    assert sources.others(one)


def test_a_source_that_failed_has_its_rank_again_after_a_while_and_later_each_time() -> None:
    clock = Clock()
    near, far = MemorySource("near"), MemorySource("far")
    sources = SourceList([near, far], clock=clock)
    sources.leave(near, SourceError("was restarted"))
    clock.sleep(RETURN - 1.0)
    assert sources.current() is far
    clock.sleep(1.0)
    assert sources.current() is near
    sources.worked(near)
    sources.leave(near, SourceError("hangs again"))
    clock.sleep(RETURN)
    assert sources.current() is far
    clock.sleep(RETURN)
    assert sources.current() is near


def test_a_liar_does_not_come_back() -> None:
    clock = Clock()
    liar, far = MemorySource("liar"), MemorySource("far")
    sources = SourceList([liar, far], clock=clock)
    sources.leave(liar, SourceError("sent wrong bytes", wait=None))
    clock.sleep(100 * RETURN)
    assert sources.current() is far
