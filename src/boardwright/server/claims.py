"""Who says that it is which board, and where: two computers with one id, two boards in one slot, a board elsewhere.

Rules:

* An address or a place that changes is no alarm: boards get new addresses and cards are moved. What tells is that both
  speak again after the other one: only two that live at the same time do that.
* One request that comes from several addresses (it has one nonce) is one board with several interfaces.
* A board of the operator's list that says another place than the list is an alarm at once; the list is believed.
* While an id is contested, nothing that it says of itself is recorded (``contested``): the plan must not swing.
* The tables are bounded; what was silent the longest makes room, and what is silent for `FORGET` is forgotten.
* Alarms lapse by themselves: they are raised again for as long as the cause goes on.

Requests prove nothing, so of them this is all that can be known: a liar can be seen, not told from the one that is lied
about. Reports carry the key of who sent them, as its session proved; a second key for a board or a slot is an alarm at
once (``slots``).
"""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.alarms import AlarmKind, Alarms

FORGET = 900.0  # seconds; boards that report to other servers are heard by their requests alone, every 300 s
RETURNS = 2  # A, B, A, B: who was there before speaks again, both of them
MAX_KEYS = 20_000  # ids, and slots: as many boards as reports are kept of
MAX_SPEAKERS = 4  # of one id or slot; two are enough for the alarm
MAX_NAMES = 8  # addresses of one board with several interfaces


class _Speaker:
    __slots__ = ("last", "names", "place")

    def __init__(self, name: str) -> None:
        self.names = [name]
        self.place = ""
        self.last = 0.0


class _Turns:
    __slots__ = ("mark", "returns", "speakers")

    def __init__(self) -> None:
        self.speakers: list[_Speaker] = []  # the last one spoke last
        self.returns = 0
        self.mark = b""


class Turns:
    """By key, who speaks for it in turn; `now` is monotonic seconds."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._keys: OrderedDict[str, _Turns] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def heard(self, key: str, name: str, now: float, *, mark: bytes = b"", place: str = "") -> bool:
        """Whether speakers of `key` alternate and this is another one than the last. One `mark` has one speaker."""
        turns = self._keys.get(key)
        if turns is None:
            turns = self._keys[key] = _Turns()
            if len(self._keys) > self._max_keys:
                self._keys.popitem(last=False)
        self._keys.move_to_end(key)
        turns.speakers = [one for one in turns.speakers if now - one.last <= FORGET]
        if len(turns.speakers) < 2:
            turns.returns = 0
        last = turns.speakers[-1] if turns.speakers else None
        speaker = self._speaker(turns, name, mark)
        speaker.last, speaker.place, turns.mark = now, place, mark
        return turns.returns >= RETURNS and speaker is not last

    def speakers(self, key: str, now: float) -> tuple[str, ...]:
        """Who spoke for `key` in turn and not long ago, with their places; empty if it was one at most."""
        turns = self._keys.get(key)
        if turns is None or turns.returns < RETURNS:
            return ()
        alive = [one for one in turns.speakers if now - one.last <= FORGET]
        return tuple(f"{one.names[0]} ({one.place})" if one.place else one.names[0] for one in alive[1:] and alive)

    def name_of(self, key: str, name: str) -> str:
        """The first name of the speaker of `key` that has this one, too; else the name itself."""
        turns = self._keys.get(key)
        found = None if turns is None else _named(turns.speakers, name)
        return name if found is None else found.names[0]

    @staticmethod
    def _speaker(turns: _Turns, name: str, mark: bytes) -> _Speaker:
        speakers = turns.speakers
        if mark and mark == turns.mark and speakers:
            if name not in speakers[-1].names and len(speakers[-1].names) < MAX_NAMES:
                speakers[-1].names.append(name)
            return speakers[-1]
        speaker = _named(speakers, name)
        if speaker is None:
            speaker = _Speaker(name)
            del speakers[: max(0, len(speakers) + 1 - MAX_SPEAKERS)]
        else:
            if speaker is not speakers[-1]:
                turns.returns += 1
            speakers.remove(speaker)
        speakers.append(speaker)
        return speaker


class Claims:
    """Safe to call from any thread; `clock` is monotonic seconds.

    `listed` answers what place the operator's list says, `quarrel` who has another key for a board or a slot.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        alarms: Alarms,
        listed: Callable[[str], Location | None],
        quarrel: Callable[[str, Location, str], str] = lambda board, place, key: "",
    ) -> None:
        self._clock = clock
        self._alarms = alarms
        self._listed = listed
        self._quarrel = quarrel
        self._lock = threading.Lock()
        self._requests, self._reports = Turns(), Turns()
        self._places, self._slots = Turns(), Turns()

    def request(self, board: Board, host: str, nonce: bytes) -> None:
        """A version request came from the address `host`."""
        place = str(board.location)
        with self._lock:
            turn = self._requests.heard(board.id, host, self._clock(), mark=nonce, place=place)
            self._placed(board, host, turn)

    def report(self, board: Board, host: str, conflict: str = "") -> None:
        """A report came; `host` is empty if another server passed it on, `conflict` why nothing may take over there."""
        turn, place = False, str(board.location)
        with self._lock:
            if host and not _loopback(host):  # on loopback every board of the host has the same address
                host = self._requests.name_of(board.id, host)
                turn = self._reports.heard(board.id, host, self._clock(), place=place)
            self._placed(board, host, turn)
        quarrel = self._quarrel(board.id, board.location, board.key) if board.key else ""
        if quarrel:
            self._alarms.sound(AlarmKind.SLOT_CONFLICT, place, f"{quarrel}; revoke the one that is gone", lasting=False)
        if conflict:
            self._alarms.sound(AlarmKind.LOCATION_CONFLICT, board.id, f"board {board.id}: {conflict}", lasting=False)
        else:
            self._alarms.clear(AlarmKind.LOCATION_CONFLICT, board.id)

    def contested(self, board: str) -> bool:
        """Whether two computers speak as this board."""
        now = self._clock()
        with self._lock:
            return bool(self._speakers(board, now))

    def _placed(self, board: Board, host: str, turn: bool) -> None:
        place, now = str(board.location), self._clock()
        if self._places.heard(board.id, place, now) or turn:
            speakers = self._speakers(board.id, now)
            sentence = f"{len(speakers)} computers say in turn that they are board {board.id}: {_and(speakers)}"
            self._alarms.sound(AlarmKind.DUPLICATE_ID, board.id, sentence, lasting=False)
        if self._slots.heard(place, board.id, now):
            boards = self._slots.speakers(place, now)
            sentence = f"{len(boards)} boards say that they sit in slot {place}: {_and(boards)}; one of them is wrong"
            self._alarms.sound(AlarmKind.SLOT_CONFLICT, place, sentence, lasting=False)
        listed = self._listed(board.id)
        if listed is not None and listed != board.location:
            said = f"board {board.id}{f' at {host}' if host else ''} says that it sits in {place}"
            sentence = f"{said}, but the operator's list says {listed}; the list is believed"
            self._alarms.sound(AlarmKind.SLOT_CONFLICT, board.id, sentence, lasting=False)

    def _speakers(self, board: str, now: float) -> tuple[str, ...]:
        """Those who say that they are this board: by their addresses if those tell, else by their places."""
        found = (turns.speakers(board, now) for turns in (self._requests, self._reports, self._places))
        return next((speakers for speakers in found if speakers), ())


def _named(speakers: list[_Speaker], name: str) -> _Speaker | None:
    return next((one for one in speakers if name in one.names), None)


def _and(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
