"""What roles and files are called in signed metadata (pure).

Rules:

* Every software group has a delegated role ``software-GROUP`` that may name ``software/GROUP/VERSION/VARIANT`` and
  nothing else; such a file is the version's manifest.
* The delegated role ``plans`` may name ``plans/NUMBER``: the parts of the plan of those boards whose id falls into that
  shard. The number of shards is a power of two that grows with the boards, so that no file exceeds what TUF takes.
"""

import hashlib

from boardwright.model.software import Target

ROOT, TARGETS, SNAPSHOT, TIMESTAMP, PLANS = "root", "targets", "snapshot", "timestamp", "plans"
SOFTWARE = "software-"  # + group
PLAN_PATHS = "plans/*"
BOARDS_PER_SHARD = 256  # some 100 kB of JSON, and 100,000 boards are 512 shards, 80 kB of metadata
MAX_SHARDS = 4096


def group_role(group: str) -> str:
    """The role that signs the versions of `group`."""
    return f"{SOFTWARE}{group}"


def group_paths(group: str) -> str:
    """What that role may name."""
    return f"software/{group}/*/*"


def version_path(target: Target) -> str:
    return f"software/{target.group}/{target.version}/{target.variant}"


def shard_path(number: int) -> str:
    return f"plans/{number}"


def shard_count(boards: int) -> int:
    """How many shards a plan of so many boards has: a power of two, so that growing halves each."""
    count = 1
    while count * BOARDS_PER_SHARD < boards and count < MAX_SHARDS:
        count *= 2
    return count


def shard_of(board: str, count: int) -> int:
    """The shard of a board: by the digest of its id, so that everybody knows it without a table."""
    return int.from_bytes(hashlib.sha256(board.encode()).digest()[:4], "big") % count
