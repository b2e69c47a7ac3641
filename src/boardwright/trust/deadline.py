"""A whole answer by a time: what a server that sends byte after byte would otherwise keep a thread busy with for ever.

A time-out of a socket is for the pause between bytes. Header by header, ``100 Continue`` after ``100 Continue``, or
with a byte a second, a server can so be "alive" without an end. Here every read also looks at the time that is left for
the whole answer. (Python's ssl bounds each handshake and each read as a whole, however the bytes trickle in.)
"""

import ssl
import time
from typing import Any


class DeadlineSocket(ssl.SSLSocket):
    """A TLS socket whose reads fail with TimeoutError after `deadline` (monotonic seconds)."""

    deadline = float("inf")

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0.0:
            raise TimeoutError("the answer took too long")
        pause = self.gettimeout()
        if pause is None or left < pause:
            self.settimeout(left)
        try:
            return super().recv_into(*arguments, **options)
        finally:
            if pause is None or left < pause:
                self.settimeout(pause)
