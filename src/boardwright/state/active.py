"""The lease at work: engine, clock and thread around the pure LeaseKeeper.

Rules:

* `held` is judged by the clock at the moment of asking. Ask before each act; a callback may come late, this never.
* Changes go through `commit`: it takes turns with the renewals of this process, so a renewal between the building of
  a transaction and its commit is no conflict.
* While the state is being restored, and while what this server has seen of it is newer than what it says (`barrier`),
  nothing is changed but by who restores, whose transactions compare the record ``RESTORING`` themselves.
* The clock counts while the machine sleeps (CLOCK_BOOTTIME), so a holder that wakes up knows that it was deposed.
"""

import threading
import time
from collections.abc import Callable

from boardwright.errors import BoardwrightError, ConflictError
from boardwright.state.kv import KV, CompactedError, EngineError, Transaction
from boardwright.state.lease import DeposedError, Held, LeaseKeeper, fenced, read_lease
from boardwright.state.records import LEASE, RESTORING, LeaseRecord

RESTORE_HINT = "boardwright restore FILE [--replace]; see docs/operate/backup.md"


class RestoringError(ConflictError):
    """The state is not whole, or older than what was seen of it: the change was not made."""


def boottime() -> float:
    """Seconds since boot, sleep included (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ActiveRole:
    """One server's part in the contest for the active role; `me` is the server's id.

    `chosen` says whether this server may be the active, and never blocks; `barrier` why the state must not be changed
    now, '' if it may.
    """

    def __init__(
        self,
        kv: KV,
        me: str,
        *,
        clock: Callable[[], float] = boottime,
        chosen: Callable[[], bool] = lambda: True,
        barrier: Callable[[], str] = str,
    ) -> None:
        self._kv = kv
        self._me = me
        self._clock = clock
        self._chosen = chosen
        self._barrier = barrier
        self._keeper = LeaseKeeper(me)
        self._lock = threading.RLock()
        self._trouble = ""

    @property
    def held(self) -> Held | None:
        """The lease if this server is the active right now; never blocks."""
        return self._keeper.held(self._clock())

    @property
    def record(self) -> LeaseRecord | None:
        """The newest lease record known to this server: who is active, by which epoch; never blocks."""
        return self._keeper.record

    @property
    def missed(self) -> bool:
        """Whether the holder in the record has let renewals pass; never blocks."""
        return self._keeper.missed(self._clock())

    @property
    def trouble(self) -> str:
        """'' or why the last round did not reach the engine."""
        return self._trouble

    def tick(self) -> float:
        """One round: read, renew or take over as due; returns the seconds until the next. Engine trouble is kept."""
        with self._lock:
            try:
                self._round()
                self._trouble = ""
            except BoardwrightError as error:
                self._trouble = str(error)
            now = self._clock()
            return max(0.0, self._keeper.next_at(now) - now)

    def commit(self, transaction: Transaction) -> int:
        """Commit as the active; DeposedError if this server is not, RestoringError, ConflictError, EngineError."""
        restores = RESTORING in transaction.compares
        if not restores and (why := self._barrier()):
            raise RestoringError(f"nothing is changed now: {why}", hint=RESTORE_HINT)
        with self._lock:
            held = self.held
            if held is None:
                raise DeposedError(f"server {self._me} is not the active")
            if not restores:
                transaction = Transaction({**transaction.compares, RESTORING: 0}, transaction.puts)
            try:
                return self._kv.commit(fenced(transaction, held))
            except ConflictError as error:
                if restores or self._kv.get(RESTORING) is None:
                    raise
                raise RestoringError(
                    "the state is being restored, or a restore was cut off", hint=RESTORE_HINT
                ) from error

    def release(self) -> None:
        """Hand over if active: a rival takes over as soon as it looks. Engine trouble: it will by time-out."""
        with self._lock:
            proposal = self._keeper.handover(self._clock())
            if proposal is None:
                return
            try:
                self._keeper.committed(self._kv.commit(proposal), self._clock())
            except (ConflictError, EngineError) as error:
                self._keeper.unsure()
                self._trouble = str(error)

    def hand_over(self, successor: str, besides: Transaction) -> int:
        """Give the role up for `successor` to take, and commit `besides` with it; the revision of that.

        Raises DeposedError, ConflictError, EngineError.
        """
        with self._lock:
            if self._keeper.must_read:
                self._round()
            proposal = self._keeper.handover(self._clock(), successor)
            if proposal is None:
                raise DeposedError(f"server {self._me} is not the active")
            try:
                revision = self._kv.commit(
                    Transaction(
                        {**besides.compares, **proposal.compares, RESTORING: 0}, {**besides.puts, **proposal.puts}
                    )
                )
            except (ConflictError, EngineError):
                self._keeper.unsure()
                raise
            self._keeper.committed(revision, self._clock())
            return revision

    def next_holder(self, after: int, timeout: float) -> LeaseRecord | None:
        """Who takes the role after revision `after`; None if nobody does in `timeout` seconds. EngineError."""
        until = self._clock() + timeout
        while (left := until - self._clock()) > 0.0:
            for change in self._kv.watch(LEASE, after, left):
                after = change.revision
                record = None if change.value is None else read_lease(change.value)
                if record is not None and record.holder:
                    self.tick()  # so that whoever asks this server from now on is sent there
                    return record
        return None

    def run(self, stop: threading.Event, on_change: Callable[[Held | None], None]) -> None:
        """Rounds until `stop`, then hand over; `on_change` hears in this thread of a lease won, or lost (None)."""
        epoch = 0
        while not stop.is_set():
            pause = self.tick()
            held = self.held
            if (held.epoch if held else 0) != epoch:
                epoch = held.epoch if held else 0
                on_change(held)
            if held is None:
                self._wait_for_change(stop, pause)
            else:
                stop.wait(pause)
        self.release()
        if epoch:
            on_change(None)

    def _round(self) -> None:
        if self._keeper.must_read:
            entry = self._kv.get(LEASE)
            self._keeper.observe(entry, self._clock())
        proposal = self._keeper.proposal(self._clock(), chosen=self._chosen())
        if proposal is None:
            return
        began = self._clock()
        try:
            self._keeper.committed(self._kv.commit(proposal), began)
        except ConflictError:
            self._keeper.conflicted()
        except EngineError:
            self._keeper.unsure()
            raise

    def _wait_for_change(self, stop: threading.Event, pause: float) -> None:
        """A rival waits for the record to change, so that a handover is taken at once."""
        try:
            self._kv.watch(LEASE, self._keeper.revision, pause)
        except (CompactedError, EngineError):
            stop.wait(pause)
