"""The server follows its release: where the link names another one than the boot stage saw, that one shall run.

Rules:

* The link is the agent's: it points to a version that was verified, and back if that was sick. Here it is only read.
* The look is a ``readlink`` about once a second. Whoever is told ends the server in order and starts the boot stage
  anew in the same process, so that a service manager sees one service all the time.
* What ends with "wrong usage" or "refused" is not started again by a service manager, because nothing would change.
  Under a release something may change, by the agent: it ends with "failed" then, and is started again.
"""

import asyncio
from collections.abc import Awaitable, Callable

from boardwright import log
from boardwright.boot.release import Boot

LOOK = 1.0  # seconds
_NOT_AGAIN = (2, 3)  # RestartPreventExitStatus of the units (cli/units.py)
_log = log.get("server.release")


async def other_release(boot: Boot, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Return when the link names something else than the stage saw; never for a program that follows nothing."""
    while not boot.moved():
        await pause(LOOK)
    _log.info("another release is to run", before=boot.entered or "installed")


def exit_code(code: int, boot: Boot | None) -> int:
    """The exit code of a server that ended with `code`."""
    return 1 if boot is not None and boot.entered and code in _NOT_AGAIN else code
