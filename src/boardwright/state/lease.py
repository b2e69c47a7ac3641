"""Who is active: a lease built from compare-and-set, judged by monotonic clocks alone.

Rules (design section 8):

* The record {holder, epoch, beat} is renewed every ``RENEW_EVERY`` seconds by compare-and-set; `beat` grows with each
  renewal, `epoch` with each new holder. A holder of "" means free: the last one handed over.
* A rival may take over a record that is free, or that it saw unchanged for ``TAKE_AFTER`` seconds by its own clock,
  counted from **after** the read that first showed it. Taking over compares the record's revision, so any renewal in
  between wins.
* One that was handed to a named successor is for that server alone for ``SUCCESSOR_FIRST`` seconds, then for anybody:
  a successor that dies costs a second, not the role. Who is named decides who is asked first, never who may act.
* A holder acts only within ``HOLD_FOR`` seconds of its last successful renewal, counted from **before** that call
  began. HOLD_FOR < TAKE_AFTER and the two readings of the clock lie on the safe sides of the write, so the holder
  considers itself deposed before any rival may take over: at most one acts at any time, as long as clocks run equally
  fast to within three per cent and count while a machine sleeps.
* An unknown outcome (EngineError) extends nothing and is found out by reading.
* A server that starts anew and finds its own id takes the record over at once: its former life held the lock of the
  same folder and is dead. If it is not (a folder that was copied), that one is deposed at its next renewal and is then
  a rival like any other: only the first reading after a start counts.
* A server that is not `chosen` (the hardware says so) takes nothing, and hands over what it holds.
* Every change of the active is a transaction that compares the lease record (`fenced`), so one that was deposed
  without knowing (a stopped process, a sleeping machine) cannot write.
"""

import msgspec

from boardwright.errors import BoardwrightError, ConflictError
from boardwright.state.kv import Entry, Transaction
from boardwright.state.records import LEASE, LeaseRecord, encode_record

RENEW_EVERY = 0.5
HOLD_FOR = 3.0
TAKE_AFTER = 3.1  # HOLD_FOR and three per cent: far more than crystals differ, and no timer needs to be exact
MISSED_AFTER = 1.6  # three renewals and some; who is only slow is asked again a moment later
SUCCESSOR_FIRST = 1.0  # a live successor is woken by the change and takes it in milliseconds
LOOK_EVERY = 0.5  # how often a rival reads if nothing wakes it

_decode = msgspec.json.Decoder(LeaseRecord).decode


class DeposedError(ConflictError):
    """This server is not the active: the change was not made; ask the active."""


class Held(msgspec.Struct, frozen=True):
    """A lease in hand: its epoch, the record's revision, and until when (own clock, seconds) its holder may act."""

    epoch: int
    beat: int
    revision: int
    until: float


class LeaseKeeper:
    """The rules above for one server `me`, without clock or engine.

    The driver's round: if `must_read`, read the record and `observe` it; then ask for a `proposal` and, if there is
    one, note the clock, commit it and say `committed`, `conflicted` or (outcome unknown) `unsure`. Every `now` is
    seconds of one clock that never goes back.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._held: Held | None = None
        self._record: LeaseRecord | None = None
        self._revision = 0
        self._since: float | None = None
        self._former_life = False  # the record is this server's own, of before its start
        self._certain = False
        self._renew_at = 0.0
        self._proposed: LeaseRecord | None = None

    @property
    def record(self) -> LeaseRecord | None:
        """The newest record known; None before the first read or if there never was a holder."""
        return self._record

    @property
    def revision(self) -> int:
        """Revision of that record; 0 if there is none."""
        return self._revision

    @property
    def must_read(self) -> bool:
        """Whether the record must be read before a proposal: always, but for a holder that knows its own revision."""
        return self._held is None or not self._certain

    def held(self, now: float) -> Held | None:
        """The lease, if this server may act at `now`."""
        held = self._held
        return held if held is not None and now < held.until else None

    def missed(self, now: float) -> bool:
        """Whether the holder has let renewals pass, as one does that is dead or cut off."""
        return self._since is not None and self.held(now) is None and now - self._since > MISSED_AFTER

    def observe(self, entry: Entry | None, now: float) -> None:
        """Take in the record as read; `now` is taken after the read returned."""
        revision = entry.revision if entry else 0
        record = read_lease(entry.value) if entry else None
        if self._since is None or revision != self._revision:
            self._former_life = self._since is None and record is not None and record.holder == self._me
            self._since = now
        self._record, self._revision, self._certain = record, revision, True
        held = self.held(now)
        if held is None or record is None or (record.holder, record.epoch) != (self._me, held.epoch):
            self._held = None
        else:  # a renewal of unknown outcome took effect, or another thread's read came late: the lease goes on
            self._held = msgspec.structs.replace(held, beat=record.beat, revision=revision)

    def proposal(self, now: float, *, chosen: bool = True) -> Transaction | None:
        """What to commit now: a renewal that is due, or taking over a lease that is free or lost; None for nothing.

        Who is not `chosen` hands over instead.
        """
        if self._held is not None and self.held(now) is None:
            self._held = None
            self._certain = False
        if not self._certain:
            return None
        if self._held is not None and not chosen:
            return self.handover(now)
        if now < self._renew_at:
            return None
        if self._held is not None:
            return self._propose(LeaseRecord(self._me, self._held.epoch, self._held.beat + 1))
        if not (chosen and self._may_take(now)):
            return None
        return self._propose(LeaseRecord(self._me, self._record.epoch + 1 if self._record else 1))

    def handover(self, now: float, successor: str = "") -> Transaction | None:
        """What to commit so that `successor`, or any rival, takes over at once; None if nothing is held."""
        held = self.held(now)
        self._held = None
        if held is None or not self._certain:
            return None
        return self._propose(LeaseRecord("", held.epoch, held.beat + 1, successor))

    def committed(self, revision: int, began: float) -> None:
        """The proposal took effect; `began` is the clock from before the call."""
        record = self._proposed
        if record is None:
            raise ValueError("nothing was proposed")
        self._record, self._revision, self._since, self._certain = record, revision, began, True
        self._proposed = None
        if record.holder == self._me:
            self._held = Held(record.epoch, record.beat, revision, began + HOLD_FOR)
            self._renew_at = began + RENEW_EVERY

    def conflicted(self) -> None:
        """The proposal lost: read again. Whatever was held goes on until it runs out or the record says otherwise."""
        self._proposed = None
        self._certain = False

    def unsure(self) -> None:
        """Nobody knows whether the proposal took effect: read again."""
        self.conflicted()

    def next_at(self, now: float) -> float:
        """When the next round is due at the latest: the next renewal, look, or end of what is held."""
        if self._held is not None:
            due = self._renew_at if self._certain else now + RENEW_EVERY / 2
            return max(now, min(due, self._held.until))
        due = now + LOOK_EVERY
        if self._since is not None and self._since + self._patience > now:
            due = min(due, self._since + self._patience)
        return due

    @property
    def _patience(self) -> float:
        """Seconds that this server must see the record unchanged before it may take over."""
        if self._record is None or self._former_life:
            return 0.0
        if self._record.holder:
            return TAKE_AFTER
        return SUCCESSOR_FIRST if self._record.successor not in ("", self._me) else 0.0

    def _may_take(self, now: float) -> bool:
        return self._patience == 0.0 or (self._since is not None and now - self._since >= self._patience)

    def _propose(self, record: LeaseRecord) -> Transaction:
        self._proposed = record
        return Transaction({LEASE: self._revision}, {LEASE: encode_record(record)})


def fenced(transaction: Transaction, held: Held) -> Transaction:
    """`transaction` with the lease in its compares: it fails if anybody, renewals included, wrote the lease since."""
    return Transaction({**transaction.compares, LEASE: held.revision}, transaction.puts)


def read_lease(value: bytes) -> LeaseRecord:
    """The record as the state keeps it; raises BoardwrightError for one that this release cannot read."""
    try:
        return _decode(value)
    except msgspec.DecodeError as error:
        raise BoardwrightError(
            f"the record {LEASE} is not of the form that this release reads",
            hint="a newer release wrote it: start that release, or restore a backup",
        ) from error
