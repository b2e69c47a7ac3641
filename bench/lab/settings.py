"""What a lab is asked for: one setting is one network with its contenders; presets have names. Pure."""

import msgspec

from bench.lab.shape import Shape

OURS, PLAIN = "boardwright", "plain"
PEERS = ("nginx", "nearest", "udpcast", "udpcast-tuned", "libtorrent")
BOTH = (OURS, PLAIN)
CONTENDERS = (*BOTH, *PEERS)
HOLDERS = ("all", "first", "only")
MAX_SIZE = 1024  # MiB; every board has it twice, in memory


class Setting(msgspec.Struct, frozen=True):
    """`size` in MiB; `idle` seconds after which an agent that is done has given its memory back.

    `holders`: whose servers have the version when the boards ask: "all"; those of the "first" chassis, the others
    begin then; "only" the first chassis has servers. `kill`: "", "server" or "relays=N".
    """

    title: str = "all at once"
    shape: Shape = Shape()
    size: int = 32
    rounds: int = 3
    contenders: tuple[str, ...] = (OURS, *PEERS)
    seed: int = 1
    holders: str = "all"
    kill: str = ""
    idle: float = 6.0

    @property
    def bytes(self) -> int:
        return self.size * 1024 * 1024

    @property
    def floor(self) -> float:
        return self.shape.floor(self.bytes)

    def trouble(self) -> str:
        """Why it cannot be done, in one sentence; '' if it can."""
        unknown = [name for name in self.contenders if name not in CONTENDERS]
        if unknown or not self.contenders:
            return f"no contender is named {', '.join(unknown) or 'so'}; there are {', '.join(CONTENDERS)}"
        if not (1 <= self.size <= MAX_SIZE and 1 <= self.rounds <= 100):
            return f"--size is between 1 and {MAX_SIZE} MiB, --rounds between 1 and 100"
        if self.holders not in HOLDERS:
            return f"--holders is one of {', '.join(HOLDERS)}"
        if self.kill not in ("", "server"):
            count = self.kill.removeprefix("relays=")
            if count == self.kill or not count.isdecimal() or not 1 <= int(count) < len(self.shape.line_boards):
                return f"--kill is server or relays=N with N below {len(self.shape.line_boards)}, not {self.kill}"
        if self.kill == "server" and len(self.shape.servers) < 2:
            return "--kill server needs two servers"
        return self.shape.trouble()


def _one_chassis(boards: int, link: float = 100.0) -> Shape:
    return Shape(1, 2, boards, link, link)


PRESETS: dict[str, tuple[Setting, ...]] = {
    "peers": (Setting("all at once"),),
    "large": (Setting("a large image", size=128, contenders=(OURS,)),),
    "four": (Setting("four chassis", Shape(4), contenders=(OURS,)),),
    "holders": (
        Setting("servers of chassis 1 have it, the others begin then", holders="first", contenders=(OURS,)),
        Setting("only chassis 1 has living servers", holders="only", contenders=(OURS,)),
    ),
    "kills": (
        Setting("a server is killed in the middle", size=128, kill="server", contenders=(OURS,)),
        Setting("three relays are killed in the middle", size=128, kill="relays=3", contenders=(OURS,)),
    ),
    "growth": (
        Setting("8 boards in one chassis", _one_chassis(8), contenders=(OURS,)),
        Setting("16 boards in one chassis", _one_chassis(16), contenders=(OURS,)),
        Setting("32 boards in one chassis, 50 Mbit/s", _one_chassis(32, 50.0), contenders=(OURS,)),
    ),
    "single": (Setting("one board alone", _one_chassis(1), contenders=BOTH, rounds=5),),
    "cost": (Setting("what a board pays", contenders=BOTH),),
}
