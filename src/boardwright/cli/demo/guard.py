"""A tiny process that outlives the demo by a moment and leaves nothing of it behind.

Run as a script (``python guard.py DIRECTORY``), with the standard library alone, as the leader of the process group
in which every process of the demo runs. Rules:

* Its standard input is a pipe from the demo. When the pipe ends, whatever the reason (SIGKILL of the demo, too),
  it kills every process of its group and removes DIRECTORY.
* The byte ``k`` (keep) lets it stay when the pipe ends; SIGTERM then makes it do the same.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

KEEP = b"k"
TIDY_UP = 10.0  # seconds; killed processes are gone at once unless a disk hangs


def main(directory: str) -> None:
    """Wait for the end of the demo, then tidy up after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    said = b""
    while chunk := os.read(0, 16):
        said += chunk
    if KEEP in said:
        signal.sigwait({signal.SIGTERM})
    end = time.monotonic() + TIDY_UP
    while (left := group_members()) and time.monotonic() < end:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)
    shutil.rmtree(directory, ignore_errors=True)


def group_members() -> list[int]:
    """The other living processes of this process group, as /proc/PID/stat has them (proc(5))."""
    group, me = os.getpgrp(), os.getpid()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == me:
            continue
        with contextlib.suppress(OSError, ValueError):
            state, _parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
