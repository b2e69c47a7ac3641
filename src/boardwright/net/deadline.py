"""A whole answer by a time: what a server that sends byte after byte would otherwise keep a thread busy with for ever.

A time-out of a socket is for the pause between bytes. Header by header, ``100 Continue`` after ``100 Continue``, or
with a byte a second, a server can so be "alive" without an end. Here every read also looks at the time that is left for
the whole answer.
"""

import socket
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection


class DeadlineSocket(socket.socket):
    """A socket whose reads fail with TimeoutError after `deadline` (monotonic seconds)."""

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


class _Connection(HTTPConnection):
    seconds = float("inf")

    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        pause = plain.gettimeout()
        timed = DeadlineSocket(fileno=plain.detach())
        timed.settimeout(pause)
        return timed

    def request(self, *arguments: Any, **options: Any) -> None:
        super().request(*arguments, **options)
        if isinstance(self.sock, DeadlineSocket):
            self.sock.deadline = time.monotonic() + self.seconds


def pool_with_deadline(seconds: float, **options: Any) -> urllib3.PoolManager:
    """A PoolManager of HTTP connections whose answers, from request to last byte, take `seconds` at most."""
    connection = type("_Connection", (_Connection,), {"seconds": seconds})
    pool = type("_Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": connection})
    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "http": pool}
    return manager
