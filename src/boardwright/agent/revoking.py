"""A board hears that there is a newer list of revoked keys, and gets it.

Rules:

* The number comes with offers, announcements and the answers to reports: within a heartbeat, whoever is down. After a
  round that told of a newer list, the list is fetched before the plan, and before a server is chosen.
* Whoever may have it is asked, the likeliest first; the first newer list that the authority has signed is taken.
* A server that has no such list, or sends another, costs a question each time that it says so and nothing more.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from boardwright import log
from boardwright.errors import BoardwrightError
from boardwright.protocol.messages import Offer
from boardwright.trust.revocation import MAX_LIST
from boardwright.trust.revoked import RevokedKeys

_log = log.get("agent.revoking")


class Files(Protocol):
    """GET a file of at most so many bytes; raises BoardwrightError."""

    def signed_file(self, url: str, limit: int) -> bytes: ...


def who_knows(offers: Iterable[Offer], number: int) -> list[str]:
    """The APIs of those that say to have a newer list than that, the highest number first."""
    told = [offer for offer in offers if offer.api and offer.revocations > number]
    return [offer.api for offer in sorted(told, key=lambda offer: -offer.revocations)]


def fetch_revocations(revoked: RevokedKeys, files: Files, apis: Sequence[str]) -> bool:
    """Take a newer list from one of the servers; whether there was one."""
    before = revoked.number
    for api in apis:
        try:
            data = files.signed_file(f"{api}/v1/revocations?above={revoked.number}", MAX_LIST)
            if data:
                revoked.take(data)
        except (BoardwrightError, OSError) as error:  # OSError: the list holds, though the disk did not take it
            _log.warning("no list of revoked keys, or not kept", api=api, error=str(error))
        if revoked.number > before:
            _log.warning("keys revoked", number=revoked.number, keys=len(revoked.keys()))
            return True
    return False
