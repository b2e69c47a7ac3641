"""An alarm while little of the server's disk is free, before uploads and copies have to stop."""

import threading

from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.transfer.space import Space, amount

EVERY = 5.0  # seconds; a disk of 1 GB that fills at 100 MB/s takes ten
SOON = 2.0  # times the reserve: the alarm sounds
AGAIN = 2.5  # times the reserve: it is over; more than SOON, so that it does not come and go


class DiskWatch:
    """Looks at `space`, the file system of the server's data directory."""

    def __init__(self, space: Space, alarms: Alarms) -> None:
        self._space = space
        self._alarms = alarms

    def run(self, stop: threading.Event) -> None:
        """Looks until `stop`."""
        while True:
            self.look()
            if stop.wait(EVERY):
                return

    def look(self) -> None:
        """Sound or end the alarm."""
        path = str(self._space.path)
        try:
            free, reserve = self._space.free, self._space.reserve
        except OSError as error:
            self._alarms.sound(AlarmKind.DISK, path, f"{path} cannot be looked at: {error.strerror}")
            return
        if free < SOON * reserve:
            self._alarms.sound(
                AlarmKind.DISK,
                path,
                f"{amount(free)} are free on {path}; uploads and copies stop when less than {amount(reserve)} would be",
            )
        elif free >= AGAIN * reserve:
            self._alarms.clear(AlarmKind.DISK, path)
