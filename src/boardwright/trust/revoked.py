"""The list of revoked keys that a program goes by: in memory for whoever verifies, on its disk for the next start.

Rules:

* A list is taken from anybody if the authority has signed it and it is newer (``revocation``). It holds from that
  moment on, also if the disk does not take it; then it is fetched again after a restart.
* What is on the disk is verified like what comes from the network. A damaged file is no list: `trouble` says so, and
  the others have it.
* An older list than the one in hand, or one that forgets a key, is refused.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, identity_of, read_certificate
from boardwright.trust.revocation import MAX_LIST, Revocations, newer, read_revocations

FILE = "revocations"
_NO_LIST = b""


class RevokedKeys:
    """Thread-safe. `write` replaces a file so that it outlives a power cut, or raises OSError."""

    def __init__(self, path: Path, authority: Authority, write: Callable[[Path, bytes], None]) -> None:
        self._path = path
        self._root = identity_of(read_certificate(authority.certificate))
        self._write = write
        self._lock = threading.Lock()
        self._held = (Revocations(self._root.identity.cluster), _NO_LIST)
        self.trouble = ""
        self._load()

    @property
    def number(self) -> int:
        """Of the list in hand; 0 before the first."""
        return self._held[0].number

    @property
    def data(self) -> bytes:
        """The list in hand as it was signed; empty before the first."""
        return self._held[1]

    def keys(self) -> frozenset[str]:
        """The digests of the revoked keys."""
        return self._held[0].keys

    def take(self, data: bytes) -> bool:
        """Go by the list in `data` if it is newer; whether it is. UntrustedError, StaleError, OSError (see rules)."""
        offered = read_revocations(data, self._root)
        with self._lock:
            known = self._held[0]
            newer(known, offered)
            if offered.number == known.number:
                return False
            self._held = (offered, data)
            self._write(self._path, data)
        return True

    def _load(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_LIST + 1)
            self._held = (read_revocations(data, self._root), data)
        except FileNotFoundError:
            pass  # nobody was revoked yet
        except (OSError, UntrustedError) as error:
            self.trouble = f"{self._path} is no list of revoked keys ({error}); another server has one"
