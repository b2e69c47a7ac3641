"""A follower's copy is what the state is, whatever happened in between."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from boardwright.state.follow import FIRST_PAUSE, LONGEST_PAUSE, Copy, Follower
from boardwright.state.kv import Change, EngineError, Snapshot, Transaction
from boardwright.state.memory_kv import MemoryKV


def put(kv: MemoryKV, key: str, value: bytes | None) -> None:
    entry = kv.get(key)
    kv.commit(Transaction({key: entry.revision if entry else 0}, {key: value}))


def contents(kv: MemoryKV, prefix: str) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in kv.range(prefix).entries}


class TroubledKV(MemoryKV):
    """Fails while `down`."""

    down = False

    def range(self, prefix: str) -> Snapshot:
        self._check()
        return super().range(prefix)

    def watch(self, prefix: str, after: int, timeout: float) -> tuple[Change, ...]:
        self._check()
        return super().watch(prefix, after, timeout)

    def _check(self) -> None:
        if self.down:
            raise EngineError("the engine is down")


class BrokenSink(Copy):
    """Fails on its next `failures` batches."""

    failures = 0

    def apply(self, changes: Sequence[Change]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("no space left on device")
        super().apply(changes)


def test_it_begins_with_what_is_there() -> None:
    kv, copy = MemoryKV(), Copy()
    put(kv, "boards/a", b"1")
    put(kv, "policy", b"2")
    follower = Follower(kv, "boards/", copy)
    assert not follower.wait_ready(0)
    assert follower.step(0) == 0
    assert follower.wait_ready(0)
    assert copy.entries == {"boards/a": b"1"}
    assert copy.revision == 2


def test_it_takes_changes_and_deletions() -> None:
    kv, copy = MemoryKV(), Copy()
    put(kv, "a", b"1")
    follower = Follower(kv, "", copy)
    follower.step(0)
    put(kv, "b", b"2")
    put(kv, "a", None)
    follower.step(0)
    assert copy.entries == {"b": b"2"}
    assert copy.revision == 3


def test_one_that_lags_too_far_reads_anew() -> None:
    kv, copy = MemoryKV(history=2), Copy()
    put(kv, "gone", b"1")
    follower = Follower(kv, "", copy)
    follower.step(0)
    put(kv, "gone", None)
    for number in range(5):
        put(kv, "a", b"%d" % number)
    assert follower.step(0) == 0
    assert follower.step(0) == 0
    assert copy.entries == {"a": b"4"}


def test_trouble_is_tried_again_with_growing_pauses_and_leaves_the_copy() -> None:
    kv, copy = TroubledKV(), Copy()
    put(kv, "a", b"1")
    follower = Follower(kv, "", copy)
    follower.step(0)
    kv.down = True
    pauses = [follower.step(0) for _ in range(40)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE <= 1.0, "changes go on within three seconds after the engine is back"
    assert follower.trouble == "the engine is down"
    assert copy.entries == {"a": b"1"}
    kv.down = False
    put(kv, "a", b"2")
    assert follower.step(0) == 0
    assert follower.trouble == ""
    assert copy.entries == {"a": b"2"}


def test_a_batch_that_the_sink_could_not_take_is_not_lost() -> None:
    kv, copy = MemoryKV(), BrokenSink()
    follower = Follower(kv, "", copy)
    follower.step(0)
    copy.failures = 1
    put(kv, "a", b"1")
    assert follower.step(0) == FIRST_PAUSE
    assert "no space" in follower.trouble
    put(kv, "b", b"2")
    follower.step(0)
    assert copy.entries == {"a": b"1", "b": b"2"}


def test_it_runs_in_a_thread_until_it_is_stopped() -> None:
    kv, stop, seen = MemoryKV(), threading.Event(), threading.Event()

    class Waiting(Copy):
        def apply(self, changes: Sequence[Change]) -> None:
            super().apply(changes)
            seen.set()

    copy = Waiting()
    follower = Follower(kv, "", copy)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(follower.run, stop)
        assert follower.wait_ready(10)
        put(kv, "a", b"1")
        assert seen.wait(10)
        stop.set()
        running.result(10)
    assert copy.entries == {"a": b"1"}


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=2))),
            st.sampled_from(["step", "down", "up"]),
        ),
        max_size=60,
    )
)
def test_whatever_happened_two_quiet_steps_later_the_copy_is_the_state(
    events: list[str | tuple[str, bytes | None]],
) -> None:
    kv, copy = TroubledKV(history=3), Copy()
    follower = Follower(kv, "", copy)
    for event in events:
        if isinstance(event, tuple):
            put(kv, *event)
        elif event == "step":
            follower.step(0)
        else:
            kv.down = event == "down"
    kv.down = False
    follower.step(0)
    follower.step(0)
    assert copy.entries == contents(kv, "")
