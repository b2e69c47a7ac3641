"""Starts ``boardwright-server`` or ``boardwright-agent`` on a clock that jumps, whole or with a fault planted into it.

``python -m tests.chaos.programs PLANT PROGRAM ARGUMENTS``: the file that CHAOS_CLOCK names holds the seconds that the
wall clock is off; it is read ten times a second. Monotonic clocks are the machine's own. (libfaketime 0.9.10 would do
this below Python, but breaks its ``time.sleep``.)
"""

import os
import sys
import threading
import time
from pathlib import Path

import time_machine

from tests.chaos import planted

LOOK = 0.1  # seconds


def jump(clock: Path) -> None:
    """Let the wall clock follow the file from now on."""
    traveller = time_machine.travel(time.time(), tick=True).start()

    def follow() -> None:
        off = 0.0
        while True:
            try:
                wanted = float(clock.read_text() or 0)
            except (OSError, ValueError):
                wanted = off  # it is being written
            if wanted != off:
                traveller.shift(wanted - off)
                off = wanted
            time.sleep(LOOK)

    threading.Thread(target=follow, daemon=True, name="clock").start()


def main() -> None:
    plant, program, *arguments = sys.argv[1:]
    jump(Path(os.environ["CHAOS_CLOCK"]))
    if plant != "none":
        planted.PLANTS[plant]()
    sys.argv = [program, *arguments]
    if program == "boardwright-server":
        from boardwright.server.program import main as run  # noqa: PLC0415 - after the clock
    else:
        from boardwright.agent.program import main as run  # type: ignore[assignment]  # noqa: PLC0415
    run()


if __name__ == "__main__":
    main()
