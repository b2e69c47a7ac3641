"""Answers first, bookkeeping after."""

from collections.abc import Callable

from boardwright.server.aftermath import MAX_WAITING, PAUSE, PORTION, Aftermath


class Loop:
    """An event loop that does what is due when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append((seconds, call))

    def turn(self) -> float:
        """Carry out the next call; how long it was put off."""
        seconds, call = self.calls.pop(0)
        call()
        return seconds


class TestAftermath:
    def setup_method(self) -> None:
        self.loop = Loop()
        self.done: list[int] = []
        self.aftermath: Aftermath[int] = Aftermath(self.done.append, self.loop.call_later)

    def test_nothing_is_done_before_the_answers_are_out(self) -> None:
        self.aftermath.add(1)
        self.aftermath.add(2)
        assert self.done == []
        assert self.loop.turn() == PAUSE
        assert self.done == [1, 2]
        assert self.loop.calls == []

    def test_much_is_done_in_portions_so_that_others_get_their_turn(self) -> None:
        for number in range(2 * PORTION + 1):
            self.aftermath.add(number)
        self.loop.turn()
        assert len(self.done) == PORTION
        assert self.loop.turn() == 0.0
        self.loop.turn()
        assert self.done == list(range(2 * PORTION + 1))
        assert self.loop.calls == []

    def test_it_begins_again_after_it_was_done(self) -> None:
        self.aftermath.add(1)
        self.loop.turn()
        self.aftermath.add(2)
        assert self.loop.turn() == PAUSE
        assert self.done == [1, 2]

    def test_the_queue_is_bounded_and_what_is_let_go_is_counted(self) -> None:
        for number in range(MAX_WAITING + 5):
            self.aftermath.add(number)
        assert self.aftermath.let_go == 5
        while self.loop.calls:
            self.loop.turn()
        assert len(self.done) == MAX_WAITING
