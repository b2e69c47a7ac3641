"""A plan as the files that are signed: its parts for some hundred boards each (pure).

Rules:

* A shard is a plan of its own: the generation, and of the boards whose id falls into it their targets. It is made from
  the plan alone, byte for byte the same by every server, so nobody has to store it.
* A board's shard follows from the digest of its id and the number of shards, which stands with the first of them. That
  number is a power of two that grows with the boards, so that no file exceeds what TUF takes, and a board of 100,000
  reads some 150 kB for a new plan.
"""

import hashlib

import msgspec

from boardwright.model.plan import Plan
from boardwright.protocol.codec import MAX_NUMBER
from boardwright.trust.density import MAX_VALUES, values_of
from boardwright.trust.errors import UntrustedError

BOARDS_PER_SHARD = 256  # some 50 kB of JSON; 100,000 boards are 512 shards, 80 kB of metadata
MAX_SHARDS = 4096
MAX_SHARD_BYTES = 4 * 1024 * 1024  # what a board takes
COUNT = "shards"  # the field of the first shard's custom data
_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Plan)


def shards_of(plan: Plan) -> dict[str, bytes]:
    """Every shard of the plan by its path."""
    count = shard_count(len(plan.boards))
    boards: list[dict[str, tuple[int, ...]]] = [{} for _ in range(count)]
    for board in sorted(plan.boards):
        boards[shard_of(board, count)][board] = plan.boards[board]
    return {shard_path(number): _encoder.encode(_part(plan, own)) for number, own in enumerate(boards)}


def read_shard(data: bytes) -> Plan:
    """The plan in a shard; raises UntrustedError."""
    if len(data) > MAX_SHARD_BYTES:
        raise UntrustedError(f"a part of the plan has {len(data)} bytes, at most {MAX_SHARD_BYTES} are read")
    if values_of(data) > MAX_VALUES:
        raise UntrustedError(f"a part of the plan has more than {MAX_VALUES} values")
    try:
        plan = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UntrustedError("a part of the plan is signed and not of the documented form") from error
    if not 0 <= plan.generation <= MAX_NUMBER:
        raise UntrustedError(f"the signed plan has the generation {plan.generation}, which no message can say")
    indexes = {index for own in plan.boards.values() for index in own}
    if indexes and not 0 <= min(indexes) <= max(indexes) < len(plan.targets):
        raise UntrustedError("a part of the plan is signed and names targets that it has not")
    return plan


def shard_path(number: int) -> str:
    return f"plans/{number}"


def shard_count(boards: int) -> int:
    """How many shards a plan of so many boards has."""
    count = 1
    while count * BOARDS_PER_SHARD < boards and count < MAX_SHARDS:
        count *= 2
    return count


def shard_of(board: str, count: int) -> int:
    """The shard of a board: by the digest of its id, so that everybody knows it without a table."""
    return int.from_bytes(hashlib.sha256(board.encode()).digest()[:4], "big") % count


def counted(custom: object) -> int:
    """How many shards there are, by the first one's custom data; raises UntrustedError."""
    count = custom.get(COUNT) if isinstance(custom, dict) else None
    if not isinstance(count, int) or not 1 <= count <= MAX_SHARDS:
        raise UntrustedError("the signed plan does not say how many parts it has")
    return count


def _part(plan: Plan, boards: dict[str, tuple[int, ...]]) -> Plan:
    used = sorted({index for own in boards.values() for index in own})
    place = {index: number for number, index in enumerate(used)}
    return Plan(
        plan.generation,
        plan.parent,
        tuple(plan.targets[index] for index in used),
        {board: tuple(place[index] for index in own) for board, own in boards.items()},
    )
