"""What a service manager is told: ready, alive, ending (sd_notify(3), sd_watchdog_enabled(3)).

Rules:

* The protocol is one datagram of ``KEY=value`` lines to the socket in ``NOTIFY_SOCKET``; ``@`` begins an abstract name.
  That is the whole of it, so no library is needed for it.
* Without a service manager, or with one that is gone, nothing happens: telling must never hurt the program.
* "Alive" is said by the program's own loop and only while what it lives by is well: a loop that hangs says nothing,
  and the watchdog starts the program anew.
* The environment is read once, at the start of a program; programs that it starts do not inherit it.
* A program that becomes another release is "reloading" meanwhile, and the watchdog gives that as long as a start takes.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping

from boardwright.log import get

SHARE = 3.0  # times within the watchdog's time that "alive" is said: one may be late and one lost
MAX_STATUS = 200  # characters
CHANGE_LIMIT = 120  # seconds, as TimeoutStartSec of the units (cli/units.py)
_log = get("supervisor")


class Supervisor:
    """`address` is the socket's, "" for none; `watchdog` the seconds in which "alive" must be said, 0: never."""

    def __init__(self, address: str = "", watchdog: float = 0.0) -> None:
        self._address = address
        self.watchdog = watchdog

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> "Supervisor":
        """The one that `environ` names for the process `pid`; what makes no sense in there is as if it were not."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        watched = meant and microseconds.isascii() and microseconds.isdecimal() and len(microseconds) < 16
        return cls(address, int(microseconds) / 1e6 if watched else 0.0)

    def ready(self, status: str) -> None:
        """The program does its work now."""
        watchdog = [f"WATCHDOG_USEC={round(self.watchdog * 1e6)}"] if self.watchdog else []
        self._tell("READY=1", *watchdog, _status(status))

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def ending(self) -> None:
        """The program was told to end and does so in order."""
        self._tell("STOPPING=1", _status("ending"))

    def changing(self) -> None:
        """The program becomes another release of itself; ``ready`` follows, from that one (sd_notify(3), RELOADING)."""
        watchdog = [f"WATCHDOG_USEC={CHANGE_LIMIT * 1_000_000}"] if self.watchdog else []
        since = f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
        self._tell("RELOADING=1", since, *watchdog, _status("changing to another release"))

    async def keep(self, trouble: Callable[[], str]) -> None:
        """Say "alive" for as long as `trouble` answers ""; for ever. What it answers else is logged once."""
        if not self.watchdog:
            return
        said = ""
        while True:
            now = trouble()
            if not now:
                self.alive()
            elif now != said:
                _log.error("not well, waiting for the watchdog", why=now)
            said = now
            await asyncio.sleep(self.watchdog / SHARE)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            line.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:MAX_STATUS]}"
