"""Who calls this server: sessions for both of its ports (``trust.sessions``), and what a caller's role allows.

Rules:

* Boards, servers and people get a session; authorities and enrollers sign certificates and have nothing to ask.
* Who has no token, or one that is no good (any more), is answered 401 and gets a new one; whose role does not
  allow a call, 403.
* Who is revoked loses his session at once.
* A proof costs some 300 microseconds, so each address has a budget of them (``protocol.budget``): who floods a server
  with proofs that are none keeps nobody else from a session. 429 says so.
"""

import os
import time
from collections.abc import Callable

import msgspec

from boardwright.errors import BoardwrightError, ForbiddenError, UnreachableError
from boardwright.model.sessions import NONCE_PATH, SCHEME, SESSION_PATH, Nonce, Proof, Token
from boardwright.protocol.budget import Budget
from boardwright.transfer.serve import Client
from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Identity, Role
from boardwright.trust.lines import nobody
from boardwright.trust.sessions import TOKEN_LIFE, Sessions

PEOPLE = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN})
MEMBERS = frozenset({Role.BOARD, Role.SERVER}) | PEOPLE


class CrowdedError(UnreachableError):
    """This address has asked too often in the last seconds; later it may again."""


class Callers:
    """`credentials` are the server's own; `clock` in monotonic seconds, `chance` makes so many random bytes."""

    def __init__(
        self,
        credentials: Credentials,
        revoked: Callable[[], frozenset[str]] = nobody,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._chassis = credentials.identity.location.chassis
        self._authority = credentials.authority
        self._revoked = revoked
        self._clock = clock
        self._chance = chance
        self._budget = Budget(clock())
        self._sessions = Sessions(credentials.identity.id, chance(32))

    def nonce(self) -> Nonce:
        """For whoever asks."""
        return Nonce(self._sessions.nonce(self._clock(), self._chance(16)))

    def open(self, proof: Proof, sender: str) -> Token:
        """A session for who proved itself from this address; raises UntrustedError, CrowdedError, ForbiddenError."""
        if not self._budget.admits(sender, self._clock()):
            raise CrowdedError(f"{sender} asks for sessions too often, try again in a second")
        if not 1 <= len(proof.chain) <= 2:
            raise UntrustedError(f"a chain has {len(proof.chain)} certificates, one or two are read")
        caller = self._authority.verify(proof.chain[0], b"".join(proof.chain[1:]), self._revoked())
        if caller.identity.role not in MEMBERS:
            raise ForbiddenError(f"{caller.identity.id} is {caller.identity.role.value} and has nothing to ask here")
        return Token(self._sessions.open(caller, proof.nonce, proof.signature, self._clock()), TOKEN_LIFE)

    def caller(self, authorization: str | None) -> Identity:
        """Whose token is in the header; raises UntrustedError."""
        if not authorization or not authorization.startswith(SCHEME):
            raise UntrustedError("who calls has not said who it is: it needs a session, see /v1/session")
        return self._sessions.read(authorization.removeprefix(SCHEME), self._clock(), self._revoked()).identity

    # What the blob port needs, which knows nothing of trust.

    def client(self, authorization: str | None) -> Client:
        """Who asks for a blob: any member may. Raises UntrustedError."""
        caller = self.caller(authorization)
        return Client(caller.id, caller.location.chassis != self._chassis)

    def answer(self, method: str, path: str, body: bytes, sender: str) -> tuple[int, bytes] | None:
        """Status and JSON for a session call, None for any other."""
        if (method, path) == ("GET", NONCE_PATH):
            return 200, msgspec.json.encode(self.nonce())
        if (method, path) != ("POST", SESSION_PATH):
            return None
        try:
            return 200, msgspec.json.encode(self.open(msgspec.json.decode(body, type=Proof), sender))
        except CrowdedError as error:
            return 429, _said(error)
        except ForbiddenError as error:
            return 403, _said(error)
        except BoardwrightError as error:
            return 401, _said(error)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 400, _said(BoardwrightError("the body is not of the documented form"))


def _said(error: BoardwrightError) -> bytes:
    return msgspec.json.encode({"error": str(error), "exit_code": error.exit_code})
