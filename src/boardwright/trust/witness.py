"""Whose word an offer or an announcement is: the sender's certificate says who and where it is (design section 3).

Rules:

* What does not answer an open question is dropped before its signature is looked at: replays cost nothing.
* Signatures are looked at within a budget of each sender, because each costs some 100 microseconds: who floods a board
  with forgeries keeps nobody else from being heard.
* The certificate must be the authority's, a server's and not revoked, the signature that of its key. Then, and only
  then, the message gets its sender's id and place; what it says of these itself is nothing.
* A board may offer, too, as a relay (its offer says so) and to boards of its own chassis only. Its word counts for what
  it has of a version and where that is: not for plans, generations, APIs, lists of revoked keys, or copies under way.
* Everything that is not believed is counted by its reason and said to nobody.
"""

from collections import Counter
from collections.abc import Callable, Container

import msgspec

from boardwright.protocol.budget import Budget
from boardwright.protocol.codec import Received
from boardwright.protocol.messages import Announcement, Holding, Kind, Offer, Request
from boardwright.protocol.sealing import statement
from boardwright.trust.errors import RevokedError, UntrustedError
from boardwright.trust.identity import Authority, Role

UNASKED, CROWDED, REVOKED, NO_SERVER, UNTRUSTED = "unasked", "crowded", "revoked", "no-server", "untrusted"
NO_NEIGHBOUR = "no-neighbour"


def nobody() -> frozenset[str]:
    """The keys that are revoked where nobody is."""
    return frozenset()


class Witness:
    """`revoked` answers the digests of revoked keys; `now` is seconds of a clock that never goes back.

    `chassis` is that of the board whose witness it is; '' believes no relays.
    """

    def __init__(
        self, authority: Authority, now: float, revoked: Callable[[], frozenset[str]] = nobody, chassis: str = ""
    ) -> None:
        self._authority = authority
        self._chassis = chassis
        self._revoked = revoked
        self._budget = Budget(now)
        self._keys: dict[str, str] = {}  # of the servers that were believed last; the authority has certified each
        self.ignored: Counter[str] = Counter()

    def hear(
        self, received: Received, sender: str, now: float, nonces: Container[bytes] = frozenset()
    ) -> Offer | Announcement | None:
        """The message with its sender's id and place, None if it is not believed; `nonces`: of the open questions."""
        judged = self._judge(received, sender, now, nonces)
        if isinstance(judged, str):
            self.ignored[judged] += 1
            return None
        return judged

    def outcasts(self) -> frozenset[str]:
        """The servers that were believed with a key that is revoked now."""
        revoked = self._revoked()
        return frozenset(server for server, key in self._keys.items() if key in revoked)

    def _judge(
        self, received: Received, sender: str, now: float, nonces: Container[bytes]
    ) -> Offer | Announcement | str | None:
        """The message, or the reason to ignore it; None for what nobody need sign."""
        message = received.message
        if isinstance(message, Request):
            return None
        if isinstance(message, Offer) and message.nonce not in nonces:
            return UNASKED
        if not self._budget.admits(sender, now):
            return CROWDED
        kind = Kind.OFFER if isinstance(message, Offer) else Kind.ANNOUNCEMENT
        try:
            found = self._authority.verify(received.certificate, received.enroller, revoked=self._revoked())
            found.check(received.signature, statement(kind, received.body))
        except RevokedError:
            return REVOKED
        except UntrustedError:
            return UNTRUSTED
        who = found.identity
        relayed = isinstance(message, Offer) and message.relay
        if who.role is not (Role.BOARD if relayed else Role.SERVER):
            return NO_SERVER
        if relayed and (not self._chassis or who.location.chassis != self._chassis):
            return NO_NEIGHBOUR
        self._keys[who.id] = who.key
        if isinstance(message, Offer) and message.relay:
            message = _as_relay(message)
        if isinstance(message, Announcement):
            return msgspec.structs.replace(message, server=who.id)
        return msgspec.structs.replace(message, server=who.id, chassis=who.location.chassis, slot=who.location.slot)


def _as_relay(offer: Offer) -> Offer:
    """What counts of a board's offer."""
    groups = tuple(
        msgspec.structs.replace(group, planned=False, copied=None)
        for group in offer.groups
        if group.holding in (Holding.ALL, Holding.PART)
    )
    return msgspec.structs.replace(offer, generation=0, api="", revocations=0, groups=groups)
