"""Who gets in: join tokens, those who wait for the operator, and certificates for line boards (design section 4).

Rules:

* Only the active admits. Everything is decided under one lock and written in transactions fenced by the lease, so a
  token is used once for each of its uses, however many ask at the same moment.
* A line board with a good token gets its certificate at once, signed by this server's enroller. Whoever asks for
  another role, for the id or the slot of a known board, or has no token, waits until the operator signs (``approved``).
* A use of a token is taken when its bearer is let in or begins to wait. Who asks again with the same key takes none:
  a lost answer costs nothing, nor does the revocation of the enroller that let it in.
* Everything a stranger can fill is bounded: calls a second, by each address and by all, those who wait without a token,
  lengths. One address takes a share only: who floods keeps nobody else from joining.
* The operator's certificate is verified like anybody's, and must say what was asked for.
"""

import threading
from collections.abc import Callable

import msgspec

from boardwright import log
from boardwright.errors import FailedError, MalformedError, RefusedError, UnreachableError, UsageError
from boardwright.model.admission import JoinAnswer, Joiner, JoinerList, Joining
from boardwright.model.audit import Act, Action, Actor
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.software import check_name
from boardwright.protocol.budget import Bucket, Budget, Rates
from boardwright.server.admission_records import ALONE, Records, decoded
from boardwright.server.callers import CrowdedError
from boardwright.server.facts import encoded
from boardwright.server.mirror import Mirror
from boardwright.server.sightings import plausible
from boardwright.server.slots import NOBODY, Slots
from boardwright.state.kv import Transaction
from boardwright.state.records import BOARDS, JOINS, TOKENS
from boardwright.trust.identity import Authority, Role, key_digest
from boardwright.trust.issuing import Issuer
from boardwright.trust.joining import (
    ANOTHER,
    JoinRecord,
    check_proof,
    given_role,
    secret_digest,
    use,
)

RATE, BURST = 20.0, 200.0  # joins a second: each costs a signature check and a commit; 1,000 boards join in a minute
# Of these, an address has a quarter, be it a proxy's of many boards; what is beyond one a second of each comes out of a
# half, and three quarters are for those that were not heard before. Who joins asks once, or every few seconds.
SHARES = Rates((5.0, 100.0), (1.0, 10.0), (10.0, 90.0), (15.0, 150.0), known_places=1024, stranger_places=1024)
MAX_WITHOUT_TOKEN = 64  # who wait; a few chassis, and no more than an operator looks through
MAX_FROM_ONE = 16  # of them, from one address; a chassis
MAX_WAITING = 2000  # with tokens; as many as one engine's answer takes easily
KEEP = 7 * 86_400.0  # seconds that somebody waits, or an approval waits to be fetched
PER_COMMIT = 50  # records forgotten at once; etcd takes 128 operations in a transaction by default
APPROVE = "the operator lets it in by `boardwright approve {0}`"
_log = log.get("server.admission")


class Gatekeeper(msgspec.Struct, frozen=True):
    """What a server admits by: its cluster's authority, and its enroller if it has one."""

    cluster: str
    authority: Authority
    enroller: Issuer | None
    revoked: Callable[[], frozenset[str]] = lambda: NOBODY

    @property
    def enrolls(self) -> Issuer | None:
        """The enroller whose certificates are believed: None if its key is revoked."""
        enroller = self.enroller
        if enroller is None or key_digest(enroller.key.public_key()) in self.revoked():
            return None
        return enroller


class Admission:
    """`wall` is seconds since the epoch, `clock` monotonic seconds."""

    def __init__(
        self,
        records: Records,
        mirror: Mirror,
        slots: Slots,
        gatekeeper: Gatekeeper,
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._records = records
        self._mirror = mirror
        self._slots = slots
        self._by = gatekeeper
        self._wall = wall
        self._clock = clock
        self._bucket = Bucket(RATE, BURST, clock())
        self._budget = Budget(clock(), SHARES)
        self._lock = threading.Lock()

    # --- those who want in ---

    def join(self, joining: Joining, host: str) -> JoinAnswer:
        """Let somebody in, or let him wait. UntrustedError, UsageError, RefusedError, UnreachableError (too many).

        CrowdedError: this address asks too often.
        """
        with self._lock:
            now = self._clock()
            if not self._budget.admits(host, now):  # first: what is refused here takes nothing from the others
                raise CrowdedError(f"too many requests to join come from {host}", hint="try again in a second")
            if not self._bucket.take(now):
                raise UnreachableError("too many want to join at this moment", hint="try again in a few seconds")
        _check_words(joining)
        key = key_digest(check_proof(joining, self._by.cluster))
        if key in self._by.revoked():
            raise RefusedError(f"the key {key[:12]} is revoked", hint="make a new one")
        return self._records.repeated(lambda: self._join(joining, key, host))

    def _join(self, joining: Joining, key: str, host: str) -> JoinAnswer:
        known = self._records.read(JOINS, key, Joiner)
        if known is not None and _as_before(known, joining):
            return JoinAnswer(known.chain, known.reason, self._servers())
        if known is not None and known.chain:
            raise RefusedError(f"this key was approved for {known.id} ({known.role})", hint="make a new one")
        place = Location(joining.chassis, joining.slot)
        board = self._mirror.state.boards.get(joining.id)
        again = known is None and board is not None and (board.key, board.location) == (key, place)
        if again and not joining.secret and not self._by.revoked():
            return self._certified(joining, place)  # it was let in before, and the answer was lost
        # A thief's enroller makes boards known, too. Once it may be revoked, the token tells them from the others.
        used, role = self._token(joining, taken=known is not None or again)
        _check_place(joining, role)
        reason = self._why_not(joining, key, role)
        if not reason:
            # Who is known may ask as often as he likes; that he was let in is recorded once.
            return self._admit(joining, key, used, None if again else _act(joining, key, role, host, ""))
        beside = Transaction(used.compares, {**used.puts, **self._room_for(joining, host)})
        waiting = Joiner(
            id=joining.id,
            role=role.value,
            chassis=joining.chassis,
            slot=joining.slot,
            key=key,
            public_key=joining.public_key,
            host=host,
            asked=self._wall(),
            reason=reason,
            token=secret_digest(joining.secret) if joining.secret else "",
            type=joining.type,
            groups=joining.groups,
        )
        # Who waits may change his words as often as he likes; that he waits is recorded once.
        act = None if known is not None else _act(joining, key, role, host, reason)
        self._records.write(beside, f"{JOINS}{key}", waiting, act)
        _log.warning("somebody waits to be let in", id=joining.id, role=role.value, host=host, reason=reason)
        return JoinAnswer((), reason)

    def _token(self, joining: Joining, *, taken: bool) -> tuple[Transaction, Role]:
        """What using the token changes, and the role that it gives; `taken`: a use of it was taken before."""
        if not joining.secret:
            return ALONE, given_role(joining.role)
        name = f"{TOKENS}{secret_digest(joining.secret)}"
        entry = self._records.get(name)
        record = None if entry is None else decoded(entry, JoinRecord)
        if entry is None or record is None:
            raise RefusedError("this join token is not known here", hint=ANOTHER)
        used = use(msgspec.structs.replace(record, uses=record.uses + taken), joining.secret, self._wall())
        if joining.role not in ("", record.role.value):
            raise RefusedError(
                f"this join token is for a {record.role.value}, not for a {joining.role[:80]}", hint=ANOTHER
            )
        return Transaction({name: entry.revision}, {name: encoded(used)}), record.role

    def _why_not(self, joining: Joining, key: str, role: Role) -> str:
        """Why only the operator can let it in, '' if this server may."""
        end = APPROVE.format(joining.id)
        if not joining.secret:
            return f"it has no join token; {end}"
        if role is not Role.BOARD:
            return f"a {role.value} is certified by the authority's key alone; {end}"
        taken = self._slots.taken(joining.id, Location(joining.chassis, joining.slot), key)
        if taken:
            return f"{taken}; {end}"
        return "" if self._by.enrolls else f"this server has no enroller's key; {end}"

    def _room_for(self, joining: Joining, host: str) -> dict[str, None]:
        """Who has waited too long and makes room; RefusedError if there is none."""
        everybody = self._records.table(JOINS, Joiner)
        over = [one for one in everybody if self._wall() - one.asked >= KEEP]
        waiting = [one for one in everybody if one not in over and bool(one.token) == bool(joining.secret)]
        hint = "the operator goes through `boardwright approve`"
        if len(waiting) >= (MAX_WAITING if joining.secret else MAX_WITHOUT_TOKEN):
            raise RefusedError("too many wait to be let in", hint=hint)
        if not joining.secret and sum(one.host == host for one in waiting) >= MAX_FROM_ONE:
            raise RefusedError(f"too many at {host} wait to be let in", hint=hint)
        return {f"{JOINS}{one.key}": None for one in over[:PER_COMMIT]}

    def _admit(self, joining: Joining, key: str, used: Transaction, act: Act | None) -> JoinAnswer:
        """Certify a line board and record it."""
        place = Location(joining.chassis, joining.slot)
        answer = self._certified(joining, place)
        self._records.write(used, f"{BOARDS}{joining.id}", self._board(joining, place, key), act)
        _log.info("joined", id=joining.id, location=str(place), key=key[:12])
        return answer

    def _certified(self, joining: Joining, place: Location) -> JoinAnswer:
        enroller = self._by.enrolls
        if enroller is None:
            raise RefusedError("this server has no enroller's key", hint="ask again, another server may become active")
        certificate = enroller.issue(joining.id, Role.BOARD, place, check_proof(joining, self._by.cluster))
        return JoinAnswer((certificate, enroller.certificate), "", self._servers())

    def _board(self, joining: Joining | Joiner, place: Location, key: str, *, server: bool = False) -> Board:
        known = self._mirror.state.boards.get(joining.id)
        new = Board(joining.id, place, joining.type, joining.groups, server=server, key=key)
        return new if known is None else msgspec.structs.replace(known, location=place, key=key)

    # --- the operator ---

    def waiting(self) -> JoinerList:
        """Who waits, and who was approved and has not fetched it long ago; the oldest first."""
        now = self._wall()
        found = [one for one in self._records.table(JOINS, Joiner) if now - one.asked < KEEP]
        return JoinerList(tuple(sorted(found, key=lambda one: (one.asked, one.id))))

    def approved(self, key: str, certificate: bytes, act: Act) -> Joiner:
        """The operator's certificate for who waits with this key; FailedError, UntrustedError, RefusedError."""
        said = self._by.authority.verify(certificate, revoked=self._by.revoked()).identity

        def approve() -> Joiner:
            known = self._known(key)
            place = Location(known.chassis, known.slot)
            asked = (known.id, known.role, place, known.key)
            if (said.id, said.role.value, said.location, said.key) != asked:
                what = f"{said.id} ({said.role.value})"
                raise RefusedError(f"this certificate is of {what}, not what {known.id} asked for")
            done = msgspec.structs.replace(known, chain=(certificate,), reason="")
            compares: dict[str, int] = {}
            puts: dict[str, bytes | None] = {}
            if said.role in (Role.BOARD, Role.SERVER):
                name = f"{BOARDS}{known.id}"
                entry = self._records.get(name)
                compares[name] = entry.revision if entry else 0
                puts[name] = encoded(self._board(known, place, key, server=said.role is Role.SERVER))
            let_in = act.on(known.id, role=known.role, slot=_slot(place), key=key, asked_from=known.host)
            self._records.write(Transaction(compares, puts), f"{JOINS}{key}", done, let_in)
            _log.info("approved", id=known.id, role=known.role, key=key[:12])
            return done

        return self._records.repeated(approve)

    def dismissed(self, key: str, act: Act) -> Joiner:
        """Nobody lets this one in; FailedError if nobody waits with this key."""

        def dismiss() -> Joiner:
            known = self._known(key)
            sent_away = act.on(known.id, role=known.role, key=key, asked_from=known.host)
            self._records.write(ALONE, f"{JOINS}{key}", None, sent_away)
            return known

        return self._records.repeated(dismiss)

    def _known(self, key: str) -> Joiner:
        known = self._records.read(JOINS, key, Joiner)
        if known is None:
            raise FailedError(f"nobody waits with the key {key[:64]!r}", hint="`boardwright approve` names who waits")
        return known

    def _servers(self) -> tuple[str, ...]:
        return tuple(server.api for server in self._mirror.state.servers.values() if server.api)


def _check_words(joining: Joining) -> None:
    try:
        check_name("id", joining.id)
    except MalformedError as error:
        raise UsageError(str(error)) from error
    if len(joining.secret) > 64 or len(joining.groups) > 64:
        raise UsageError("this is no request to join", hint="use `boardwright join`")


def _check_place(joining: Joining, role: Role) -> None:
    place = Location(joining.chassis, joining.slot)
    if role in (Role.BOARD, Role.SERVER):
        if not plausible(Board(joining.id, place, joining.type, joining.groups)):
            raise UsageError(
                f"{joining.id} would join as a {role.value}, but says not which: id, chassis, slot, type, groups",
                hint="name its agent.toml: `boardwright join ... --config FILE`",
            )
    elif place != Location("", ""):
        raise UsageError(
            f"{joining.id} is a board, but would join as {role.value}", hint="leave --config out, or take another token"
        )


def _act(joining: Joining, key: str, role: Role, host: str, waits: str) -> Act:
    token = secret_digest(joining.secret) if joining.secret else ""
    actor = Actor(joining.id, role.value, key, host)
    place = Location(joining.chassis, joining.slot)
    return Act(actor, Action.JOIN).on(joining.id, slot=_slot(place), token=token, waits=waits)


def _slot(place: Location) -> str:
    return f"{place.chassis}/{place.slot}" if place.slot else ""


def _as_before(known: Joiner, joining: Joining) -> bool:
    said = (joining.id, joining.chassis, joining.slot, joining.type, joining.groups)
    token = secret_digest(joining.secret) if joining.secret else ""
    return said == (known.id, known.chassis, known.slot, known.type, known.groups) and token == known.token
