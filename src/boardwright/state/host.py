"""Whose host an embedded state file belongs to.

Rules:

* The file keeps the boot id of the host whose servers use it (``/proc/sys/kernel/random/boot_id``: another host and
  another boot of the same host both have another one).
* Whoever opens it under another boot id looks whether the lease in it lives: a lease is live if its record changes
  while one looks for as long as a lease lasts. A live one is another host's server at work: RefusedError.
* A lease that is free or does not change is left over from before a reboot, a crash or a copy: the file is taken over.
"""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.errors import RefusedError
from boardwright.state.kv import EngineError
from boardwright.state.records import LeaseRecord

LOOK_SECONDS = 3.5  # longer than a lease lasts (three seconds, state/lease.py), so a holder must have renewed
LOOK_EVERY = 0.1

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LeaseSample(msgspec.Struct, frozen=True):
    """The lease record as it stands in the file."""

    value: bytes
    revision: int


def boot_id_of_host() -> str:
    """The kernel's random id of this boot (random(4)); EngineError where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError as error:
        raise EngineError(f"the boot id of this host cannot be read from {_BOOT_ID}: {error.strerror}") from error


def wait_for_dead_lease(path: Path, sample: Callable[[], LeaseSample | None]) -> None:
    """Return once the lease in the file is free or was still for LOOK_SECONDS; RefusedError if it is renewed."""
    first = sample()
    if first is None or _is_free(first.value):
        return
    deadline = time.monotonic() + LOOK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        now = sample()
        if now is None or _is_free(now.value):
            return
        if now.revision != first.revision:
            raise RefusedError(
                f"the state {path} is in use by a server on another host",
                hint="sqlite is for servers on one host; give each cluster of several hosts an etcd engine",
            )


def _is_free(value: bytes) -> bool:
    try:
        return not msgspec.json.decode(value, type=LeaseRecord).holder
    except msgspec.DecodeError:
        return False
