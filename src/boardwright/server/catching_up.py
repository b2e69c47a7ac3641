"""A server that starts first hears what has changed since it was last up, and only then offers anything.

Rules:

* Until the state was read once, and the others were asked for the list of revoked keys, every version is ``preparing``
  here and there is no plan to be had: what lies on this disk may be of last year. Boards ask the others meanwhile, or
  ask again.
* After ``PATIENCE`` it serves what its disk says, read or not: serving never depends on the engine (design section 8).
  Nothing goes back by that, because boards refuse a plan that is older than theirs.
"""

from collections.abc import Callable, Mapping

import msgspec

from boardwright.errors import UnreachableError
from boardwright.protocol.messages import Holding
from boardwright.protocol.offerer import Catalogued

PATIENCE = 3.0  # seconds; reading takes some milliseconds, and members of etcd that power on with the server two


class CatchingUp:
    """`is_read` answers whether all of that was read since the start; `clock` is monotonic seconds."""

    def __init__(self, is_read: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._is_read = is_read
        self._clock = clock
        self._until = clock() + PATIENCE
        self._over = False

    @property
    def over(self) -> bool:
        """Whether this server may offer what it has; stays so."""
        if not self._over:
            self._over = self._is_read() or self._clock() >= self._until
        return self._over

    def check(self) -> None:
        """Raise UnreachableError as long as it is not over."""
        if not self.over:
            raise UnreachableError(
                "this server has just started and first hears what has changed",
                hint=f"ask again, or another server; it takes {PATIENCE:g} s at most",
            )


def preparing(holdings: Mapping[bytes, Catalogued]) -> dict[bytes, Catalogued]:
    """The same versions, none of them to be had yet."""
    return {
        digest: msgspec.structs.replace(one, holding=Holding.PREPARING, pieces=b"") for digest, one in holdings.items()
    }
