"""A cluster that lets in, over a state in memory, and those who want in: real keys, real certificates, time by hand."""

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from boardwright.model.admission import JoinAnswer, Joiner, Joining, NewToken
from boardwright.model.audit import Action
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.server.admission import Admission, Gatekeeper
from boardwright.server.admission_records import Records
from boardwright.server.facts import encoded
from boardwright.server.join_tokens import JoinTokens
from boardwright.server.mirror import Mirror
from boardwright.server.slots import Slots
from boardwright.state.follow import Follower
from boardwright.state.kv import Transaction
from boardwright.state.lease import DeposedError
from boardwright.state.memory_kv import MemoryKV
from boardwright.state.records import BOARDS
from boardwright.trust.identity import Identity, Role, key_digest
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.joining import proved, secret_digest
from tests.identities import Identities
from tests.unit.server.builders import act, audited

SECRET = b"s" * 32
CORE = Identities("core1")


class Followed(Mirror):
    """The local copy, that shows a commit as soon as somebody waits for it."""

    def __init__(self, path: Path, kv: MemoryKV) -> None:
        super().__init__(path)
        self.follower = Follower(kv, "", self)

    def wait_for(self, revision: int, timeout: float) -> bool:
        del timeout
        for _ in range(2):
            self.follower.step(0)
        return super().wait_for(revision, 0)


class Gate:
    """The active of a cluster: its state, its enroller, and what an operator does there."""

    def __init__(self, folder: Path, *, enroller: bool = True) -> None:
        self.kv = MemoryKV()
        self.mirror = Followed(folder / "mirror.json", self.kv)
        self.now = 1_767_225_600.0
        self.active = True
        self.commits = 0
        self.revoked: frozenset[str] = frozenset()
        online = new_key()
        self.enroller = digest(online)
        leave = CORE.issuer.issue("c1s1", Role.ENROLLER, Location("1", "1"), online.public_key())
        records = Records(self.kv, self.commit, audited(self.kv, self.commit), self.mirror)
        self.slots = Slots(self.mirror, lambda: self.revoked)
        gatekeeper = Gatekeeper(
            "core1", CORE.authority, Issuer("core1", "c1s1", online, leave) if enroller else None, lambda: self.revoked
        )
        self.admission = Admission(records, self.mirror, self.slots, gatekeeper, lambda: self.now, lambda: self.now)
        self.tokens = JoinTokens(records, lambda: self.now)

    def commit(self, transaction: Transaction) -> int:
        if not self.active:
            raise DeposedError("not the active")
        self.commits += 1
        return self.kv.commit(transaction)

    def token(self, role: str = "board", *, uses: int = 1, seconds: float = 3600.0, secret: bytes = SECRET) -> bytes:
        self.tokens.create(NewToken(secret_digest(secret), role, seconds, uses), act(Action.TOKEN_CREATE))
        return secret

    def uses(self) -> int:
        return sum(one.uses for one in self.tokens.listing().tokens)

    def list_board(self, board: Board) -> None:
        """The operator's inventory names it."""
        revision = self.kv.commit(Transaction({f"{BOARDS}{board.id}": 0}, {f"{BOARDS}{board.id}": encoded(board)}))
        self.mirror.wait_for(revision, 0)

    def board(self, name: str) -> Board:
        return self.mirror.state.boards[name]

    def approve(self, joiner: Joiner, issuer: Issuer = CORE.issuer, **claims: str) -> Joiner:
        """The operator signs; `claims` are what he signs instead of what was asked for."""
        said = msgspec.structs.replace(joiner, **claims)
        key = next(one.key for one in JOINERS if digest(one.key) == joiner.key)
        place = Location(said.chassis, said.slot)
        return self.admission.approved(
            joiner.key, issuer.issue(said.id, Role(said.role), place, key.public_key()), act(Action.APPROVE)
        )


class Someone:
    """Somebody with a key who wants in."""

    def __init__(self, id: str = "c1s9", place: tuple[str, str] = ("1", "9"), type: str = "lc") -> None:
        self.key = new_key()
        self.asks = Joining(id, b"", chassis=place[0], slot=place[1], type=type, groups=("platform",) if type else ())
        JOINERS.append(self)

    def join(self, gate: Gate, secret: bytes = b"", host: str = "10.0.1.9", **changes: object) -> JoinAnswer:
        asked = msgspec.structs.replace(self.asks, secret=secret, **changes)
        return gate.admission.join(proved(asked, "core1", self.key), host)

    @property
    def digest(self) -> str:
        return digest(self.key)


JOINERS: list[Someone] = []


def person(id: str = "ana") -> Someone:
    return Someone(id, ("", ""), "")


def digest(key: ec.EllipticCurvePrivateKey) -> str:
    return key_digest(key.public_key())


def whom(answer: JoinAnswer) -> Identity:
    """Whom the cluster takes the bearer of this answer for."""
    return CORE.authority.verify(*answer.chain).identity
