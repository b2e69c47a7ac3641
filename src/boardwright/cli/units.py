"""The systemd units of the two programs, as text.

Rules:

* ``Type=notify``: a program says itself when it does its work, and every few seconds that it still does; the watchdog
  starts anew what hangs.
* A configuration that is wrong (exit code 2) or refused (3) is not started again and again: nothing would change.
* The server needs no rights but to its own files and the network, and gets no others.
* The agent gets no such walls: hooks, health checks and the programs that they start would stand behind them, too.
  Its daemons are not killed with it (``KillMode=process``): what was deployed outlives an agent that is restarted.
"""

from collections.abc import Sequence
from pathlib import Path

WATCHDOG = 30  # seconds; a loop that does not turn for so long will not turn again
START_LIMIT = 120  # seconds; a store of a million blobs is looked through at the start
STOP_LIMIT = 10  # seconds; both programs end in two
FILES = 65536  # open files of a server: a socket for every board and a file for every range

_WALLS = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077
"""


def server_unit(program: str, config: Path, writes: Sequence[Path]) -> str:
    """boardwright-server.service; `writes` are the directories that the server may write to."""
    paths = " ".join(_word(f"-{path}") for path in dict.fromkeys(writes))
    return (
        _head("Boardwright deployment server", program, config)
        + f"LimitNOFILE={FILES}\nOOMScoreAdjust=-500\nReadWritePaths={paths}\n"
        + _WALLS
        + _FOOT
    )


def agent_unit(program: str, config: Path) -> str:
    """boardwright-agent.service."""
    return _head("Boardwright agent", program, config) + "KillMode=process\n" + _FOOT


_FOOT = "\n[Install]\nWantedBy=multi-user.target\n"


def _head(description: str, program: str, config: Path) -> str:
    return f"""\
# Written by `boardwright install-units`. Changes belong into a drop-in: `systemctl edit` makes one.
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={_word(program)} --config {_word(str(config))}
Restart=always
RestartSec=1
RestartPreventExitStatus=2 3
TimeoutStartSec={START_LIMIT}
TimeoutStopSec={STOP_LIMIT}
WatchdogSec={WATCHDOG}
"""


def _word(text: str) -> str:
    """One word of a unit file (systemd.syntax(7), systemd.service(5)): quoted, with % and $ doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(mark in escaped for mark in " \t\"'\\;") else escaped
