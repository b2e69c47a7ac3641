"""The systemd units of the two programs and of the engine's member, as text.

Rules:

* ``Type=notify``: a program says itself when it does its work, and every few seconds that it still does; the watchdog
  starts anew what hangs.
* A configuration that is wrong (exit code 2) or refused (3) is not started again and again: nothing would change.
* The server needs no rights but to its own files and the network, and gets no others. Behind these walls it cannot make
  its own directory: systemd does below ``/var/lib`` (``StateDirectory=``), `install-units` elsewhere.
* All of ``/proc`` is left to it, read-only: the embedded engine needs the boot id, IPv6 the list of addresses.
* The agent gets no such walls: hooks, health checks and the programs that they start would stand behind them, too.
  Its daemons are not killed with it (``KillMode=process``): what was deployed outlives an agent that is restarted.
* etcd is started when it runs (``Type=exec``): it says itself ready only when most members are, which may be hours
  later. It gets the server's walls.
"""

from collections.abc import Sequence
from pathlib import Path

WATCHDOG = 30  # seconds; a loop that does not turn for so long will not turn again
START_LIMIT = 120  # seconds; a store of a million blobs is looked through at the start
STOP_LIMIT = 10  # seconds; both programs end in two
STATE = Path("/var/lib")  # where systemd makes a unit's own directories (systemd.exec(5), StateDirectory=)
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
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
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
    return (
        _head("Boardwright deployment server", program, config)
        + f"LimitNOFILE={FILES}\nOOMScoreAdjust=-500\n{_directories(writes)}"
        + _WALLS
        + _FOOT
    )


def _directories(writes: Sequence[Path]) -> str:
    made = [_word(str(path.relative_to(STATE))) for path in dict.fromkeys(writes) if made_by_systemd(path)]
    others = [_word(f"-{path}") for path in dict.fromkeys(writes) if not made_by_systemd(path)]
    directories = f"StateDirectory={' '.join(made)}\nStateDirectoryMode=0700\n" if made else ""
    return directories + (f"ReadWritePaths={' '.join(others)}\n" if others else "")


def made_by_systemd(path: Path) -> bool:
    """Whether the unit makes systemd make this directory; a colon means something else there."""
    return path != STATE and path.is_relative_to(STATE) and ":" not in str(path)


def agent_unit(program: str, config: Path) -> str:
    """boardwright-agent.service."""
    return _head("Boardwright agent", program, config) + "KillMode=process\n" + _FOOT


def etcd_unit(program: str, config: Path, data_dir: Path) -> str:
    """boardwright-etcd.service; relative paths in its configuration begin at the configuration's folder."""
    return (
        f"""\
# Written by `boardwright install-units`. Changes belong into a drop-in: `systemctl edit` makes one.
[Unit]
Description=etcd member of the Boardwright cluster
Wants=network-online.target
After=network-online.target
Before=boardwright-server.service
Conflicts=etcd.service
StartLimitIntervalSec=0

[Service]
Type=exec
WorkingDirectory={_word(str(config.parent))}
Environment=ETCD_UNSUPPORTED_ARCH=arm64
ExecStart={_word(program)} --config-file {_word(str(config))}
Restart=always
RestartSec=1
LimitNOFILE={FILES}
OOMScoreAdjust=-500
{_directories([data_dir])}"""
        + _WALLS
        + _FOOT
    )


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
