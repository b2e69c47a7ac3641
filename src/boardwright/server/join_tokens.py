"""The join tokens of the cluster: made, listed and dropped by an operator; used in ``admission``.

Rules:

* The cluster is told the digest of a token's secret, never the token: who reads the state learns none.
* There are ``MAX_TOKENS`` at most; those that are over or used up make room.
"""

from collections.abc import Callable
from itertools import islice

from boardwright.errors import FailedError, RefusedError
from boardwright.model.admission import NewToken, TokenList, TokenStatus
from boardwright.model.audit import Act
from boardwright.server.admission_records import ALONE, Records
from boardwright.state.kv import Transaction
from boardwright.state.records import TOKENS
from boardwright.trust.joining import JoinRecord, given_role, record_of

MAX_TOKENS = 1000  # that are good at the same time; one may let a whole cluster in
PER_COMMIT = 50  # records forgotten at once; etcd takes 128 operations in a transaction by default


class JoinTokens:
    """`wall` is seconds since the epoch."""

    def __init__(self, records: Records, wall: Callable[[], float]) -> None:
        self._records = records
        self._wall = wall

    def create(self, new: NewToken, act: Act) -> TokenStatus:
        """Keep a token's digest; UsageError for bounds that cannot be, RefusedError if there are too many."""
        record = record_of(new.digest, given_role(new.role), self._wall(), new.seconds, new.uses)

        def keep() -> TokenStatus:
            now, known = self._wall(), self._records.table(TOKENS, JoinRecord)
            over = {f"{TOKENS}{one.digest}": None for one in known if one.until < now or one.uses < 1}
            if len(known) - len(over) >= MAX_TOKENS:
                raise RefusedError(f"there are {MAX_TOKENS} join tokens", hint="drop some: `boardwright token drop`")
            forgotten = Transaction({}, dict(islice(over.items(), PER_COMMIT)))
            done = act.on(new.digest, role=new.role, uses=new.uses, seconds=round(new.seconds))
            self._records.write(forgotten, f"{TOKENS}{new.digest}", record, done)
            return _status(record)

        return self._records.repeated(keep)

    def listing(self) -> TokenList:
        """The tokens that are still good."""
        now = self._wall()
        good = [_status(one) for one in self._records.table(TOKENS, JoinRecord) if one.until >= now and one.uses > 0]
        return TokenList(tuple(sorted(good, key=lambda one: (one.until, one.digest))))

    def drop(self, digest: str, act: Act) -> TokenStatus:
        """The token is good no more; FailedError if there is none."""

        def forget() -> TokenStatus:
            known = self._records.read(TOKENS, digest, JoinRecord)
            if known is None:
                raise FailedError(f"there is no join token {digest[:64]!r}", hint="`boardwright token list` names them")
            self._records.write(ALONE, f"{TOKENS}{digest}", None, act.on(digest, role=known.role.value))
            return _status(known)

        return self._records.repeated(forget)


def _status(record: JoinRecord) -> TokenStatus:
    return TokenStatus(record.digest, record.role.value, record.until, record.uses)
