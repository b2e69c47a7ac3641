"""Request, offer and choice, sans I/O: bytes and times go in, bytes, times and decisions come out.

Nothing here opens a socket, reads a clock or draws a random number of its own: ``now`` (seconds, monotonic)
and a ``random.Random``-like source are arguments (the type is ``Randomness`` below, so that `random` itself
is not imported).
"""

from typing import Protocol


class Randomness(Protocol):
    """The two draws the protocol needs; ``random.Random`` fits."""

    def random(self) -> float: ...

    def randbytes(self, n: int) -> bytes: ...
